#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The demo, interrupted at some points by what a user or a system sends: it ends at
# once (after KILL its guard does, a moment later), and leaves no process, no file,
# no cgroup and no huge page behind.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../disk/lib.sh"
need fio tar flock pgrep setsid
need_cli
[ -x "${NBDWORK:-}" ] || skip "no nbdwork"
fio --enghelp 2>/dev/null | grep -qw nbd || skip "this fio has no nbd engine"
demo=$(dirname "$0")/../../demo/demo.sh
export TMPDIR=$work

said() {
    grep -q -e "$1" "$work/demo.out" || ! alive "$demo_pid"
}

processes() {
    pgrep -f "$work/klotski-lab" || true
}

# Of the pool, when nobody has added to it: who does holds the lock meanwhile.
pages() { flock /sys/kernel/mm/hugepages cat $pool/nr_hugepages; }

# Some were told to end, and nobody waited for them.
ended() {
    [ -z "$(processes)" ]
}

# After KILL the demo's guard does it, when nobody else has the lock.
cleared() {
    [ -z "$(find "$work" -maxdepth 1 -name 'klotski-lab*')" ]
}

# interrupt SIGNAL STATUS TEXT: once the demo has said TEXT.
interrupt() {
    local signal=$1 wanted=$2 text=$3 status=0 before=0 after=0
    [ ! -r $pool/nr_hugepages ] || before=$(pages)
    setsid "$demo" >"$work/demo.out" 2>&1 8<&- &
    demo_pid=$!
    children+=("$demo_pid")
    wait_for 120 said "$text" || fail "the demo does not say '$text'"
    alive "$demo_pid" || fail "the demo ended too early: $(cat "$work/demo.out")"
    kill "-$signal" "$demo_pid"
    wait "$demo_pid" || status=$?
    [ "$status" = "$wanted" ] || fail "$signal: status $status, not $wanted"
    [ "$signal" != KILL ] || wait_for 180 cleared || fail "nobody clears up after KILL"
    wait_for 20 ended || fail "$signal at '$text' leaves processes: $(processes | xargs ps -fp)"
    [ -z "$(find "$work" -maxdepth 1 -name 'klotski-lab*')" ] || fail "$signal leaves files"
    [ -z "$(find /sys/fs/cgroup -maxdepth 2 -name "klotski-$demo_pid-*" 2>/dev/null)" ] ||
        fail "$signal leaves a cgroup"
    [ ! -r $pool/nr_hugepages ] || after=$(pages)
    [ "$after" = "$before" ] || fail "$signal at '$text': $after huge pages, $before before"
    say "ok: $signal at '$text'"
}

interrupt TERM 143 'Huge pages'
interrupt TERM 143 'is ready'
interrupt TERM 143 'tar of /usr'
interrupt TERM 143 'a random 40 %'
interrupt KILL 137 'a random 40 %'
