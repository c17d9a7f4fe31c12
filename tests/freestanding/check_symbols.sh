#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_symbols.sh ARCHIVE COMPILER...
# Links the freestanding core into one object without any library and fails if
# that still needs more than the four memory functions.
set -euo pipefail
archive=$1
shift
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"$@" -nostdlib -r -o "$tmp/core.o" \
    -Wl,--whole-archive "$archive" -Wl,--no-whole-archive

nm --undefined-only --format=posix "$tmp/core.o" | awk '{ print $1 }' | sort -u >"$tmp/needs"
# _GLOBAL_OFFSET_TABLE_ is the linker's own name, met with thread-local storage
# (the lock ranks of a debug build).
printf '%s\n' _GLOBAL_OFFSET_TABLE_ memcmp memcpy memmove memset >"$tmp/may"
if ! nm --defined-only "$tmp/core.o" | grep ' T kl_' >/dev/null; then
    echo "the freestanding core defines no public function" >&2
    exit 1
fi
if extra=$(comm -23 "$tmp/needs" "$tmp/may" | grep .); then
    printf 'the freestanding core needs what a bare machine has not got:\n%s\n' "$extra" >&2
    exit 1
fi
echo "needs only: $(tr '\n' ' ' <"$tmp/needs")"
