#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The main job: memory of a disk in use is taken back whole while fio verifies
# its data; the system's own figures agree; with migration off it fails.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need fio nbdcopy qemu-io cmp perl
need_cli
fio --enghelp 2>/dev/null | grep -qw nbd || skip "this fio has no nbd engine"
mib=$((1 << 20))
blocks=32 # of the zone
want=8    # blocks to take

# What the system has given the disk, in blocks of 2 MiB.
held() {
    if [ "$kind" = hugetlb ]; then
        echo $((free - $(huge_free)))
    else
        echo $(($(figure resident_bytes) / 2 / mib))
    fi
}

holds() { [ "$(held)" = "$1" ] || fail "$2: the system says $(held) blocks, not $1"; }

# Blocks that halve, until the zone is nearly full; then holes all over them, so
# that much is free and hardly a block is free as a whole.
load() {
    perl -e 'open my $r, "<:raw", "/dev/urandom"; binmode STDOUT;
        for (1 .. 104 * 256) { read $r, my $b, 2048; print $b, "\0" x 2048 }' >"$work/halves"
    nbdcopy --connections=1 --requests=1 "$work/halves" "$uri" # neighbours stay together
    local commands=() at
    for ((at = 0; at < 104; at += 2)); do
        commands+=(-c "discard ${at}M 1M")
    done
    qemu-io -f raw "$uri" "${commands[@]}" >/dev/null
    nbdcopy "$uri" "$work/before"
    say "$(zone_figure free_frames) frames are free, $(zone_figure free_blocks) blocks of 512 are"
    [ "$(zone_figure free_frames)" -gt $((want * 2 * 512)) ] || fail "too little is free for this"
    [ "$(zone_figure free_blocks)" -lt $want ] || fail "too much is free for this"
}

start_fio() {
    fio --name=verify --ioengine=nbd --uri="$uri" --offset=112M --size=8M --rw=randwrite --bs=4k \
        --iodepth=8 --verify=crc32c --time_based --runtime=4 --refill_buffers \
        --buffer_compress_percentage=70 --output="$work/fio" 8<&- &
    fio_pid=$!
    children+=("$fio_pid")
}

end_fio() {
    wait "$fio_pid" || fail "fio: $(cat "$work/fio")"
    grep -q 'err= 0' "$work/fio" || fail "fio: $(cat "$work/fio")"
}

intact() {
    nbdcopy "$uri" "$work/after"
    cmp -n $((104 * mib)) "$work/before" "$work/after" || fail "$1: the data has changed"
}

take_under_load() {
    start_fio
    for round in 1 2 3; do
        cli take $((want * 2))M >/dev/null || fail "round $round: cannot take $want blocks"
        holds $((blocks - want)) "round $round"
        [ "$(zone_figure given_blocks)" = $want ] || fail "the zone counts differently"
        cli give --all >/dev/null || fail "cannot give"
        [ "$(zone_figure given_blocks)" = 0 ] || fail "blocks are not lent again"
        qemu-io -f raw "$uri" -c "write -s $work/noise 128M 15M" \
            -c "discard 128M 15M" >/dev/null # lent memory is used again
    done
    [ "$(zone_figure migrated)" -gt 0 ] || fail "nothing had to move: this has shown nothing"
    end_fio
    intact "taken under load"
}

# A command gets memory of its own and cannot keep it.
take_for_command() {
    local seen
    # shellcheck disable=SC2016
    seen=$(cli take $((want * 2))M -- sh -c 'stat -L -c "%b %B" /proc/self/fd/$KLOTSKI_FD')
    [ "$seen" = "$((want * 2 * mib / 512)) 512" ] || fail "the command's memory is: $seen"
    [ "$(zone_figure given_blocks)" = 0 ] || fail "the lease outlives its command"
}

# More commands hold memory than a small table of connections would have room for:
# everybody else is served all the same.
many_holders() {
    local holders=() i
    disk_start size=64M backing=memfd
    for ((i = 0; i < 20; i++)); do
        # shellcheck disable=SC2016 # until its file is removed
        "$KLOTSKI_CLI" take 2M --name t -- \
            sh -c 'touch "$0"; while [ -e "$0" ]; do sleep 0.1; done' "$work/holds.$i" 8<&- &
        holders+=($!)
        children+=($!)
    done
    for ((i = 0; i < 20; i++)); do
        wait_for 20 test -e "$work/holds.$i" || fail "holder $i has got nothing"
    done
    timeout 20 "$KLOTSKI_CLI" stat --name t >/dev/null || fail "no stat while 20 commands hold memory"
    [ "$(zone_figure given_blocks)" = 20 ] || fail "20 commands do not hold 20 blocks"
    timeout 20 "$KLOTSKI_CLI" take 2M --name t >/dev/null || fail "no take while they hold it"
    timeout 20 "$KLOTSKI_CLI" give --all --name t >/dev/null || fail "no give while they hold it"
    rm "$work"/holds.*
    for i in "${holders[@]}"; do
        wait "$i" || fail "a command that held memory ended with $?"
    done
    [ "$(zone_figure given_blocks)" = 0 ] || fail "what they held is not back"
    disk_stop
    say "ok: 20 holders"
}

migration_off() {
    cli migration off >/dev/null
    if cli take $((want * 2))M >"$work/out" 2>&1; then fail "taken without migration"; fi
    grep -q EBUSY "$work/out" || fail "not EBUSY: $(cat "$work/out")"
    grep -q "$want blocks are wanted, [0-9]* can be emptied while migration is off" "$work/out" ||
        fail "not clear: $(cat "$work/out")"
    [ "$(zone_figure given_blocks)" = 0 ] || fail "a failed take has taken something"
    cli migration on >/dev/null
    cli take $((want * 2))M >/dev/null || fail "cannot take after migration is on again"
    cli give --all >/dev/null
}

too_much() {
    if cli take $((blocks * 2))M >"$work/out" 2>&1; then fail "everything taken from a full disk"; fi
    if cli take $((blocks * 2 + 2))M >"$work/out" 2>&1; then fail "more taken than there is"; fi
    grep -q EINVAL "$work/out" || fail "not EINVAL: $(cat "$work/out")"
    intact "too much was asked"
}

nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
# shellcheck disable=SC2016 # the dollars are perl's
connect='my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or exit 3;'
# shellcheck disable=SC2016
hostile() {
    head -c 100000 /dev/urandom | perl -MIO::Socket::UNIX -e "$connect"'
        $SIG{PIPE} = "IGNORE"; local $/; print $s <STDIN>; close $s' "$control"
    perl -MIO::Socket::UNIX -e "$connect"'
        print $s "{\"op\":"; close $s' "$control"
    cli stat >/dev/null || fail "garbage has silenced the control socket"
    [ "$(id -u)" = 0 ] || return 0
    [ "$(stat -c %a "$control")" = 600 ] || fail "others may open the control socket"
    chmod 711 "$work" "$KLOTSKI_RUNDIR"
    chmod 666 "$control"
    if ! "${nobody[@]}" test -e "$control"; then
        say "skipped: another user's request: such a user does not get as far as $work"
        return 0
    fi
    "${nobody[@]}" perl -MIO::Socket::UNIX -e "$connect"'
        $SIG{PIPE} = "IGNORE"; print $s "{\"op\":\"stat\"}\n"; shutdown($s, 1);
        local $/; print <$s>' "$control" >"$work/out" || fail "cannot connect as another user"
    grep -q '"ok":false' "$work/out" || fail "another user was answered: $(cat "$work/out")"
    if grep -q '"zone"' "$work/out"; then fail "another user was told"; fi
}

run() {
    kind=$1
    disk_start size=160M memory=$((blocks * 2))M backing="$kind" populate=true auto-compact=false
    holds $blocks "at the start"
    load
    noise $((15 * mib)) "$work/noise"
    migration_off
    take_under_load
    take_for_command
    too_much
    hostile
    disk_stop
    say "ok: $kind"
}

many_holders
run memfd
if huge_reserve $blocks; then
    free=$(huge_free)
    run hugetlb
    [ "$(huge_free)" = "$free" ] || fail "huge pages are not all back"
else
    say "skipped: huge pages can't be reserved here"
fi
