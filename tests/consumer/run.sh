#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: run.sh LANGUAGE --build BUILD-DIR      (installs it to a scratch folder)
#        run.sh LANGUAGE --installed DESTDIR    (make install DESTDIR=... ran)
# Builds and runs a program (LANGUAGE: c11 or c++17) against the installed
# library, of which it knows only what pkg-config says: every public header by
# itself, then the program with the shared and with the static library.
# Exit 77 (skip) without a compiler for that language.
set -euo pipefail
language=$1
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

case $language in
c11)
    compiler=${CC:-cc}
    source=$here/consumer.c
    kind=c
    ;;
c++17)
    compiler=${CXX:-c++}
    source=$here/consumer.cc
    kind=c++
    ;;
*)
    echo "run.sh: c11 or c++17, not $language" >&2
    exit 2
    ;;
esac
if ! command -v "$compiler" >/dev/null; then
    echo "no $compiler here"
    exit 77
fi
strict=(-std="$language" -pedantic -Wall -Wextra -Wshadow -Werror)

case $2 in
--build)
    root=$tmp/root
    DESTDIR=$root meson install -C "$3" --no-rebuild --quiet
    ;;
--installed) root=$3 ;;
*)
    echo "run.sh: --build DIR or --installed DESTDIR" >&2
    exit 2
    ;;
esac

found=$(find "$root" -name klotski.pc)
if [ -z "$found" ]; then
    echo "klotski.pc is not installed" >&2
    exit 1
fi
PKG_CONFIG_PATH=$(dirname "$found")
export PKG_CONFIG_PATH
export PKG_CONFIG_SYSROOT_DIR=$root
read -ra cflags <<<"$(pkg-config --cflags klotski)"
read -ra shared <<<"$(pkg-config --libs klotski)"
# The sysroot would also be put before the paths of lz4 and zstd, which are not
# in it; the system's own paths need no -L.
read -ra static <<<"$(pkg-config --static --libs klotski)"
where() {
    echo "$root$(PKG_CONFIG_SYSROOT_DIR='' pkg-config --variable="$1" klotski)"
}
libdir=$(where libdir)

headers=0
for header in "$(where includedir)"/klotski/*.h; do
    name=klotski/$(basename "$header")
    echo "#include <$name>" | "$compiler" -x "$kind" "${strict[@]}" "${cflags[@]}" -fsyntax-only -
    headers=$((headers + 1))
done

"$compiler" "${strict[@]}" "${cflags[@]}" -o "$tmp/shared" "$source" "${shared[@]}"
LD_LIBRARY_PATH=$libdir "$tmp/shared"
readelf -d "$tmp/shared" | grep 'NEEDED.*\[libklotski\.so\.0\]' >/dev/null

"$compiler" "${strict[@]}" "${cflags[@]}" -o "$tmp/static" "$source" \
    -Wl,-Bstatic -lklotski -Wl,-Bdynamic "${static[@]}"
"$tmp/static"
echo "$language: $headers headers, shared and static"
