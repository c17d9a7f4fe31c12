#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# pressure.sh - how much of a disk's idle memory is back within one window when a hog
# squeezes it.
#
# What it models: a disk beside a program that grows, in a memory cgroup without swap.  The
# disk was full, and most of it was trimmed; nothing has packed it yet (auto-compact=false).
# Idle is what its file holds beyond what its data needs: free frames, and frames that object
# compaction could free.  Then the program takes memory until a sixteenth of the limit is
# left.  The disk's writer goes on all the while.
#
#   returned       of the idle memory, what the kernel's file has not any more one window
#                  (2 s, that of PSI for ordinary users) after the hog has what it wants;
#                  1 is all
#   refused        allocations that failed meanwhile; 0 is none
#   returned_off   the first with pressure=off: the control
#   poll_cpu_ppm   of a CPU, while it only looks each second and nothing happens, in millionths
#
# Needs root and the memory controller; prints no ratio where there is none.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${KLOTSKI_BUILD:-$here/../build/release}
export KLOTSKI_PLUGIN=${KLOTSKI_PLUGIN:-$build/integrations/nbdkit-klotski-plugin.so}
export KLOTSKI_CLI=${KLOTSKI_CLI:-$build/cli/klotski}
disk=$here/../tests/disk
# shellcheck source-path=SCRIPTDIR/../tests/disk source=lib.sh
. "$disk/lib.sh"
# shellcheck source-path=SCRIPTDIR/../tests/disk source=cgroup.sh
. "$disk/cgroup.sh"
need nbdcopy qemu-io perl
mib=$((1 << 20))
window=2

stat() { cli stat --get "$1"; }

# What the data needs, in whole blocks of 2 MiB: so the rest is idle.
idle_bytes() {
    local used=$(($(stat zone.used_frames) - $(stat zs.freeable_frames)))
    local blocks=$(((used + 511) / 512))
    echo $(($(stat system.resident_bytes) - blocks * 2 * mib))
}

load() {
    perl -e 'open my $r, "<:raw", "/dev/urandom"; binmode STDOUT;
        for (1 .. 120 * 256) { read $r, my $b, 2048; print $b, "\0" x 2048 }' >"$work/halves"
    nbdcopy "$work/halves" "$uri"
    local commands=() at
    for ((at = 0; at < 120; at++)); do
        commands+=(-c "discard ${at}M 704k")
    done
    qemu-io -f raw "$uri" "${commands[@]}" >/dev/null
}

# In the group: grows to so many bytes, then stays.
hog() {
    group_enter
    # shellcheck disable=SC2016
    perl -e 'my ($want, $file) = @ARGV; my @m; my $piece = 1 << 20;
        for (my $n = 0; $n < $want; $n += $piece) {
            push @m, "x" x $piece; select undef, undef, undef, 0.002 }
        open my $f, ">", $file; close $f; sleep 1000' "$1" "$work/grown" &
    hog_pid=$!
    children+=("$hog_pid")
    group_leave
}

writer() {
    # shellcheck disable=SC2016
    while :; do
        qemu-io -f raw "$uri" -c "write -P 7 125M 1M" -c "discard 125M 1M" || break
    done >/dev/null 2>&1 &
    writer_pid=$!
    children+=("$writer_pid")
}

end() {
    kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# Prints returned/idle; figures of the run go to stderr.
squeeze() {
    local idle before after limit charge
    group_disk size=128M memory=96M backing=memfd compress=lz4 auto-compact=false pressure="$1"
    load
    charge=$(group_charge)
    limit=$((charge + 64 * mib))
    group_limit $limit
    [ "$1" = off ] || wait_for 10 sees $limit || fail "the limit is not seen: $(cli stat)"
    writer
    idle=$(idle_bytes) before=$(stat system.resident_bytes)
    rm -f "$work/grown"
    hog $((64 * mib - limit / 16))
    wait_for 60 test -e "$work/grown" || fail "the hog did not grow"
    sleep $window
    after=$(stat system.resident_bytes)
    end "$writer_pid"
    refused=$(stat zone.refused)
    echo "pressure=$1: $((before / mib)) MiB held, $((idle / mib)) idle, limit $((limit / mib));" \
        "$(((before - after) / mib)) MiB back, $refused allocations refused;" \
        "$([ "$1" = off ] || cli stat | sed -n '/pressure/{n;s/^ *//p}')"
    end "$hog_pid"
    returned=$(awk -v a=$((before - after)) -v b="$idle" 'BEGIN { printf "%.3f\n", a / b }')
    alive "$disk_pid" || fail "the disk was killed"
    disk_stop
    group_limit $((384 * mib))
}

sees() { [ "$(stat pressure.limit_bytes)" = "$1" ]; }

# Nanoseconds on a CPU of the thread that works in the background.
busy_ns() {
    local task
    for task in "/proc/$disk_pid/task/"*; do
        [ "$(cat "$task/comm")" != klotski ] || cut -d' ' -f1 "$task/schedstat"
    done
}

poll_cost() {
    local seconds=10 before
    disk_start size=64M backing=memfd pressure=poll
    sleep 1
    before=$(busy_ns)
    sleep $seconds
    ppm=$((($(busy_ns) - before) / seconds / 1000))
    disk_stop
}

group_make $((384 * mib))
squeeze auto
on=$returned on_refused=$refused
squeeze off
off=$returned
poll_cost
echo "RATIO pressure.returned $on"
echo "RATIO pressure.refused $on_refused"
echo "RATIO pressure.returned_off $off"
echo "RATIO pressure.poll_cpu_ppm $ppm"
