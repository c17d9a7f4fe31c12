#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: cross.sh ARCH   (i386 s390x)
# Builds the library and its tests for another machine and runs the unit and
# torture tests under qemu-user.  All is kept below ${BUILD:-build}/cross-ARCH:
#   apt/    apt's lists and state for that machine, so the system's stay as they are
#   root/   its C library and the libraries that Klotski needs, unpacked
#   build/  meson's folder
# Ends with the line "N passed, N failed, N skipped"; exits 1 if anything failed.
# Where the packages can't be had, that is one skipped, with the reason.
set -uo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
packages=(libc6 libc6-dev linux-libc-dev libgcc-s1 liblz4-1 liblz4-dev libzstd1 libzstd-dev
    libxxhash0 libxxhash-dev libcmocka0 libcmocka-dev)

skip() {
    echo "cross.sh: skipped: $1" >&2
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}

# apt-get for the other machine only, with a state of its own.
private_apt() {
    APT_CONFIG=$dir/apt/apt.conf DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o Acquire::Retries=3 -o Acquire::http::Timeout=30 "$@" </dev/null
}

private_apt_setup() {
    mkdir -p "$dir/apt/state/lists/partial" "$dir/apt/cache/archives/partial" "$dir/apt/debs"
    : >"$dir/apt/status"
    cat >"$dir/apt/apt.conf" <<EOF
Dir::State "$dir/apt/state";
Dir::State::status "$dir/apt/status";
Dir::Cache "$dir/apt/cache";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "root";
APT::Update::Post-Invoke-Success "";
EOF
}

# The libraries, unpacked; the list in the root says that it is whole.
make_root() {
    local deb
    if [ "$(cat "$dir/root/packages" 2>/dev/null)" = "${packages[*]}" ]; then
        return
    fi
    rm -rf "$dir/root" "$dir/apt"
    private_apt_setup
    mkdir -p "$dir/root"
    # A suite that is out of step is left out by apt; the others may have all.
    private_apt update || echo "cross.sh: not every suite could be read" >&2
    (cd "$dir/apt/debs" && private_apt download "${packages[@]}") || return 1
    for deb in "$dir"/apt/debs/*.deb; do
        dpkg -x "$deb" "$dir/root" || return 1
    done
    rm -rf "$dir/apt"
    echo "${packages[*]}" >"$dir/root/packages"
}

arch=${1:-}
case $arch in
i386 | s390x) ;;
*)
    echo "usage: cross.sh ARCH (i386, s390x)" >&2
    exit 2
    ;;
esac
mkdir -p "${BUILD:-build}/cross-$arch" || exit 1
dir=$(cd "${BUILD:-build}/cross-$arch" && pwd)

"$top/scripts/deps.sh" cross || skip "no compiler or no emulator for $arch here"
if ! make_root >"$dir/root.log" 2>&1; then
    tail -n 5 "$dir/root.log" >&2
    skip "Debian's libraries for $arch can't be had here"
fi

printf "[constants]\nroot = '%s'\n" "$dir/root" >"$dir/root.ini"
unset CC CFLAGS CPPFLAGS LDFLAGS
export KLOTSKI_TORTURE_SECONDS=${KLOTSKI_TORTURE_SECONDS:-5}
export TEST_ARGS='--suite unit --suite torture -t 4'
"$top/scripts/check.sh" "$dir/build" --cross-file "$dir/root.ini" \
    --cross-file "$top/scripts/cross/$arch.ini" -Dplugin=disabled -Dcli=disabled -Dtools=disabled \
    -Dvulkan=disabled
