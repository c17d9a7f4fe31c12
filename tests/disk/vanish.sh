#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Clients that are killed in mid-request, again and again: the disk serves on,
# what others stored is whole, and nothing of the dead ones' is kept.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need fio nbdcopy qemu-io cmp tar
need_cli
fio --enghelp 2>/dev/null | grep -qw nbd || skip "this fio has no nbd engine"
mib=$((1 << 20))

disk_start size=96M memory=96M backing=memfd
real_files $((16 * mib)) "$work/files"
nbdcopy "$work/files" "$uri"

writes() { figure writes; }
wrote_since() { [ "$(writes)" -gt "$1" ]; }

for round in 1 2 3 4 5 6; do
    before=$(writes)
    fio --name=victim --ioengine=nbd --uri="$uri" --thread --numjobs=4 --offset=16M --size=16M \
        --offset_increment=16M --rw=randwrite --bs=64k --iodepth=32 --time_based --runtime=60 \
        --refill_buffers --output=/dev/null 2>/dev/null &
    victim=$!
    children+=("$victim")
    wait_for 20 wrote_since $((before + 64)) || fail "the victim does not write"
    kill -KILL "$victim"
    wait "$victim" 2>/dev/null || true
    alive "$disk_pid" || fail "round $round: the disk died with its client"
    nbdcopy "$uri" - | head -c $((16 * mib)) >"$work/back" || true
    same "$work/files" "$work/back" "round $round: another client's data is damaged"
done

# Half a handshake, half a request.
for bytes in 1 4 30; do
    head -c $bytes /dev/urandom | perl -MIO::Socket::UNIX -e '
        my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!";
        local $/; print $s <STDIN>; close $s' "$sock"
done
alive "$disk_pid" || fail "the disk died of half a handshake"

# What the dead ones asked for last may be stored after a discard.
empty() {
    qemu-io -f raw "$uri" -c "discard 0 96M" >/dev/null
    cli compact >/dev/null
    [ "$(figure objects)" = 0 ] && [ "$(zone_figure used_frames)" = 0 ]
}
wait_for 20 empty ||
    fail "$(figure objects) objects, $(zone_figure used_frames) frames are left on an empty disk"
disk_stop
