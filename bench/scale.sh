#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# scale.sh - does a zone of 1 TiB cost more than one of 1 GiB.
#
# What it models: a device's memory, or a large machine's: offsets only, half full in
# every block.  The peer is the same zone at 1 GiB, in turns with it.  The metadata of
# the large one takes some 2 GiB of memory while it runs.
#
#   alloc_1tib_over_1gib   get and put of single frames, 4096 at a time, in random order
#   alloc8_1tib_over_1gib  the same with 8 frames
#   window_ms_per_tib      milliseconds of CPU time to look for 64 MiB in all of it
#
# Medians of REPEAT.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${KLOTSKI_BUILD:-$here/../build/release}
REPEAT=${REPEAT:-5}

median() {
    sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

small=() small8=() large=() large8=() window=()
for ((i = 0; i < REPEAT; i++)); do
    read -r single eight _ <<<"$("$build/tools/scalebench" 1)" || exit 1
    small+=("$single") small8+=("$eight")
    read -r single eight ms <<<"$("$build/tools/scalebench" 1024)" || exit 1
    large+=("$single") large8+=("$eight") window+=("$ms")
    echo "run $((i + 1)) of $REPEAT: 1 GiB ${small[i]} ns, ${small8[i]} ns; 1 TiB ${large[i]} ns, ${large8[i]} ns, $ms ms"
done

middle() {
    printf '%s\n' "$@" | median
}
ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", a / b }'
}
echo "RATIO scale.alloc_1tib_over_1gib $(ratio "$(middle "${large[@]}")" "$(middle "${small[@]}")")"
echo "RATIO scale.alloc8_1tib_over_1gib $(ratio "$(middle "${large8[@]}")" "$(middle "${small8[@]}")")"
echo "RATIO scale.window_ms_per_tib $(middle "${window[@]}")"
