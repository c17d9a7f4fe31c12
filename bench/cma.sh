#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# cma.sh - areas for contiguous ranges: what deferred free gains and costs, and whether
# ranges succeed whenever they can.
#
# What it models: a driver that wants 64 MiB now and again, of an area that others fill in
# between.  The peer is the same area with deferred free off; for the time memcpy.
#
#   deferred_speedup            CPU time of an allocation without over with deferred free,
#                               while the tenants find room elsewhere
#   deferred_speedup_uniform    the same, sizes from 1 to 64 MiB
#   deferred_speedup_zeroed     the first with zeroed ranges
#   deferred_speedup_needed     the first with tenants who need the kept range: they get it
#   *_tenants_time              what a tenant's free and allocation then take, with over without
#   *_tenants_refused           allocations of theirs that failed more than without
#   success_when_feasible, p99_over_copy_bound  as those of contig.sh, in areas
#   false_failures              what fails with ranges kept and not without
#
# CYCLES (20), LAYOUTS (4000), SEED.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${KLOTSKI_BUILD:-$here/../build/release}
bench=$build/tools/cmabench
layouts=${LAYOUTS:-4000}
seed=${SEED:-1}

"$bench" cycles "${CYCLES:-20}" "$seed" || exit 1
echo "$layouts layouts"
"$bench" feasible "$layouts" "$seed" || exit 1
echo "$((layouts / 20 + 1)) layouts, 400 requests each"
"$bench" false "$((layouts / 20 + 1))" "$seed" || exit 1
