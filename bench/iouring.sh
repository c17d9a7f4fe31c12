#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# iouring.sh - fixed buffers of io_uring whose memory moves all the time.
#
# What it models: a server that reads (or copies) a file through registered buffers, 32 requests
# at a time, in a zone out of which 64 MiB in a row are taken again and again, which moves all
# buffers each time; now and then free memory goes to the system and comes back.  The peer is
# the same a fifth of a second before, undisturbed.  The file is in the page cache, so the kernel
# copies and nobody waits for a disk: the thread of the requests has one CPU to do, the mover's
# another.  What they compete for, where there are two CPUs: the memory's bandwidth, the lock of
# the ring (a registration waits for a submission and the other way round), the page
# cache's pages, and CPUs with whatever else runs.
#
#   throughput_while_compacting   bytes read a second with the mover over without
#   copy_while_compacting         the same, read and written
#   served_while_compacting       the first, but for the time for which the requests' thread
#                                 waited for a CPU: on a machine that is busy with other things
#   cpu_while_compacting          the first of bytes a second of CPU time of that thread
#   plain_while_compacting        the first with ordinary requests on the same buffers
#   fixed_over_plain              undisturbed: what registration is good for
#   bytes_wrong                   buffers of another pass that had a wrong byte
#
# BYTES of a buffer (65536), PAIRS (15), MS of a phase (200), FILE_MIB (256).
# FIFO: a real-time priority for both threads (1 to 99; none), for a machine that is busy with
# other things: those get what is left.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/corpus.sh
. "$here/../tools/corpus.sh"
bench=$build/tools/iouringbench
bytes=${BYTES:-65536}
pairs=${PAIRS:-15}
ahead=()
[ -z "${FIFO:-}" ] || ahead=(chrt -f "$FIFO")
[ -x "$bench" ] || {
    echo "iouring.sh: it was built without liburing: nothing to measure"
    exit 0
}

head -c "$((${FILE_MIB:-256} << 20))" /dev/urandom >"$work/file" || exit 1
measure() {
    "${ahead[@]}" "$bench" "$@" 2>"$work/said" || {
        grep -q '^ring: ' "$work/said" && { # first of all by `pinned`, not in a subshell
            echo "iouring.sh: io_uring can't be used here: nothing to measure"
            exit 0
        }
        cat "$work/said" >&2
        exit 1
    }
}

echo "pinned instead, as one does without hooks:"
measure pinned "$bytes" 1 "$work/file"
verified=$(measure verify "$bytes" 1 "$work/file") || exit 1
read -r wrong all moves <<<"$verified"
echo "verified: $all buffers read, $wrong wrong; buffers moved $moves times meanwhile"
figures=$(measure read "$bytes" "$pairs" "$work/file") || exit 1
read -r rate ratio served cpu moved <<<"$(head -n 1 <<<"$figures")"
read -r plain plain_ratio _ _ _ <<<"$(tail -n 1 <<<"$figures")"
figures=$(measure copy "$bytes" "$pairs" "$work/file" "$work/to") || exit 1
read -r copied copy_ratio _ _ copy_moved <<<"$(head -n 1 <<<"$figures")"
[ -n "${plain_ratio:-}" ] && [ -n "${copy_moved:-}" ] || exit 1
echo "undisturbed: $rate MiB/s read, $plain with ordinary requests; $copied copied"
echo "moved meanwhile: $moved MiB/s of buffers, while copying $copy_moved"
echo "RATIO iouring.throughput_while_compacting $ratio"
echo "RATIO iouring.copy_while_compacting $copy_ratio"
echo "RATIO iouring.served_while_compacting $served"
echo "RATIO iouring.cpu_while_compacting $cpu"
echo "RATIO iouring.plain_while_compacting $plain_ratio"
echo "RATIO iouring.fixed_over_plain $(awk -v a="$rate" -v b="$plain" 'BEGIN { printf "%.3f", a / b }')"
echo "RATIO iouring.bytes_wrong $wrong"
