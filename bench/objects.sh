#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# objects.sh - memory whose addresses a device has, and uses all the time: can blocks and
# large pieces be had in the midst of it, and what does it cost the device.
#
# What it models: buffers of 4 KiB to 1 MiB in one zone, all registered with a device, which
# reads and writes random ones without pause and looks at checksums.  Buffers come until the
# zone is 92 % full and go at random until 60 % are left; then 64 MiB are wanted in one piece,
# and all the memory that is free, in whole blocks.  The peer is the same history with a driver
# that pins what its device has: as the library packs pinned memory, and as it lies.
#
#   given_back_over_possible   what the system has back (st_blocks) over the free memory in
#       whole blocks; 1 is all.  *_pinned, *_pinned_in_place: the peers
#   contig_success             64 MiB in one piece, of those asked for
#   pages_wrong                that the device found, or the last look at each buffer
#   throughput_while_moving    bytes that the device reads and writes in a second of its
#       thread's time, waiting included, while memory moves, over the same while it does not
#   batches_per_frame          times that the device was quieted, over frames moved
#   move_vs_memcpy             a frame moved, all included, over a memcpy of a page; less is
#       better, as with the next
#   pin_vs_mlock               2 MiB pinned and unpinned, over mlock and munlock
#   read_vs_memcpy, write_vs_memcpy   64 KiB of an object
#   huge_*                     the first ones on huge pages, where they can be had
#
# MIB (256), ROUNDS (20), REPEAT (31: of the last four), SEED.  RUN: put before the program
# (`chrt -f 1`, where others are at work: who is preempted with the device stopped holds it up).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/lab.sh
. "$here/../tools/lab.sh"
bench=${KLOTSKI_BUILD:-$here/../build/release}/tools/objectsbench
MIB=${MIB:-256}
ROUNDS=${ROUNDS:-20}
read -ra run <<<"${RUN:-}"

io() {
    "${run[@]}" "$bench" io "$1" "$MIB" "$ROUNDS" "${SEED:-1}"
}

io memfd || exit 1
"${run[@]}" "$bench" costs "${REPEAT:-31}" "${SEED:-1}" || exit 1
lab_setup
if lab_hugepages_reserve $((MIB / 2)); then
    io hugetlb | sed 's/^RATIO objects\./&huge_/'
    status=$?
    lab_hugepages_restore
    exit $status
fi
echo "no huge pages here"
