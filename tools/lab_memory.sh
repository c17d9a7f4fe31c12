# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lab_memory.sh - sourced after lab.sh: servers whose memory is measured, and the
# experiment that demo and benchmark share: load real data, overwrite it several
# times with the same blocks permuted, trim a random half.
#
# Memory is what the system says: the charge of a memory cgroup that holds the
# server alone; where none can be made, anonymous Pss plus what the server's
# memfds occupy.

declare -A LAB_PIDS
LAB_METER=
LAB_CGROUP_ROOT=
LAB_JEMALLOC=

# Whether cgroups can be made below a folder, entered, and tell their charge.
lab_try_cgroup() {
    local root=$1 file=$2 group=$1/klotski-$$-try good=1
    mkdir "$group" 2>/dev/null || return 1
    if [ -r "$group/$file" ] && (echo "$BASHPID" >"$group/cgroup.procs") 2>/dev/null; then
        good=0
    fi
    rmdir "$group"
    [ $good -ne 0 ] || LAB_CGROUP_ROOT=$root
    return $good
}

# Finds a way to measure; LAB_METER says which.
# shellcheck disable=SC2034
lab_memory_setup() {
    local lib
    if lab_try_cgroup /sys/fs/cgroup/memory memory.usage_in_bytes; then
        LAB_METER="charge of a memory cgroup (v1)"
    elif lab_try_cgroup /sys/fs/cgroup memory.current; then
        LAB_METER="charge of a memory cgroup (v2)"
    else
        LAB_METER="anonymous Pss + blocks of memfds (no memory cgroup can be made here)"
    fi
    for lib in /usr/lib/*/libjemalloc.so.2 /usr/lib/libjemalloc.so.2; do
        [ ! -e "$lib" ] || LAB_JEMALLOC=$lib
    done
}

lab_group() {
    [ -z "$LAB_CGROUP_ROOT" ] || echo "$LAB_CGROUP_ROOT/klotski-$$-$1"
}

lab_memory_cleanup() {
    [ -z "$LAB_CGROUP_ROOT" ] || rmdir "$LAB_CGROUP_ROOT/klotski-$$-"*
}

# lab_server NAME [VARIABLE=VALUE...] PLUGIN ARGUMENTS...
# nbdkit with that plugin on $LAB/NAME.sock, alone in a cgroup.
lab_server() {
    local name=$1 group variables=()
    shift
    while [[ $1 == *=* ]]; do
        variables+=("$1")
        shift
    done
    group=$(lab_group "$name")
    [ -z "$group" ] || mkdir -p "$group" || lab_die "cannot make $group"
    rm -f "$LAB/$name.sock"
    lab_spawn lab_in_group "$group" env "${variables[@]}" nbdkit --foreground \
        --exit-with-parent --unix "$LAB/$name.sock" "$@"
    LAB_PIDS[$name]=$LAB_JOB
    lab_await_socket "$LAB/$name.sock" "${LAB_PIDS[$name]}"
}

lab_in_group() {
    local group=$1
    shift
    [ -z "$group" ] || echo "$BASHPID" >"$group/cgroup.procs"
    exec "$@"
}

lab_uri() {
    echo "nbd+unix:///?socket=$LAB/$1.sock"
}

lab_server_stop() {
    local name=$1 group
    kill -TERM "${LAB_PIDS[$name]}"
    wait "${LAB_PIDS[$name]}"
    group=$(lab_group "$name")
    [ -z "$group" ] || rmdir "$group"
}

# lab_memory NAME: bytes that the server uses.
lab_memory() {
    local group file
    group=$(lab_group "$1")
    if [ -z "$group" ]; then
        lab_memory_of_process "${LAB_PIDS[$1]}"
        return
    fi
    for file in "$group/memory.usage_in_bytes" "$group/memory.current"; do
        [ ! -r "$file" ] || cat "$file"
    done
}

lab_memory_of_process() {
    local pid=$1 pss blocks=0 fd n
    pss=$(awk '/^Pss_Anon:/ { print $2 * 1024 }' "/proc/$pid/smaps_rollup")
    for fd in "/proc/$pid/fd/"*; do
        [[ $(readlink "$fd") == /memfd:* ]] || continue
        n=$(stat -L -c %b "$fd") && blocks=$((blocks + n))
    done
    echo $((pss + blocks * 512))
}

# Starts one of the kinds "klotski", "zstd" and "jemalloc": a disk of 1 GiB under
# that name.  Blocks of Klotski's, and of what is done with a disk, are LAB_BLOCK.
LAB_BLOCK=32K
lab_start_kind() {
    case $1 in
    klotski)
        lab_server klotski "$KLOTSKI_PLUGIN" size=1G backing=memfd block="$LAB_BLOCK" \
            compress=zstd control="$KLOTSKI_RUNDIR/klotski.ctl"
        ;;
    zstd) lab_server zstd memory 1G allocator=zstd ;;
    jemalloc)
        # Kinder than its defaults: what is unused for a second is given back.
        lab_server jemalloc LD_PRELOAD="$LAB_JEMALLOC" \
            MALLOC_CONF=background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0 \
            memory 1G allocator=zstd
        ;;
    esac
}

# Everybody has the same pause; the disk also compacts (it does that by itself,
# but a little at a time).
lab_settle() {
    [ "$1" != klotski ] || lab_run klotski compact klotski >/dev/null
    lab_sleep 2
}

# lab_churn KIND SAMPLE MIB ROUNDS [SEED]: the experiment.  Appends to $LAB/KIND.mem
# a line: bytes after load, after churn, after trim; to $LAB/KIND.payload what the
# data would need at best: after load (and churn), after trim.
lab_churn() {
    local kind=$1
    lab_start_kind "$kind"
    lab_churn_steps "$@" || lab_die "the experiment with $kind failed"
    lab_server_stop "$kind"
}

lab_churn_steps() {
    local kind=$1 sample=$2 mib=$3 rounds=$4 seed=${5:-1} uri sums loaded churned all
    uri=$(lab_uri "$kind")
    sums=$LAB/$kind.sums
    lab_run "$NBDWORK" load "$uri" --from "$sample" --bytes "${mib}M" --sums "$sums" \
        --block "$LAB_BLOCK" >/dev/null || return 1
    lab_settle "$kind"
    loaded=$(lab_memory "$kind")
    all=$(lab_payload "$uri" "$sums") || return 1
    lab_run "$NBDWORK" permute "$uri" --sums "$sums" --rounds "$rounds" --seed "$seed" || return 1
    lab_settle "$kind"
    churned=$(lab_memory "$kind")
    lab_run "$NBDWORK" trim "$uri" --sums "$sums" --percent 50 --seed "$seed" || return 1
    lab_settle "$kind"
    echo "$loaded $churned $(lab_memory "$kind")" >>"$LAB/$kind.mem"
    echo "$all $(lab_payload "$uri" "$sums")" >>"$LAB/$kind.payload"
    lab_run "$NBDWORK" verify "$uri" --sums "$sums" --quiet >/dev/null
}

lab_payload() {
    local line
    line=$("$NBDWORK" payload "$1" --sums "$2" --quiet) || return 1
    cut -d' ' -f2 <<<"$line"
}
