#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# compact.sh - compaction: how fast frames move, and whether more move than must.
#
# What it models: a zone that was used for a while is packed, so that whole blocks
# become free.  The peers are memcpy of the same frames to the same places in the
# same order, and an oracle that knows the least number of moves.
#
#   throughput_vs_memcpy  a zone of 256 MiB, half full at random; its owner only copies
#   zs_vs_memcpy          the same with a zsmalloc pool as owner
#   moves_over_optimum    frames moved over the least number that leaves as many
#                         blocks free; random, clustered, even, stepped layouts, and
#                         random ones with pins
#   blocks_of_possible    free blocks over the most that could have been had
#
# LAYOUTS: how many of each kind (1000), SEED.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${KLOTSKI_BUILD:-$here/../build/release}

# Prints one run; the figures that it ends with are left in $figures.
run() {
    local out
    out=$("$build/tools/compactbench" "$@") || return 1
    figures=$(sed -n 's/^FIGURES //p' <<<"$out")
    grep -v '^FIGURES ' <<<"$out"
}

run throughput || exit 1
echo "RATIO compact.throughput_vs_memcpy ${figures% *}"
echo "RATIO compact.zs_vs_memcpy ${figures#* }"
echo
run moves "${LAYOUTS:-1000}" "${SEED:-1}" || exit 1
echo "RATIO compact.moves_over_optimum ${figures% *}"
echo "RATIO compact.blocks_of_possible ${figures#* }"
