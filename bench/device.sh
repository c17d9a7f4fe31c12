#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# device.sh - a device's memory: what passes move, what they take, and what large buffers gain.
#
# What it models: the memory of a graphics device in the hands of a game, and of a server of a
# language model (tools/bench/device_traces.c says how; `devicebench trace games` prints one). The
# copies are a copy engine's in software.
#
#   bytes_moved_over_optimum    bytes that passes moved to gain all blocks that they could, over the
#                               least that any plan must move for as many (the contents of the
#                               cheapest blocks); both traces together, and each
#   four_moved_over_optimum     the same to gain four blocks, with what the last pass has moved out
#                               of a fifth one
#   blocks_over_bound           blocks gained over those that hold nothing that can't move and that
#                               there is room for, counted in bytes; perhaps no plan comes near
#   passes_p99_us_over_budget   processor time of a pass (the caller's and the engine's) that had half
#                               of its bytes or more, 99 in 100 are below, over the budget from which
#                               its bytes follow; the worse trace
#   passes_median_us_over_budget, passes_wall_p99_us_over_budget  the same of half the passes;
#                               and in wall time, which on a shared machine is others' too
#   large_block_on, large_range_on   the part of the requests for one block (32 MiB), and for
#                               two (64 MiB), that succeed; *_off: nothing moves
#
# TICKS (6000) of each trace, SEED, PASS_US (2000).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${KLOTSKI_BUILD:-$here/../build/release}
ticks=${TICKS:-6000}
seed=${SEED:-1}

# Prints one run; the figures that it ends with are left in $figures.
run() {
    local out
    echo "$1, $2:"
    out=$("$build/tools/devicebench" "$1" "$2" "$ticks" "$seed") || return 1
    figures=$(sed -n 's/^FIGURES //p' <<<"$out")
    grep -v '^FIGURES ' <<<"$out"
    echo
}

all=
for kind in games inference; do
    run moves $kind || exit 1
    all+="moves $kind $figures"$'\n'
    run four $kind || exit 1
    all+="four $kind $figures"$'\n'
    run requests $kind || exit 1
    all+="requests $kind $figures"$'\n'
    run passes $kind || exit 1
    all+="passes $kind $figures"$'\n'
done
awk '
    function ratio(name, value) { printf "RATIO device.%s %.4f\n", name, value }
    $1 == "moves" {
        moved += $3; least += $4; gained += $5; bound += $6
        ratio("bytes_moved_over_optimum_" $2, $4 ? $3 / $4 : 0)
    }
    $1 == "four" { four += $3; four_least += $4 }
    $1 == "requests" {
        ratio("large_block_off_" $2, $3); ratio("large_block_on_" $2, $4)
        ratio("large_range_off_" $2, $5); ratio("large_range_on_" $2, $6)
    }
    $1 == "passes" {
        if ($3 > p99) p99 = $3
        if ($4 > median) median = $4
        if ($5 > wall) wall = $5
    }
    END {
        ratio("bytes_moved_over_optimum", least ? moved / least : 0)
        ratio("four_moved_over_optimum", four_least ? four / four_least : 0)
        ratio("blocks_over_bound", bound ? gained / bound : 0)
        ratio("passes_p99_us_over_budget", p99)
        ratio("passes_median_us_over_budget", median)
        ratio("passes_wall_p99_us_over_budget", wall)
    }' <<<"$all"
