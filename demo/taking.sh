# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# taking.sh - the first part of the demo: fill, trim, fail to start a program,
# take its memory while the disk serves, start it.

ZONE_MIB=512
TAKE_MIB=128
DISK_GIB=4
FIO_MIB=32
FILL_PERCENT=98

URI=
BACKING=hugetlb

stat_of() {
    klotski stat demo --get "$1"
}

zone_sentence() {
    local used frames whole
    used=$(stat_of zone.used_frames)
    frames=$(stat_of zone.frames)
    whole=$(stat_of zone.free_blocks)
    echo "$(((frames - used) * 100 / frames)) % of the zone ($(((frames - used) / 256)) MiB)" \
        "is free; blocks free as a whole: $whole"
}

in_the_system() {
    [ "$BACKING" != hugetlb ] || say "huge pages that are free in the system: $(lab_hugepages_free)"
}

fio_own_data() {
    fio --name=own --ioengine=nbd --uri="$URI" --numjobs=4 --bs=32k --iodepth=8 \
        --offset="$((DISK_GIB * 1024 - FIO_MIB))M" --offset_increment="$((FIO_MIB / 4))M" \
        --size="$((FIO_MIB / 4))M" --verify=crc32c --buffer_compress_percentage=50 \
        --refill_buffers --verify_state_save=0 --group_reporting "$@"
}

start_disk() {
    if lab_hugepages_reserve $((ZONE_MIB / 2)); then
        say "$((ZONE_MIB / 2)) huge pages of 2 MiB are there to be lent: $ZONE_MIB MiB"
    else
        BACKING=memfd
        say "no huge pages can be reserved here (that needs root, and free memory):"
        say "the zone is an ordinary memfd, offset contiguity only"
    fi
    show klotski disk --name demo --size "${DISK_GIB}G" --memory "${ZONE_MIB}M" \
        --backing "$BACKING" --block 32K --no-auto-compact || lab_die "the disk did not start"
    URI="nbd+unix:///?socket=$KLOTSKI_RUNDIR/demo.nbd"
}

fill() {
    lab_feed | "$NBDWORK" load "$URI" --from - --sums "$LAB/demo.sums" --block 32K \
        --bytes "$((DISK_GIB * 1024 - FIO_MIB))M" \
        --until-full "$FILL_PERCENT" --control "$KLOTSKI_RUNDIR/demo.ctl"
}

fill_disk() {
    lab_run fio_own_data --rw=write --do_verify=0 >"$LAB/fio.out" 2>&1 ||
        lab_die "fio could not write: $(tail -n 3 "$LAB/fio.out")"
    say "fio has $FIO_MIB MiB of its own data on the disk; now a tar of /usr,"
    say "until the zone is nearly full"
    lab_run fill >"$LAB/load.out" || lab_die "the load failed"
    say "$(($(cut -d' ' -f2 "$LAB/load.out") >> 20)) MiB of files; $(zone_sentence)"
    in_the_system
    show klotski map demo
}

# Without migration objects can be packed, but frames stay where they are, as in
# every allocator that cannot move.
make_holes() {
    say "a random 40 % is trimmed, with frame migration turned off"
    klotski migration off >/dev/null
    lab_run "$NBDWORK" trim "$URI" --sums "$LAB/demo.sums" --percent 40 ||
        lab_die "the trim failed"
    show klotski compact demo
    show klotski map demo
    say "much is free, but hardly a page is whole; three of them, frame by frame:"
    klotski map demo --frames --blocks 100-102 | head -n 4
    say "$(zone_sentence)"
    in_the_system
}

# ---- the second program -----------------------------------------------------

program_name() {
    if command -v qemu-system-x86_64 >/dev/null; then
        echo QEMU
    else
        echo fio
    fi
}

# Needs TAKE_MIB of huge pages at its start, and then a second.
program() {
    if [ "$(program_name)" = QEMU ]; then
        { sleep 1 && echo quit; } |
            qemu-system-x86_64 -machine none -nodefaults -display none -monitor stdio -object \
                "memory-backend-memfd,id=ram,size=${TAKE_MIB}M,hugetlb=on,hugetlbsize=2M,prealloc=on"
    else
        fio --name=guest --ioengine=null --rw=write --size="${TAKE_MIB}M" --bs="${TAKE_MIB}M" \
            --iomem=shmhuge --time_based --runtime=1
    fi
}

program_fails() {
    if [ "$BACKING" != hugetlb ]; then
        say "no program that needs huge pages is started: this machine has none to give"
        return
    fi
    if [ "$(lab_hugepages_free)" -ge $((TAKE_MIB / 2)) ]; then
        say "this machine has enough huge pages beside the zone: a program could start"
        return
    fi
    say "$(program_name) with $TAKE_MIB MiB of huge pages:"
    lab_run program >"$LAB/program.out" 2>&1
    local status=$?
    grep -vE '^$|QEMU .* monitor|\(qemu\)' "$LAB/program.out" | head -n 2 | fold -sw 76 | sed 's/^/  /'
    expect "$(yes_if test $status -ne 0)" "it cannot start"
}

program_runs() {
    if [ "$BACKING" != hugetlb ]; then
        show klotski map demo
        return
    fi
    lab_spawn program >"$LAB/program.out" 2>&1
    local pid=$LAB_JOB
    lab_sleep 0.6
    say "$(program_name) runs with $TAKE_MIB MiB of huge pages"
    in_the_system
    show klotski map demo
    wait "$pid"
    expect "$(yes_if test $? -eq 0)" "it started, ran and ended"
}

# ---- taking -----------------------------------------------------------------

take_fails() {
    show klotski take "${TAKE_MIB}M" --name demo 2>&1
    expect "$(yes_if test $? -eq 1)" "with migration off it cannot be taken"
}

take_works() {
    local before fio_pid
    klotski migration on
    say "4 jobs of fio write and verify their own data on the disk, all the while"
    lab_spawn fio_own_data --rw=randwrite --verify_backlog=64 --verify_fatal=1 --time_based \
        --runtime=6 >"$LAB/fio.out" 2>&1
    fio_pid=$LAB_JOB
    lab_sleep 1
    before=$(system_pages)
    show klotski take "${TAKE_MIB}M" --name demo
    expect "$(yes_if test $? -eq 0)" "with migration on it can"
    expect "$(yes_if kill -0 "$fio_pid")" "the disk served fio meanwhile"
    expect "$(yes_if test "$(system_pages)" -ge $((TAKE_MIB / 2)))" \
        "the system's own figure of free pages: $before before, $(system_pages) now"
    program_runs
    show klotski give --all --name demo
    expect "$(yes_if test "$(stat_of zone.given_blocks)" -eq 0)" "the pages are lent again"
    wait "$fio_pid"
    expect "$(yes_if test $? -eq 0)" "fio found all of its data as it had written it"
}

# Pages of 2 MiB that the zone does not hold, in the system's own figures.
system_pages() {
    if [ "$BACKING" = hugetlb ]; then
        lab_hugepages_free
    else
        echo $((ZONE_MIB / 2 - $(stat_of system.resident_bytes) / 2097152))
    fi
}

all_as_written() {
    lab_run "$NBDWORK" verify "$URI" --sums "$LAB/demo.sums" >"$LAB/verify.out"
    expect "$(yes_if test $? -eq 0)" "$(cat "$LAB/verify.out")"
}

taking() {
    start_disk
    fill_disk
    make_holes
    program_fails
    take_fails
    take_works
    show klotski map demo
    all_as_written
    klotski stop demo >/dev/null
    lab_hugepages_restore
}
