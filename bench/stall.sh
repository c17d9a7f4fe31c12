#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# stall.sh - what others notice of a thread that is stalled while it moves frames.
#
# What it models: an owner whose callback sleeps for a second (isolate, prepare,
# migrate), and a reader who keeps an object open for a second while its block is to
# be emptied.  Meanwhile another thread allocates and frees frames and objects, reads
# and writes.
#
# The 99th percentile of one operation over 1 ms; less is better.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${KLOTSKI_BUILD:-$here/../build/release}

lines=$("$build/tools/stall") || exit 1
while read -r name ops p50 p99 longest waits; do
    echo "$name: $ops operations, ns: median $p50, 99 % $p99, longest $longest; $waits waits"
    echo "RATIO stall.${name}_p99_over_1ms $(awk -v p="$p99" 'BEGIN { printf "%.6f\n", p / 1e6 }')"
done <<<"$lines"
