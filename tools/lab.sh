# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lab.sh - sourced by the demo, the benchmarks and script tests: a folder of its
# own, disks and servers in it, huge pages; all put back at the end, however that
# comes: after SIGKILL a guard does it.
#
# A job that lab_spawn starts is a process group of its own, so that a Ctrl-C or
# TERM reaches this shell, which then ends the job as a whole.  What takes long is
# therefore run by lab_run, whose wait a signal interrupts.

LAB_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LAB_BUILD=${KLOTSKI_BUILD:-$LAB_TOP/build/release}
KLOTSKI_CLI=${KLOTSKI_CLI:-$LAB_BUILD/cli/klotski}
NBDWORK=${NBDWORK:-$LAB_BUILD/tools/nbdwork}
export KLOTSKI_PLUGIN=${KLOTSKI_PLUGIN:-$LAB_BUILD/integrations/nbdkit-klotski-plugin.so}

LAB=
LAB_JOB=
LAB_HUGE_WANTED=0
LAB_HUGE_OLD=0
LAB_HUGE_DIR=/sys/kernel/mm/hugepages/hugepages-2048kB

klotski() {
    "$KLOTSKI_CLI" "$@" 8<&-
}

lab_die() {
    echo "error: $*" >&2
    exit 1
}

# From here on everything is cleared up.
lab_setup() {
    local file
    for file in "$KLOTSKI_CLI" "$NBDWORK" "$KLOTSKI_PLUGIN"; do
        [ -e "$file" ] || lab_die "$file is not there; make build makes it"
    done
    trap lab_cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    LAB=$(mktemp -d "${TMPDIR:-/tmp}/klotski-lab.XXXXXX") || exit 1
    export KLOTSKI_RUNDIR=$LAB/run
    mkdir -m 700 "$KLOTSKI_RUNDIR"
    lab_spawn lab_guard "$$"
}

# A job that outlives this shell: should the shell be gone while the lab is still
# there, it clears up in its place.
lab_guard() {
    trap - EXIT INT TERM HUP
    while lab_runs "$1"; do sleep 0.2; done
    [ -d "$LAB" ] || return 0
    {
        lab_stop_disks
        while read -r pid; do
            [ "$pid" = "$BASHPID" ] || lab_end "$pid" -
        done <"$LAB/jobs"
        declare -F lab_memory_cleanup >/dev/null && lab_memory_cleanup
        # The shell's lock went with it: who has it now may have counted our pages.
        if read -r LAB_HUGE_OLD LAB_HUGE_WANTED <"$LAB/huge"; then
            exec 8<"${LAB_HUGE_DIR%/*}"
            flock -w 120 8
            lab_hugepages_restore
        fi
    } 2>/dev/null
    rm -rf "$LAB"
}

# Whether a process runs (one that has ended but that nobody has waited for is in
# the table of processes too).
lab_runs() {
    [[ $(grep -s '^State:' "/proc/$1/status") == State:*[!ZX]\ * ]]
}

# Ends a process, or a process group if the second argument is -.
lab_end() {
    local pid=$1 sign=${2:-} i
    kill -TERM -- "$sign$pid"
    for ((i = 0; i < 200; i++)); do
        lab_runs "$pid" || return 0
        sleep 0.05
    done
    kill -KILL -- "$sign$pid"
}

# What a pidfile in the lab names, if it still is an nbdkit.
lab_stop_disks() {
    local file pid
    for file in "$KLOTSKI_RUNDIR"/*.pid; do
        [ -s "$file" ] || continue
        pid=$(<"$file")
        [ "$(cat "/proc/$pid/comm")" != nbdkit ] || lab_end "$pid"
    done
}

lab_stop_jobs() {
    local pid
    for pid in $(jobs -p); do
        lab_end "$pid" -
    done
}

lab_cleanup() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP
    {
        lab_stop_disks
        lab_stop_jobs
        wait
        declare -F lab_memory_cleanup >/dev/null && lab_memory_cleanup
        lab_hugepages_restore
    } 2>/dev/null
    [ -z "$LAB" ] || rm -rf "$LAB"
    exit "$status"
}

# Starts a command or function in a process group of its own; LAB_JOB is its pid.
lab_spawn() {
    set -m
    "$@" </dev/null 8<&- &
    LAB_JOB=$!
    set +m
    echo "$LAB_JOB" >>"$LAB/jobs"
}

# The same, and waits for it; a signal ends the wait.
lab_run() {
    lab_spawn "$@"
    wait "$LAB_JOB"
}

lab_sleep() {
    lab_run sleep "$1"
}

# Waits until a socket file is there, while the process lives.
lab_await_socket() {
    local socket=$1 pid=$2 i
    for ((i = 0; i < 300; i++)); do
        [ -S "$socket" ] && return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    lab_die "no server came up at $socket"
}

# ---- huge pages of 2 MiB ----------------------------------------------------

# Free, and promised to nobody.
lab_hugepages_free() {
    local free reserved
    free=$(cat "$LAB_HUGE_DIR/free_hugepages" 2>/dev/null) || free=0
    reserved=$(cat "$LAB_HUGE_DIR/resv_hugepages" 2>/dev/null) || reserved=0
    echo $((free - reserved))
}

# Sees to it that N pages are free.  Status 1: not possible here, nothing changed.
# The pool is one for the machine, so that whoever changes it holds a lock (here
# descriptor 8, which no process that is started inherits).
lab_hugepages_reserve() {
    local wanted=$1 file=$LAB_HUGE_DIR/nr_hugepages
    [ -w "$file" ] || return 1
    exec 8<"${LAB_HUGE_DIR%/*}"
    flock -w 60 8 || echo "somebody else is changing the number of huge pages" >&2
    LAB_HUGE_OLD=$(<"$file")
    LAB_HUGE_WANTED=$((wanted - $(lab_hugepages_free)))
    echo "$LAB_HUGE_OLD $LAB_HUGE_WANTED" >"$LAB/huge"
    [ "$LAB_HUGE_WANTED" -le 0 ] ||
        { echo $((LAB_HUGE_OLD + LAB_HUGE_WANTED)) >"$file"; } 2>/dev/null
    [ "$(lab_hugepages_free)" -ge "$wanted" ] && return 0
    lab_hugepages_restore
    return 1
}

# Takes off what was added.  That may be less than was wanted, when the memory was
# not there; and others may have changed the number since.
lab_hugepages_restore() {
    local file=$LAB_HUGE_DIR/nr_hugepages now added
    if [ "$LAB_HUGE_WANTED" -le 0 ]; then
        exec 8<&-
        return
    fi
    now=$(<"$file")
    added=$((now - LAB_HUGE_OLD))
    [ "$added" -le "$LAB_HUGE_WANTED" ] || added=$LAB_HUGE_WANTED
    [ "$added" -le 0 ] || echo $((now - added)) >"$file"
    LAB_HUGE_WANTED=0
    rm -f "$LAB/huge"
    exec 8<&-
}

# ---- real data --------------------------------------------------------------

# A tar of this machine's files, again and again, until nobody reads on.  (tar
# ends with 1 when a file has changed under it, with more when it can't write.)
lab_feed() {
    local status=0
    while [ "$status" -le 1 ]; do
        tar -C / -cf - usr 2>/dev/null
        status=$?
    done
    return 0
}

# lab_sample FILE MIB: the first part of that as a file.
lab_sample() {
    lab_feed | head -c "$2M" >"$1"
}
