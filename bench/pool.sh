#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# pool.sh - page pools beside what one does without: mmap for each buffer, zeroing each page.
#
# What it models: somebody who gets and gives back buffers of one size, whose pool is zeroed
# while he does something else; on one CPU, CPU time, medians of REPEAT (5) of 31 rounds.
#
#   hit_vs_mmap   64 KiB zeroed, got, a byte of each page written, given back; over mmap, the
#       same bytes written, munmap
#   hit_and_zeroing_vs_mmap   the same with the background work that zeroes it again
#   hit_vs_memset   a zeroed page got, over a memset of 4 KiB of many pages in turn, as pages
#       come that are used again after others (64 MiB of them)
#   hit_vs_memset_hot   the same over a memset of one page again and again, in the nearest cache
#   pair_vs_memset   got and given back, over the first
#   move_vs_memcpy   an idle frame moved, order 4, everything included, over its memcpy
#   move_bytes_copied   of what idle units had in them when they were moved
#
# Less is better.  Ours and theirs take turns.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/corpus.sh
. "$here/../tools/corpus.sh"
bench=$build/tools/poolbench
REPEAT=${REPEAT:-5}
BIG=${BIG:-256}       # units of 64 KiB
SMALL=${SMALL:-16384} # pages

divide() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", a / b }'
}

middle() {
    printf '%s\n' "$@" | median
}

whole=() zeroing=() mapped=() got=() pair=() turn=() again=() moved=() copied=() left=0
for ((i = 0; i < REPEAT; i++)); do
    read -r a _ _ z <<<"$("$bench" hits 4 "$BIG")"
    read -r m <<<"$("$bench" mmap 4 "$BIG")"
    read -r _ g p _ <<<"$("$bench" hits 0 "$SMALL")"
    read -r t n <<<"$("$bench" memset "$SMALL")"
    read -r units bytes f c <<<"$("$bench" moves 4 "$BIG")"
    [ -n "${z:-}" ] && [ -n "${m:-}" ] && [ -n "${p:-}" ] && [ -n "${n:-}" ] && [ -n "${c:-}" ] || exit 1
    [ "$units" -ge "$BIG" ] || {
        echo "pool.sh: only $units units moved" >&2
        exit 1
    }
    whole+=("$a") zeroing+=("$z") mapped+=("$m") got+=("$g") turn+=("$t") again+=("$n")
    pair+=("$(awk -v g="$g" -v p="$p" 'BEGIN { print g + p }')")
    moved+=("$f") copied+=("$c") left=$((left + bytes))
done
echo "64 KiB, ns: got, written, given back ${whole[*]}; zeroed later ${zeroing[*]}; mmap ${mapped[*]}"
echo "4 KiB, ns: got ${got[*]}; got and given back ${pair[*]}; memset in turn ${turn[*]}, again ${again[*]}"
echo "idle frames moved, ns: ${moved[*]}; memcpy ${copied[*]}"
both=$(awk -v a="$(middle "${whole[@]}")" -v b="$(middle "${zeroing[@]}")" 'BEGIN { print a + b }')
echo "RATIO pool.hit_vs_mmap $(divide "$(middle "${whole[@]}")" "$(middle "${mapped[@]}")")"
echo "RATIO pool.hit_and_zeroing_vs_mmap $(divide "$both" "$(middle "${mapped[@]}")")"
echo "RATIO pool.hit_vs_memset $(divide "$(middle "${got[@]}")" "$(middle "${turn[@]}")")"
echo "RATIO pool.hit_vs_memset_hot $(divide "$(middle "${got[@]}")" "$(middle "${again[@]}")")"
echo "RATIO pool.pair_vs_memset $(divide "$(middle "${pair[@]}")" "$(middle "${turn[@]}")")"
echo "RATIO pool.move_vs_memcpy $(divide "$(middle "${moved[@]}")" "$(middle "${copied[@]}")")"
echo "RATIO pool.move_bytes_copied $left"
