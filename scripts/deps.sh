#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: deps.sh GROUP...   (build check demo bench lint ci cross)
# Installs the Debian packages of these groups that are missing.  Runs no apt
# when nothing is missing, asks nothing, and says what it installs.
set -euo pipefail

group_packages() {
    case $1 in
    build)
        echo meson ninja-build pkg-config python3 gcc libc6-dev binutils \
            nbdkit nbdkit-plugin-dev libnbd-dev libjson-c-dev \
            liblz4-dev libzstd-dev libxxhash-dev libcmocka-dev libnuma-dev systemtap-sdt-dev \
            liburing-dev
        ;;
    # Debian 12 has nbdkit's basic plugins and filters in the package nbdkit.
    check) echo nbdkit libnbd-bin qemu-utils fio e2fsprogs g++ procps spin ;;
    # qemu-system-x86 is used by the demo where it is, but is too large to ask for.
    demo) echo nbdkit libnbd-bin fio libjemalloc2 ;;
    bench) echo libjemalloc2 libmimalloc2.0 gnuplot-nox ;;
    lint) echo clang clang-format clang-tidy cppcheck shellcheck ;;
    # Vulkan on the processor, for an example that others skip.
    ci) echo clang libclang-rt-14-dev llvm g++ libvulkan-dev mesa-vulkan-drivers ;;
    # Compilers and emulators only: scripts/cross.sh keeps the libraries to itself.
    cross)
        echo meson ninja-build pkg-config python3 qemu-user \
            gcc-i686-linux-gnu gcc-s390x-linux-gnu
        ;;
    *)
        echo "deps.sh: no such group: $1 (build, check, demo, bench, lint, ci, cross)" >&2
        return 1
        ;;
    esac
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

if [ $# -eq 0 ]; then
    echo "usage: deps.sh GROUP... (build, check, demo, bench, lint, ci, cross)" >&2
    exit 2
fi

wanted=()
for group in "$@"; do
    packages=$(group_packages "$group")
    read -ra list <<<"$packages"
    wanted+=("${list[@]}")
done

if ! command -v dpkg-query >/dev/null; then
    echo "deps.sh: this is not a Debian system; please install what these packages hold:" >&2
    printf '  %s\n' "${wanted[@]}" >&2
    exit 1
fi

missing=()
for package in "${wanted[@]}"; do
    installed "$package" || [[ " ${missing[*]} " == *" $package "* ]] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
        echo "deps.sh: these packages are missing, and installing them needs root:" >&2
        echo "  apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo -n)
fi

echo "Installing: ${missing[*]}"
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null
}
# DPkg::Lock::Timeout is not for the lists' lock, which somebody else may have for a while.
update() {
    local end=$((SECONDS + 300))
    until apt update >"$log" 2>&1; do
        grep -q 'lists/lock' "$log" || return 1
        [ $SECONDS -lt $end ] || return 1
        sleep 5
    done
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { update && apt install --no-install-recommends "${missing[@]}" >>"$log" 2>&1; }; then
    tail -n 20 "$log" >&2
    echo "deps.sh: apt-get failed" >&2
    exit 1
fi
