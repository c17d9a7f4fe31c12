# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# cgroup.sh - a memory cgroup of the test's own, without swap, for what is sourced after
# lib.sh.  It is small, and gone at the end whatever way the test ends.

group=     # its folder
group_v=   # 1 or 2
home_procs= # where this shell came from

# The memory controller as it is mounted: "VERSION FOLDER" of this shell's own group.
group_mounted() {
    local at
    at=$(awk '$(NF-2) == "cgroup" && $NF ~ /(^|,)memory(,|$)/ { print $5; exit }' /proc/self/mountinfo)
    [ -z "$at" ] || { echo "1 $at"; return; }
    at=$(awk '$(NF-2) == "cgroup2" { print $5; exit }' /proc/self/mountinfo)
    [ -z "$at" ] || ! grep -qw memory "$at/cgroup.controllers" || echo "2 $at"
}

# group_make BYTES: or the test is skipped.
group_make() {
    local mounted at own
    [ "$(id -u)" = 0 ] || skip "only root makes a cgroup"
    mounted=$(group_mounted)
    [ -n "$mounted" ] || skip "no memory cgroups here"
    group_v=${mounted%% *} at=${mounted#* }
    if [ "$group_v" = 1 ]; then
        own=$(sed -n 's/^[0-9]*:\([^:]*,\)\?memory\(,[^:]*\)\?://p' /proc/self/cgroup)
    else
        own=$(sed -n 's/^0:://p' /proc/self/cgroup)
        echo +memory 2>/dev/null >"$at/cgroup.subtree_control" || true
    fi
    home_procs=$at${own%/}/cgroup.procs
    [ -e "$home_procs" ] || home_procs=$at/cgroup.procs
    group=$at/klotski-test.$$
    mkdir "$group" 2>/dev/null || { group=; skip "no cgroup can be made here"; }
    if [ "$group_v" = 1 ]; then
        echo 0 2>/dev/null >"$group/memory.swappiness" || true
    else
        [ -e "$group/memory.max" ] || skip "the memory controller can't be had here"
        echo 0 2>/dev/null >"$group/memory.swap.max" || true
    fi
    group_limit "$1"
}

group_limit() {
    local file=memory.max
    [ "$group_v" = 2 ] || file=memory.limit_in_bytes
    echo "$1" 2>/dev/null >"$group/$file" || skip "the cgroup takes no limit"
}

# What is charged to it, caches that can go not counted.
group_charge() {
    local used=memory.current cache=inactive_file
    [ "$group_v" = 2 ] || { used=memory.usage_in_bytes cache=total_inactive_file; }
    echo $(($(cat "$group/$used") - $(awk -v c=$cache '$1 == c { print $2 }' "$group/memory.stat")))
}

# The same when it has come to rest: what the threads of a client had goes after its end.
group_charge_at_rest() {
    local before now by _
    now=$(group_charge)
    for _ in {1..100}; do
        before=$now
        sleep 0.2
        now=$(group_charge)
        by=$((now - before))
        [ ${by#-} -gt $((256 << 10)) ] || break
    done
    echo "$now"
}

group_is_near() { # BYTES SLACK
    local by=$(($(group_charge) - $1))
    [ ${by#-} -le "$2" ]
}

group_near() { # BYTES SLACK WHAT
    wait_for 20 group_is_near "$1" "$2" ||
        fail "$3: $(group_charge) bytes are charged, not about $1"
}

group_enter() { echo $$ >"$group/cgroup.procs" || skip "the cgroup can't be entered"; }
group_leave() { echo $$ >"$home_procs"; }

# group_disk KEY=VALUE...: a disk that is in the group from the beginning.
group_disk() {
    group_enter
    disk_start "$@"
    group_leave
}

eval "$(declare -f cleanup | sed '1s/cleanup/cleanup_disk/')"
cleanup() {
    local status=$? pid
    set +e
    if [ -n "$group" ]; then
        group_leave
        while read -r pid; do
            kill -KILL "$pid" 2>/dev/null
        done <"$group/cgroup.procs"
        for _ in {1..100}; do
            rmdir "$group" 2>/dev/null && break
            sleep 0.05
        done
    fi
    (exit $status)
    cleanup_disk
}
