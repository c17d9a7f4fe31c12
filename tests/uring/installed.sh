#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: installed.sh BUILD-DIR URING_COPY.c      (installs it to a scratch folder)
#        installed.sh --installed DESTDIR URING_COPY.c
# The example, built by pkg-config alone with the shared and with the static library, copies
# a file.  Exit 77 (skip) without io_uring.
set -euo pipefail
work=$(mktemp -d /var/tmp/klotski-uring.XXXXXX)
trap 'rm -rf "$work"' EXIT
if [ "$1" = --installed ]; then
    root=$2
    source=$3
else
    root=$work/root
    source=$2
    DESTDIR=$root meson install -C "$1" --no-rebuild --quiet
fi

found=$(find "$root" -name klotski-uring.pc)
[ -n "$found" ] || { echo "klotski-uring.pc is not installed"; exit 1; }
libdir=$(dirname "$(dirname "$found")")
PKG_CONFIG_PATH=$libdir/pkgconfig
PKG_CONFIG_SYSROOT_DIR=$root
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
read -ra cflags <<<"$(pkg-config --cflags klotski-uring)"
read -ra libs <<<"$(pkg-config --libs klotski-uring)"
[ -f "$libdir/libklotski-uring.so.0" ] || { echo "no libklotski-uring.so.0"; exit 1; }

head -c 5000000 /dev/urandom >"$work/from"
check() {
    local status=0
    "$1" --compact "$work/from" "$work/to" || status=$?
    [ $status -ne 77 ] || exit 77
    [ $status -eq 0 ] || exit 1
    cmp "$work/from" "$work/to"
}

${CC:-cc} -std=c11 "${cflags[@]}" "$source" -o "$work/shared" "${libs[@]}" -luring -lpthread
LD_LIBRARY_PATH=$libdir check "$work/shared"
LD_LIBRARY_PATH=$libdir ldd "$work/shared" | grep libklotski-uring.so.0 >/dev/null

numa=()
if nm "$libdir/libklotski.a" 2>/dev/null | grep 'U numa_' >/dev/null; then numa=(-lnuma); fi
${CC:-cc} -std=c11 "${cflags[@]}" "$source" -o "$work/static" \
    "$libdir/libklotski-uring.a" "$libdir/libklotski.a" -luring -llz4 -lzstd -lxxhash "${numa[@]}" \
    -lpthread
check "$work/static"
