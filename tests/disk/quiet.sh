#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A disk that is left alone packs what is left after a trim, gives the memory back, and then
# sleeps; one that shall not stays as it is, and so does one that has got all its memory.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need nbdcopy qemu-io cmp
need_cli
mib=$((1 << 20))
real_files $((64 * mib)) "$work/files"

stat() { cli stat --get "$1"; }

# Every second 64 KiB.
trim_half() {
    local at commands=()
    for ((at = 0; at < 64 * mib; at += 131072)); do
        commands+=(-c "discard $at 64k")
    done
    qemu-io -f raw "$uri" "${commands[@]}" >/dev/null
}

# Objects are packed, and the kernel's file has what is in use and little more: of the blocks that
# are not worth packing only the frames in use have memory, and no block is kept free.
packed() {
    local used resident
    used=$(stat zone.used_frames) resident=$(stat system.resident_bytes)
    [ "$resident" -lt $((full * 3 / 4)) ] && [ "$resident" -lt $((used * 4096 + mib / 4)) ] &&
        [ $(($(stat zs.freeable_frames) * 20)) -le "$used" ] &&
        [ "$(stat zs.automatic_runs)" -gt 0 ] && [ "$(stat zone.free_blocks)" -eq 0 ] &&
        [ "$(stat zone.wanted)" = "[ ]" ]
}

# Nanoseconds that the thread that works in the background has had a CPU.
busy_ns() {
    local task
    for task in "/proc/$disk_pid/task/"*; do
        [ "$(cat "$task/comm")" != klotski ] || cut -d' ' -f1 "$task/schedstat"
    done
}

# A whole second costs 10 ms at most.
sleeps() {
    local before
    before=$(busy_ns)
    [ "$before" -gt 0 ] || fail "the kernel does not say how busy a thread was"
    sleep 1
    busy=$(($(busy_ns) - before))
    [ $busy -le 10000000 ]
}

disk_start size=64M backing=memfd compress=lz4 block=8K pressure=off
nbdcopy "$work/files" "$uri"
full=$(stat system.resident_bytes)
trim_half
wait_for 60 packed || fail "the memory of a trim does not come back: $(cli stat)"
cli stat | grep -q 'keeps     1 of the free blocks' || fail "not said: $(cli stat)"
wait_for 20 sleeps || fail "a disk with nothing to do was busy for $busy ns of a second"
nbdcopy "$uri" "$work/back"
for ((at = 64; at < 64 << 10; at += 128)); do
    cmp -n 65536 -i $((at << 10)) "$work/files" "$work/back" || fail "damaged at $at KiB"
done
disk_stop
say "ok: packs and gives back by itself"

# So does one that looks at the pressure.
disk_start size=64M backing=memfd compress=lz4
nbdcopy "$work/files" "$uri"
wait_for 20 sleeps || fail "a disk with nothing to do was busy for $busy ns of a second"
disk_stop
say "ok: sleeps"

disk_start size=64M backing=memfd compress=lz4 block=8K pressure=off auto-compact=false idle=1
nbdcopy "$work/files" "$uri"
trim_half
ticked() { [ "$(stat store.ticks)" -ge 2 ]; }
wait_for 60 ticked || fail "no time passes"
[ "$(stat zs.objects_moved)" -eq 0 ] || fail "objects were packed all the same"
[ "$(stat zone.migrated)" -eq 0 ] || fail "pages were moved all the same"
disk_stop
say "ok: leaves it alone"

disk_start size=64M backing=memfd compress=lz4 block=8K populate=true idle=1
nbdcopy "$work/files" "$uri"
trim_half
wait_for 60 ticked || fail "no time passes"
[ "$(stat zone.present_blocks)" -eq 32 ] || fail "memory that was to be got at the start is gone"
[ "$(stat system.resident_bytes)" -eq $((64 * mib)) ] || fail "a part of that memory is gone"
disk_stop
say "ok: keeps what it got at the start"
