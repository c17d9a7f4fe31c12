# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# memory.sh - the second part of the demo: what the same data costs in this disk
# and in nbdkit's own compressed RAM disk.

SAMPLE_MIB=256
ROUNDS=4

# row NAME BYTES... : in MiB, and as times the payload of that moment.
row() {
    local name=$1
    shift
    awk -v name="$name" -v figures="$*" -v payload="$PAYLOAD" 'BEGIN {
        split(figures, f); split(payload, p)
        printf "  %-30s", name
        for (i = 1; i <= 3; i++)
            printf "%8.1f (%4.2f)", f[i] / 1048576, f[i] / p[i]
        print ""
    }'
}

memory_table() {
    local kinds=(klotski zstd) kind all half
    [ -z "$LAB_JEMALLOC" ] || kinds+=(jemalloc)
    lab_run lab_sample "$LAB/sample" "$SAMPLE_MIB"
    say "$SAMPLE_MIB MiB of files, in blocks of 32 KiB, zstd:"
    say "loaded; overwritten $ROUNDS times with the same blocks permuted; half trimmed"
    for kind in "${kinds[@]}"; do
        case $kind in
        klotski) say "this disk" ;;
        zstd) say "nbdkit memory allocator=zstd" ;;
        jemalloc) say "the same with jemalloc" ;;
        esac
        lab_churn "$kind" "$LAB/sample" "$SAMPLE_MIB" "$ROUNDS"
    done
    read -r all half <"$LAB/klotski.payload"
    PAYLOAD="$all $all $half"
    echo
    echo "  MiB (times the ideal payload)      after load    overwritten   half trimmed"
    row "ideal payload" "$PAYLOAD"
    row "klotski" "$(cat "$LAB/klotski.mem")"
    row "nbdkit memory allocator=zstd" "$(cat "$LAB/zstd.mem")"
    if [ -n "$LAB_JEMALLOC" ]; then
        row "  with jemalloc" "$(cat "$LAB/jemalloc.mem")"
    else
        echo "  (jemalloc is not installed)"
    fi
    echo
    say "memory: $LAB_METER"
    say "each after a pause of 2 s; before it klotski compact, and jemalloc is set"
    say "to give back within 1 s"
    expect "$(smaller 2)" "overwritten, this disk needs less than nbdkit's"
    expect "$(smaller 3)" "half trimmed too"
}

# smaller COLUMN
smaller() {
    local ours theirs
    ours=$(cut -d' ' -f"$1" "$LAB/klotski.mem")
    theirs=$(cut -d' ' -f"$1" "$LAB/zstd.mem")
    yes_if test "$ours" -lt "$theirs"
}
