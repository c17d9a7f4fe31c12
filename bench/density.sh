#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# density.sh - how much memory compressed pages take beyond their compressed sizes.
#
# What it models: a compressed disk that is filled with pages of this machine's files
# (tools/corpus.py: half programs, a quarter text, a quarter a database), lz4, 4 KiB;
# half of which are later discarded at random, or overwritten by other data.  The peer is
# the kernel's zsmalloc: the same pages on /dev/zram0, where it may be used and is idle.
#
# Frames used over the sum of the compressed sizes, both counted as the kernel does; less
# is better, 1 is perfect.
#   fresh            1 GiB of pages; fresh_64mib: 64 MiB
#   all_in           with every byte of metadata beside the frames (what is counted as
#                    that, and how large the zone is, tools/bench/density.c says; the
#                    kernel's is an estimate)
#   half_discarded   a random half discarded, then what the library does by itself until
#                    it was quiet for a second
#   half_compacted   then compaction that was asked for
#   changed          a random half overwritten with narrow records, then as half_discarded
#   changed_back     the other way: narrow records, which it learns its classes from, a
#                    random half of them overwritten with the mix
#   machine_vs_counter[_compacted]  what the system says of the memory over what the
#                    counter says of the frames, after the half was discarded
#   kernel_*         the same of the kernel's
#   narrow_64mib     pages that all come out at about 1000 bytes, fresh
#   *_fixed          the same by a store that does not learn its classes (fixed); the table
#                    has both for each kind of page, and the MiB that object compaction moved
#                    in classes that it has learned to do without, or - if it learned nothing
#
# LARGE_MIB (1024), SMALL_MIB (64), CHANGE_MIB (256: changed), TABLE_MIB (256; 1024 takes
# some minutes more): the larger size in the table, where each kind of page stands alone.
# CORPUS_DIR: where corpora are kept.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/corpus.sh
. "$here/../tools/corpus.sh"
bench=$build/tools/densitybench
LARGE_MIB=${LARGE_MIB:-1024}
SMALL_MIB=${SMALL_MIB:-64}
TABLE_MIB=${TABLE_MIB:-256}
CHANGE_MIB=${CHANGE_MIB:-256}

# stage SIDE STAGE: its line of the last experiment.
stage() {
    grep "^$2 " "$work/$1"
}

# figure SIDE STAGE N [M]: the N-th figure, and the M-th, over the payload.
figure() {
    stage "$1" "$2" | awk -v n="$3" -v m="${4:-0}" '
        { printf "%.4f\n", ($(n + 1) + (m ? $(m + 1) : 0)) / $3 }'
}

# experiment SCENE CORPUS [OTHER]: all sides; kernel=1 if the kernel took part.
experiment() {
    local status
    "$bench" klotski "$@" >"$work/ours" || exit 1
    "$bench" fixed "$@" >"$work/fixed" || exit 1
    "$bench" zram "$@" >"$work/kernel"
    status=$?
    kernel=1
    case $status in
    0) ;;
    77) kernel=0 ;;
    *) exit 1 ;;
    esac
}

show() {
    local side
    for side in ours fixed kernel; do
        sed "s/^/  $side: /" "$work/$side"
    done
}

# ratio NAME STAGE [N M]: of both sides.
ratio() {
    echo "RATIO density.$1 $(figure ours "$2" "${3:-1}" "${4:-0}")"
    [ "$kernel" = 0 ] || echo "RATIO density.kernel_$1 $(figure kernel "$2" "${3:-1}" "${4:-0}")"
}

# beside NAME STAGE: of the two of ours.
beside() {
    ratio "$1" "$2"
    echo "RATIO density.$1_fixed $(figure fixed "$2" 1)"
}

# What was moved because it learned.
moved() {
    stage ours learned | awk '{ if ($2) printf "%.1f\n", $4 / 1048576; else print "-" }'
}

# What the machine says over what the counter says.
machine() {
    stage ours "$2" | awk -v name="$1" '{ printf "RATIO density.%s %.4f\n", name, $5 / $2 }'
}

echo "(stage: bytes of frames, compressed sizes, metadata, memory as the system counts it)"
corpus mix "$LARGE_MIB"
echo "mix, $LARGE_MIB MiB, a random half discarded:"
experiment discard "$corpus"
show
ratio fresh fresh
ratio all_in fresh 1 3
ratio half_discarded quiet
ratio half_compacted compacted
machine machine_vs_counter quiet
machine machine_vs_counter_compacted compacted

corpus mix "$SMALL_MIB"
echo "mix, $SMALL_MIB MiB:"
experiment fresh "$corpus"
show
ratio fresh_64mib fresh
ratio all_in_64mib fresh 1 3

corpus mix "$CHANGE_MIB"
first=$corpus
corpus narrow "$CHANGE_MIB"
echo "mix, $CHANGE_MIB MiB, a random half overwritten with narrow records:"
experiment change "$first" "$corpus"
show
beside changed quiet
beside changed_compacted compacted
echo "narrow records, $CHANGE_MIB MiB, a random half overwritten with the mix:"
experiment change "$corpus" "$first"
show
beside changed_back quiet
beside changed_back_compacted compacted

echo
printf '%-9s %6s  %-14s %-14s %-14s %s\n' \
    corpus MiB 'fresh, all in' 'fixed, all in' 'kernel, all in' moved
for kind in binaries text sqlite narrow; do
    for mib in "$SMALL_MIB" "$TABLE_MIB"; do
        corpus "$kind" "$mib"
        experiment fresh "$corpus"
        [ "$kind $mib" != "narrow $SMALL_MIB" ] || beside narrow_64mib fresh
        [ -n "${CORPUS_DIR:-}" ] || rm -f "$corpus"
        theirs="- -"
        [ "$kernel" = 0 ] || theirs="$(figure kernel fresh 1) $(figure kernel fresh 1 3)"
        # shellcheck disable=SC2086
        printf '%-9s %6s  %s %s  %s %s  %s %s  %s\n' "$kind" "$mib" \
            "$(figure ours fresh 1)" "$(figure ours fresh 1 3)" \
            "$(figure fixed fresh 1)" "$(figure fixed fresh 1 3)" $theirs "$(moved)"
    done
done
