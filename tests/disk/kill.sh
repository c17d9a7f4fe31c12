#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# SIGTERM and SIGKILL in mid-write: the server ends, the system has all its huge
# pages again, and the next server starts at the same place.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need fio
need_cli
fio --enghelp 2>/dev/null | grep -qw nbd || skip "this fio has no nbd engine"

writer=
start_writer() {
    fio --name=writer --ioengine=nbd --uri="$uri" --thread --numjobs=2 --size=24M \
        --offset_increment=24M --rw=randwrite --bs=16k --iodepth=32 --time_based --runtime=60 \
        --refill_buffers --output=/dev/null 2>/dev/null 8<&- &
    writer=$!
    children+=("$writer")
    wait_for 20 has_written || fail "the writer does not write"
}
has_written() { [ "$(figure writes)" -gt 200 ]; }

stop_writer() {
    kill -KILL "$writer" 2>/dev/null || true
    wait "$writer" 2>/dev/null || true
}

term() { # with the writer's connection open
    disk_start size=48M memory=56M "$@"
    start_writer
    cli take 4M >/dev/null || fail "cannot take 4 MiB"
    kill -TERM "$disk_pid"
    # nbdkit waits for its clients; a writer that goes on must not keep it
    wait_for 10 gone "$disk_pid" || stop_writer
    wait_for 10 gone "$disk_pid" || fail "SIGTERM does not end it"
    status=0
    wait "$disk_pid" || status=$?
    disk_pid=
    stop_writer
    [ "$status" -eq 0 ] || fail "after SIGTERM the status is $status"
    [ ! -e "$control" ] || fail "SIGTERM leaves the control socket"
    if grep -q 'still in use' "$work/log"; then fail "the disk did not come apart"; fi
}

murder() {
    disk_start size=48M memory=56M "$@"
    start_writer
    kill -KILL "$disk_pid"
    wait "$disk_pid" 2>/dev/null || true
    disk_pid=
    stop_writer
    [ -S "$control" ] || fail "who has removed the control socket?"
    disk_start size=48M memory=56M "$@" # over what the dead one left
    cli stat >/dev/null || fail "the next server does not answer"
    disk_stop
}

if huge_reserve 28; then
    free=$(huge_free)
    kinds=(hugetlb memfd)
else
    say "skipped: huge pages can't be reserved here"
    kinds=(memfd)
fi
for kind in "${kinds[@]}"; do
    for how in term murder; do
        "$how" backing="$kind"
        if [ "$kind" = hugetlb ]; then
            [ "$(huge_free)" = "$free" ] || fail "$how: $(huge_free) of $free huge pages are back"
            [ "$(cat $pool/resv_hugepages)" = 0 ] || fail "$how: huge pages are left reserved"
        fi
        say "ok: $how $kind"
    done
done
