#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Real files onto a disk of each shape and back; what it says of itself; holes.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need nbdinfo nbdcopy cmp tar
mib=$((1 << 20))

says() { nbdinfo "$uri" | grep -q "$1" || fail "nbdinfo does not say '$1'"; }

check_properties() {
    local what
    for what in can_multi_conn can_trim can_zero can_fast_zero can_fua can_flush can_cache can_df; do
        says "$what: true"
    done
    says "is_rotational: false"
    says "is_read_only: false"
    says "block_size_minimum: 1"
    [ "$(nbdinfo --size "$uri")" = "$1" ] || fail "the size is not $1"
}

# One shape: SIZE-MIB PARAMETERS...
round_trip() {
    local size=$(($1 * mib))
    shift
    disk_start size="$size" "$@"
    check_properties "$size"
    [ "$(nbdinfo --map --totals "$uri" | grep -c hole)" = 1 ] || fail "a new disk is one hole"
    if nbdinfo --map --totals "$uri" | grep data; then fail "a new disk has data"; fi
    nbdcopy --connections=4 "$work/files" "$uri"
    nbdcopy "$uri" "$work/back"
    truncate -s "$(stat -c %s "$work/files")" "$work/back"
    same "$work/files" "$work/back" "the files came back different ($*)"
    disk_stop
    say "ok: $* "
}

# Data, hole, data, each of it 4 MiB: told as such.
check_map() {
    disk_start size=$((12 * mib)) backing=memfd "$@"
    truncate -s $((12 * mib)) "$work/sparse"
    noise $((4 * mib)) "$work/noise"
    dd if="$work/noise" of="$work/sparse" conv=notrunc bs=1M status=none
    dd if="$work/noise" of="$work/sparse" conv=notrunc bs=1M seek=8 status=none
    nbdcopy "$work/sparse" "$uri"
    nbdinfo --map "$uri" | awk '{ print $1, $2, $4 }' >"$work/map"
    printf '%d %d %s\n' 0 $((4 * mib)) data $((4 * mib)) $((4 * mib)) hole,zero \
        $((8 * mib)) $((4 * mib)) data | cmp - "$work/map" || fail "the map is: $(cat "$work/map")"
    truncate -s 0 "$work/sparse"
    truncate -s $((12 * mib)) "$work/sparse"
    nbdcopy "$work/sparse" "$uri"
    if nbdinfo --map --totals "$uri" | grep data; then fail "zeroes are data ($*)"; fi
    disk_stop
    say "ok: map $*"
}

real_files $((40 * mib)) "$work/files"
round_trip 40 backing=memfd
round_trip 48 backing=memfd block=64K compress=lz4
round_trip 41 backing=memfd block=16K compress=zstd:1 memory=56M populate=true
round_trip 40 backing=memfd compress=lz4:8 auto-compact=false
if huge_reserve 28; then
    free=$(huge_free)
    round_trip 40 backing=hugetlb memory=56M
    [ "$(huge_free)" = "$free" ] || fail "huge pages are not all back: $(huge_free) of $free"
else
    say "skipped: huge pages can't be reserved here"
fi
check_map block=4K
check_map block=64K
