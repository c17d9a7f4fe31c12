#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# contig.sh - contiguous ranges: do they succeed whenever they can, and how fast.
#
# What it models: a driver that wants buffers of 32 KiB to 8 MiB from a zone that is
# 50 to 98 % full of others' frames, some of them pinned.  The peer is the same zone
# with migration off, and for the time memcpy.
#
#   success_when_feasible  of the requests that an oracle, looking at the frozen
#                          layout, calls possible: the part that succeeded; 1 is all
#   p99_over_copy_bound    CPU time of a request over what memcpy takes for the
#                          frames that it moved, and 20 us: 99 in 100 are below
#   success_mixed          the first again, with units of one to eight frames
#
# LAYOUTS: how many (10000), SEED.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${KLOTSKI_BUILD:-$here/../build/release}
layouts=${LAYOUTS:-10000}
seed=${SEED:-1}

# Prints the table of one run; the figures that it ends with are left in $figures.
run() {
    local out
    out=$("$build/tools/contigbench" "$1" "$2" "$seed") || return 1
    figures=$(sed -n 's/^FIGURES //p' <<<"$out")
    grep -v '^FIGURES ' <<<"$out"
}

echo "$layouts layouts of single frames"
run single "$layouts" || exit 1
echo "RATIO contig.success_when_feasible ${figures% *}"
echo "RATIO contig.p99_over_copy_bound ${figures#* }"
echo
echo "$((layouts / 10 + 1)) layouts of units of one to eight frames"
run mixed "$((layouts / 10 + 1))" || exit 1
echo "RATIO contig.success_mixed ${figures% *}"
