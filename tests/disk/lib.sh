# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# lib.sh - what the tests of the disk share; they source it.
#
# A test runs in a folder of its own, $work, and leaves nothing: whatever way it
# ends, its processes are ended, the number of huge pages is as it was, and the
# folder is gone.  The pool of huge pages is one for the machine, so a test that
# changes or counts it holds a lock.
#
# Environment: KLOTSKI_PLUGIN, KLOTSKI_CLI (paths of the plugin and the command).
set -euo pipefail

pool=/sys/kernel/mm/hugepages/hugepages-2048kB
pool_added=0
disk_pid=
children=()

say() { printf '%s\n' "$*"; }

skip() {
    say "skipped: $*"
    exit 77
}

fail() {
    say "FAILED: $*" >&2
    [ ! -s "$work/log" ] || sed 's/^/  nbdkit: /' "$work/log" >&2
    exit 1
}

need() {
    local tool
    for tool; do
        command -v "$tool" >/dev/null || skip "no $tool here"
    done
}

cleanup() {
    local status=$? pid
    trap - EXIT
    for pid in "${children[@]}" $disk_pid; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [ $pool_added -gt 0 ]; then
        local total=$(($(huge_total) - pool_added))
        echo $((total > 0 ? total : 0)) >/proc/sys/vm/nr_hugepages || true
    fi
    rm -rf "$work"
    exit "$status"
}

need nbdkit perl
: "${KLOTSKI_PLUGIN:?the path of the plugin}"
KLOTSKI_PLUGIN=$(realpath "$KLOTSKI_PLUGIN")
KLOTSKI_CLI=$(realpath "${KLOTSKI_CLI:-/nonexistent}")
work=$(mktemp -d "${TMPDIR:-/tmp}/klotski-disk.XXXXXX")
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

export KLOTSKI_RUNDIR=$work/run
mkdir -m 700 "$KLOTSKI_RUNDIR"
cd "$work" # where tools leave what they leave
sock=$KLOTSKI_RUNDIR/t.nbd
control=$KLOTSKI_RUNDIR/t.ctl
export uri="nbd+unix:///?socket=$sock"

# ---- huge pages ------------------------------------------------------------

huge_free() { cat $pool/free_hugepages; }
huge_total() { cat $pool/nr_hugepages; }

# huge_reserve N: the pool has N free pages; false when that is not possible here.
huge_reserve() {
    [ -r $pool/free_hugepages ] || return 1
    exec 8</sys/kernel/mm/hugepages
    flock 8
    local before
    before=$(huge_total)
    if [ "$(huge_free)" -lt "$1" ]; then
        echo $((before + $1)) 2>/dev/null >/proc/sys/vm/nr_hugepages || true
        pool_added=$(($(huge_total) - before))
    fi
    [ "$(huge_free)" -ge "$1" ]
}

# ---- the disk --------------------------------------------------------------

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.02
    done
}

alive() { kill -0 "$1" 2>/dev/null; }

# The control server is the last thing that is started.
answers() {
    [ -S "$control" ] && perl -MIO::Socket::UNIX -e \
        'exit !IO::Socket::UNIX->new(Peer => $ARGV[0])' "$control"
}

started() { answers || ! alive "$disk_pid"; }

# disk_start KEY=VALUE...: serves at $uri and $control.
disk_start() {
    rm -f "$sock" # nbdkit leaves it behind
    nbdkit -f -U "$sock" "$KLOTSKI_PLUGIN" control="$control" "$@" \
        >"$work/log" 2>&1 8<&- &
    disk_pid=$!
    wait_for 20 started || fail "nbdkit takes too long to start: $*"
    alive "$disk_pid" || fail "nbdkit did not start: $*"
}

gone() { ! alive "$1"; }

# disk_stop: by SIGTERM; it has to end by itself, without an error.
disk_stop() {
    local status=0
    kill -TERM "$disk_pid"
    wait_for 20 gone "$disk_pid" || fail "nbdkit does not end on SIGTERM"
    wait "$disk_pid" || status=$?
    disk_pid=
    [ "$status" -eq 0 ] || fail "nbdkit ended with status $status"
    [ ! -e "$control" ] || fail "the control socket is left behind"
    if grep -q 'still in use' "$work/log"; then fail "the disk did not come apart"; fi
}

need_cli() {
    [ -x "${KLOTSKI_CLI:-}" ] || skip "no klotski command"
}

cli() { "$KLOTSKI_CLI" "$@" --name t; }

# figure NAME: the first number with that name in the statistics.
figure() {
    local text
    text=$(cli stat --json) || fail "no statistics"
    [[ $text =~ \"$1\":\ *([0-9]+) ]] || fail "no figure $1"
    echo "${BASH_REMATCH[1]}"
}

# zone_figure NAME: one of the zone's, which come after "zone".
zone_figure() {
    local text
    text=$(cli stat --json) || fail "no statistics"
    text=${text#*\"zone\"}
    [[ $text =~ \"$1\":\ *([0-9]+) ]] || fail "no figure $1"
    echo "${BASH_REMATCH[1]}"
}

# ---- data ------------------------------------------------------------------

# real_files BYTES FILE: this machine's own files, as far as they go, repeated.
real_files() {
    local part=$work/part
    head -c "$1" < <(tar -C / -cf - usr/bin usr/share/doc 2>/dev/null || true) >"$part"
    cp "$part" "$2"
    while [ "$(stat -c %s "$2")" -lt "$1" ]; do
        cat "$part" >>"$2"
    done
    truncate -s "$1" "$2"
    rm "$part"
}

# noise BYTES FILE: what does not compress.
noise() { head -c "$1" /dev/urandom >"$2"; }

same() {
    cmp "$1" "$2" || fail "$3"
}
