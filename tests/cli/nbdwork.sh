#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The data worker, which other tests trust: it must see what is wrong.  Against
# nbdkit's own memory plugin.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../disk/lib.sh"
need nbdcopy
[ -x "${NBDWORK:-}" ] || skip "no nbdwork"
sums=$work/sums

worker() {
    "$NBDWORK" "$@" --quiet
}

# refused TEXT ARGUMENTS...
refused() {
    local text=$1
    shift
    if worker "$@" >"$work/out" 2>&1; then fail "not refused: $*"; fi
    grep -q -e "$text" "$work/out" || fail "$* does not say '$text': $(cat "$work/out")"
}

payload() {
    worker payload "$uri" --sums "$sums" | cut -d' ' -f"$1"
}

nbdkit -f -U "$sock" -P "$work/pid" memory 48M >"$work/log" 2>&1 &
disk_pid=$!
wait_for 20 test -s "$work/pid" || fail "nbdkit does not start"

real_files $((24 << 20)) "$work/files"
worker load "$uri" --from "$work/files" --bytes 24M --sums "$sums" | grep -qx 'loaded 25165824 bytes' ||
    fail "the load does not say how much"
nbdcopy "$uri" "$work/back"
cmp -n $((24 << 20)) "$work/files" "$work/back" || fail "the disk does not have the file"
worker verify "$uri" --sums "$sums" >/dev/null || fail "what was just written is wrong"

raw=$(payload 4)
packed=$(payload 2)
[ "$raw" = $((24 << 20)) ] || fail "there are not $raw bytes"
{ [ "$packed" -gt 0 ] && [ "$packed" -le "$raw" ]; } || fail "$raw bytes become $packed"

cp "$sums" "$work/old"
worker permute "$uri" --sums "$sums" --rounds 3 --seed 5
worker verify "$uri" --sums "$sums" >/dev/null || fail "wrong after exchanges"
refused 'is not what was written' verify "$uri" --sums "$work/old" # so they moved
[ "$(payload 2)" = "$packed" ] || fail "exchanging has changed the payload"

worker trim "$uri" --sums "$sums" --percent 50 --seed 5
worker verify "$uri" --sums "$sums" | grep -q '384 of them trimmed: 0 wrong' || fail "trimmed: not half"
[ "$(payload 4)" = $((12 << 20)) ] || fail "half trimmed, and not half the data"

# One bit of one block; then everything.
nbdcopy "$uri" "$work/good"
cp "$work/good" "$work/bad"
read -r byte < <(od -An -tu1 -j 70000 -N 1 "$work/good")
printf '%b' "\\0$(printf '%o' $((byte ^ 1)))" |
    dd of="$work/bad" bs=1 seek=70000 conv=notrunc status=none
nbdcopy "$work/bad" "$uri"
refused '768 blocks, 384 of them trimmed: 1 wrong' verify "$uri" --sums "$sums"
noise $((24 << 20)) "$work/bad"
nbdcopy "$work/bad" "$uri"
refused 'it was trimmed' verify "$uri" --sums "$sums"
refused '768 wrong' verify "$uri" --sums "$sums"
nbdcopy "$work/good" "$uri"
worker verify "$uri" --sums "$sums" >/dev/null || fail "wrong after all was put back"

# Short files are repeated, pipes are not; the last block of a pipe may be part.
head -c 100000 "$work/files" >"$work/short"
worker load "$uri" --from "$work/short" --bytes 1M --sums "$sums" | grep -qx 'loaded 1048576 bytes' ||
    fail "a short file is not repeated"
tail -c +1 "$work/short" | worker load "$uri" --from - --sums "$sums" | grep -qx 'loaded 131072 bytes' ||
    fail "a pipe does not end the load"
worker verify "$uri" --sums "$sums" >/dev/null || fail "wrong after a pipe"

worker randread "$uri" --seconds 1 | grep -q '^IOPS [1-9]' || fail "no reads"
worker randwrite "$uri" --from "$work/files" --seconds 1 | grep -q '^IOPS [1-9]' || fail "no writes"

refused 'usage' verify
refused 'no such verb' nonsense "$uri"
refused 'missing' load "$uri" --sums "$sums"
refused 'possible' trim "$uri" --sums "$sums" --percent 101
refused 'possible' load "$uri" --from - --sums "$sums" --block 3000
refused 'needs --control' load "$uri" --from - --sums "$sums" --until-full 90
refused 'nobody answers' load "$uri" --from - --sums "$sums" --until-full 90 --control "$work/no"
refused 'not a file of checksums' verify "$uri" --sums "$work/files"
refused 'No such file' verify "$uri" --sums "$work/none"
refused 'no such compressor' payload "$uri" --sums "$sums" --compress middle-out
kill -TERM "$disk_pid"
wait "$disk_pid" || true
refused 'nbd' verify "$uri" --sums "$sums"
say "ok"
