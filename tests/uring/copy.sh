#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: copy.sh URING_COPY
# The example copies files of all lengths, while its memory moves and while it does not;
# what it made is the same.  Exit 77 (skip) without io_uring.
set -euo pipefail
copy=$1
work=$(mktemp -d /var/tmp/klotski-uring.XXXXXX)
trap 'rm -rf "$work"' EXIT

same() {
    local status=0
    "$copy" "${@:2}" "$1" "$work/to" >"$work/said" || status=$?
    [ $status -ne 77 ] || exit 77
    [ $status -eq 0 ] || { echo "uring_copy ${*:2} $1: $status"; exit 1; }
    cmp "$1" "$work/to"
}

refused() {
    local status=0
    "$copy" "$@" >"$work/said" 2>&1 || status=$?
    [ $status -ne 77 ] || exit 77
    [ $status -ne 0 ] || { echo "uring_copy $*: not refused"; exit 1; }
    [ -s "$work/said" ] || { echo "uring_copy $*: nothing said"; exit 1; }
}

: >"$work/empty"
printf 'x' >"$work/one"
head -c 131073 "$copy" >"$work/odd"
cat /usr/bin/* 2>/dev/null | head -c 64000000 >"$work/large" || true
for file in empty one odd large; do
    same "$work/$file"
    same "$work/$file" --compact
done
same "$work/large" --compact --bytes 4096 --depth 64
same "$work/large" --compact --bytes 2097152 --depth 3
same "$work/large" --compact --depth 1
grep -q 'emptied' "$work/said" || { cat "$work/said"; exit 1; }

refused "$work/absent" "$work/to"
refused "$work" "$work/to"
refused "$work/one" "$work/absent/to"
refused --depth 0 "$work/one" "$work/to"
refused --bytes 1000 "$work/one" "$work/to"
refused "$work/one"
