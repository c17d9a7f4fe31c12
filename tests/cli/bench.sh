#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The programs of the benchmarks, with little data: that they run, that what they print
# can be, and that they refuse nonsense.  No time is judged.
# shellcheck source-path=SCRIPTDIR
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/../disk/lib.sh"
need python3
tools=$(realpath "${KLOTSKI_BUILD:?}")/tools
export QUIET_MS=20

# refused ARGUMENTS...: a status and the usage, whatever program.
refused() {
    if "$@" >"$work/out" 2>&1; then fail "not refused: $*"; fi
    grep -q '^usage: ' "$work/out" || fail "$* does not say how to use it: $(cat "$work/out")"
}

# numbers N FILE: the last line of the file has N numbers (and may begin with a word).
numbers() {
    tail -n 1 "$2" | grep -qE "^([A-Z]+ )?[0-9.]+( [0-9.]+){$(($1 - 1))}$" ||
        fail "not $1 numbers: $(cat "$2")"
}

corpora() {
    local kind
    for kind in mix binaries text sqlite narrow; do
        python3 "$top/tools/corpus.py" $kind 2 "$work/$kind" 2>"$work/said" ||
            fail "no corpus $kind: $(cat "$work/said")"
        [ "$(stat -c %s "$work/$kind")" = $((2 << 20)) ] || fail "$kind: not 2 MiB"
    done
    python3 "$top/tools/corpus.py" mix 2 "$work/again" 1
    cmp "$work/mix" "$work/again" || fail "the same seed, another corpus"
    python3 "$top/tools/corpus.py" mix 2 "$work/again" 2
    if cmp -s "$work/mix" "$work/again"; then fail "another seed, the same corpus"; fi
    refused python3 "$top/tools/corpus.py" nonsense 2 "$work/x"
    refused python3 "$top/tools/corpus.py" mix 0 "$work/x"
}

# figure STAGE N: of the last density.
figure() {
    awk -v stage="$1" -v n="$2" '$1 == stage { print $(n + 1) }' "$work/density"
}

density() {
    local stage status=0
    "$tools/densitybench" klotski discard "$work/mix" >"$work/density" 2>"$work/said" ||
        fail "densitybench: $(cat "$work/said")"
    for stage in fresh quiet compacted; do
        [ "$(figure $stage 1)" -ge "$(figure $stage 2)" ] || fail "$stage: frames below payload"
        [ "$(figure $stage 4)" -ge "$(figure $stage 1)" ] || fail "$stage: machine below frames"
        [ "$(figure $stage 3)" -gt 0 ] || fail "$stage: no metadata"
    done
    [ "$(figure quiet 2)" -lt $(($(figure fresh 2) * 2 / 3)) ] || fail "not half was discarded"
    [ "$(figure quiet 2)" -gt $(($(figure fresh 2) / 3)) ] || fail "more than half was discarded"
    [ "$(figure quiet 2)" = "$(figure compacted 2)" ] || fail "compaction changes the payload"
    [ "$(figure compacted 1)" -lt "$(figure fresh 1)" ] || fail "compaction frees nothing"
    "$tools/densitybench" klotski change "$work/mix" "$work/narrow" >"$work/density" 2>&1 ||
        fail "densitybench change: $(cat "$work/density")"
    [ "$(figure quiet 2)" -gt 0 ] || fail "nothing there after the change"
    refused "$tools/densitybench" klotski change "$work/mix"
    refused "$tools/densitybench" nonsense fresh "$work/mix"

    "$tools/densitybench" zram discard "$work/mix" >"$work/density" 2>"$work/said" || status=$?
    case $status in
    0)
        [ "$(figure fresh 1)" -gt "$(figure quiet 1)" ] || fail "zram: discarding frees nothing"
        [ "$(flock /sys/block/zram0 cat /sys/block/zram0/disksize)" = 0 ] || fail "zram is left in use"
        ;;
    77) grep -q zram0 "$work/said" || fail "no reason why there is no zram: $(cat "$work/said")" ;;
    *) fail "densitybench zram: $(cat "$work/said")" ;;
    esac
}

objects() {
    local kind threads quiet compacted live
    for kind in klotski malloc; do
        for threads in 1 2; do
            "$tools/zsbench" speed $kind $threads "$work/mix" 1 >"$work/out" || fail "zsbench speed $kind"
            numbers 1 "$work/out"
        done
        "$tools/zsbench" bytes $kind up "$work/mix" 8 >"$work/out" 2>"$work/said" ||
            fail "zsbench bytes $kind: $(cat "$work/said")"
        numbers 3 "$work/out"
        read -r quiet compacted live <"$work/out"
        [ "$live" -ge $((8 << 20)) ] || fail "$kind: $live bytes are live"
        [ "$quiet" -ge "$live" ] || fail "$kind: $live bytes in $quiet"
        [ "$compacted" -ge "$live" ] || fail "$kind: $live bytes in $compacted"
    done
    refused "$tools/zsbench" speed klotski 3 "$work/mix" 1
    refused "$tools/zsbench" bytes nonsense up "$work/mix" 1
}

store() {
    "$tools/storebench" "$work/mix" 2 >"$work/out" || fail "storebench"
    numbers 10 "$work/out"
    if grep '^FIGURES' "$work/out" | cut -d' ' -f2,3,5-10 | grep -qE '(^| )0( |$)'; then
        fail "something takes no time: $(cat "$work/out")"
    fi
    "$tools/storebench" lz4 "$work/mix" >"$work/out" || fail "storebench lz4"
    numbers 2 "$work/out"
    refused "$tools/storebench" "$work/mix" 0
}

pools() {
    local moved copied
    "$tools/poolbench" hits 2 64 >"$work/out" || fail "poolbench hits"
    numbers 4 "$work/out"
    "$tools/poolbench" mmap 2 64 >"$work/out" || fail "poolbench mmap"
    numbers 1 "$work/out"
    "$tools/poolbench" memset 64 >"$work/out" || fail "poolbench memset"
    numbers 2 "$work/out"
    "$tools/poolbench" moves 2 64 >"$work/out" || fail "poolbench moves"
    numbers 4 "$work/out"
    read -r moved copied _ <"$work/out"
    [ "$moved" -ge 64 ] || fail "$moved of 64 units moved"
    [ "$copied" = 0 ] || fail "$copied bytes were copied"
    refused "$tools/poolbench" hits 10 64
    refused "$tools/poolbench" hits 2 0
    refused "$tools/poolbench" memset 0
    refused "$tools/poolbench" nonsense 2 64
}

# As many chunks as it takes until all is asked for once.
helps() {
    "$tools/helpsbench" "$work/mix" 8 1 160 >"$work/out" || fail "helpsbench"
    [ "$(grep -c '^AGE ' "$work/out")" = 1 ] || fail "not one age: $(cat "$work/out")"
    grep '^AGE ' "$work/out" | awk '
        NF != 16 || $3 < 60 || $3 > 95 || $4 < 60 || $4 > 95 { exit 1 }
        { for (i = 5; i < 17; i += 3) if ($(i + 1) > $i || $(i + 2) > $i) exit 1 }' ||
        fail "this can't be: $(cat "$work/out")"
    [ "$(grep -c '^RATIO helps\.[a-z0-9_]* [0-9.]*$' "$work/out")" = 19 ] ||
        fail "ratios lack: $(cat "$work/out")"
    refused "$tools/helpsbench" "$work/mix" 0
    refused "$tools/helpsbench" "$work/mix"
    refused "$tools/helpsbench" "$work/mix" 8 1 158
}

# Built with liburing, and where io_uring may be used.
iouring() {
    local bench=$tools/iouringbench
    [ -x "$bench" ] || return 0
    refused "$bench"
    refused "$bench" read 65536 0 "$work/mix"
    refused "$bench" nonsense 65536 1 "$work/mix"
    "$bench" verify 65536 1 "$work/mix" >"$work/out" 2>"$work/said" || {
        grep -q '^ring: ' "$work/said" && return 0
        fail "iouringbench: $(cat "$work/said")"
    }
    grep -qE '^0 128 [0-9]+$' "$work/out" || fail "verified: $(cat "$work/out")"
    "$bench" pinned 65536 1 "$work/mix" >"$work/out" 2>&1 || fail "pinned: $(cat "$work/out")"
    [ "$(grep -c 'in the way: pinned' "$work/out")" = 2 ] || fail "not in the way: $(cat "$work/out")"
    MS=20 "$bench" copy 65536 2 "$work/mix" "$work/to" >"$work/out" 2>/dev/null || fail "iouringbench copy"
    numbers 5 "$work/out"
}

# figure_of NAME FILE: of its RATIO.
figure_of() {
    awk -v name="objects.$1" '$1 == "RATIO" && $2 == name { print $3 }' "$2"
}

# Objects of a device that is at work: with hooks all moves, pinned it does not.
devices() {
    local name
    "$tools/objectsbench" io memfd 64 2 >"$work/out" 2>"$work/said" ||
        fail "objectsbench io: $(cat "$work/said")"
    for name in given_back_over_possible contig_success; do
        [ "$(figure_of $name "$work/out")" = 1.0000 ] || fail "with hooks: $(cat "$work/out")"
    done
    [ "$(figure_of contig_success_pinned_in_place "$work/out")" = 0.0000 ] ||
        fail "pinned, and yet: $(cat "$work/out")"
    [ "$(figure_of pages_wrong "$work/out")" = 0 ] || fail "wrong: $(cat "$work/out")"
    awk -v n="$(figure_of batches_per_frame "$work/out")" 'BEGIN { exit !(n > 0 && n < 0.2) }' ||
        fail "quieted for each frame: $(cat "$work/out")"
    grep -q 'in the way of blocks: .* pinned: the device has its addresses$' "$work/out" ||
        fail "nobody is named: $(cat "$work/out")"
    "$tools/objectsbench" costs 3 >"$work/out" 2>&1 || fail "objectsbench costs: $(cat "$work/out")"
    [ "$(grep -c '^RATIO objects\.[a-z_]* [0-9.]*$' "$work/out")" = 4 ] ||
        fail "ratios lack: $(cat "$work/out")"
    refused "$tools/objectsbench" io memfd 16 2
    refused "$tools/objectsbench" io nonsense 64 2
    refused "$tools/objectsbench" costs 0
}

# Both kinds of trace, the same twice; what was gained cost at least what it must.
device() {
    local kind moved least gained bound
    for kind in games inference; do
        "$tools/devicebench" trace $kind 200 3 >"$work/trace" || fail "devicebench trace $kind"
        "$tools/devicebench" trace $kind 200 3 | cmp - "$work/trace" || fail "$kind: the same seed, another trace"
        "$tools/devicebench" trace $kind 200 4 >"$work/again"
        if cmp -s "$work/trace" "$work/again"; then fail "$kind: another seed, the same trace"; fi
        "$tools/devicebench" moves $kind 1200 >"$work/out" || fail "devicebench moves $kind"
        numbers 4 "$work/out"
        read -r _ moved least gained bound < <(grep '^FIGURES' "$work/out")
        [ "$gained" -gt 0 ] || fail "$kind: no block was gained: $(cat "$work/out")"
        [ "$moved" -ge "$least" ] || fail "$kind: less moved than must: $(cat "$work/out")"
        [ "$bound" -ge "$gained" ] || fail "$kind: more gained than can be: $(cat "$work/out")"
        "$tools/devicebench" requests $kind 1200 >"$work/out" || fail "devicebench requests $kind"
        numbers 4 "$work/out"
        PASS_US=1000000 "$tools/devicebench" passes $kind 600 >"$work/out" || fail "devicebench passes $kind"
        numbers 4 "$work/out"
        [ "$(grep '^FIGURES' "$work/out" | cut -d' ' -f5)" -gt 0 ] || fail "$kind: no pass"
    done
    refused "$tools/devicebench" moves nonsense
    refused "$tools/devicebench" nonsense games
    refused "$tools/devicebench" moves games 0
    refused "$tools/devicebench" moves games 10 1x
    refused "$tools/devicebench" moves
}

corpora
density
device
objects
devices
pools
store
helps
iouring
