#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# frames.sh - the frame allocator beside jemalloc.
#
# What it models: somebody who gets and puts single frames of 4 KiB; the peer does
# the same with malloc(4096) and Debian's jemalloc.
#
#   pair      one frame got and put, again and again
#   random    200,000 live, the zone 90 % full; one at random is replaced
#   two       pairs by two threads at a time, against one thread: how much more two
#             get done (2.0 is perfect)
#   metadata  what the zone's own bookkeeping takes, in per cent
#
# Ours over the peer's time: less is better.  Both take turns; medians of REPEAT.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${KLOTSKI_BUILD:-$here/../build/release}
ops=$build/tools/frameops
REPEAT=${REPEAT:-5}

jemalloc=$(ldconfig -p | sed -n 's/.*libjemalloc\.so\.2.* => //p' | head -n 1)
[ -n "$jemalloc" ] || {
    echo "frames.sh: no libjemalloc.so.2 (package libjemalloc2)" >&2
    exit 1
}

median() {
    sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

divide() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", a / b }'
}

declare -A ns
for what in pair random two; do
    ours=() peers=()
    for ((i = 0; i < REPEAT; i++)); do
        ours+=("$("$ops" "$what" klotski)") || exit 1
        peers+=("$(LD_PRELOAD=$jemalloc "$ops" "$what" malloc)") || exit 1
    done
    ns[$what]=$(printf '%s\n' "${ours[@]}" | median)
    ns[$what.peer]=$(printf '%s\n' "${peers[@]}" | median)
    echo "$what, ns an operation: ours ${ours[*]}, jemalloc ${peers[*]}"
done

echo "RATIO frames.pair_vs_jemalloc $(divide "${ns[pair]}" "${ns[pair.peer]}")"
echo "RATIO frames.random_vs_jemalloc $(divide "${ns[random]}" "${ns[random.peer]}")"
echo "RATIO frames.two_threads_over_one $(divide "${ns[pair]}" "${ns[two]}")"
echo "RATIO frames.metadata_percent $("$ops" metadata klotski)"
