#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A disk that is full: ENOSPC, and everything that was there is still there;
# when something is trimmed, writes go on.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need nbdcopy qemu-io cmp
need_cli
mib=$((1 << 20))

# prefix FILE: the disk begins with the file's bytes.
prefix() {
    nbdcopy "$uri" "$work/back"
    cmp -n "$(stat -c %s "$1")" "$1" "$work/back" || fail "$2"
}

# Sets `blocks`; what is too much goes back in the background.
blocks_below() {
    blocks=$(cli stat --get system.resident_bytes)
    [ "$blocks" -lt "$1" ]
}

# What the system says: blocks, those in part used too, are within the limit (whole ones of
# 2 MiB); the process has its metadata beside it, and little of its own.
within() { # LIMIT-BYTES
    local blocks own metadata
    wait_for 20 blocks_below $(($1 + 2 * mib)) || fail "$blocks bytes of blocks, limit $1"
    own=$(($(sed -n 's/^RssAnon:\s*\([0-9]*\) kB/\1/p' "/proc/$disk_pid/status") * 1024))
    metadata=$(($(zone_figure metadata_bytes) + $(cli stat --get store.metadata_bytes)))
    [ "$own" -le $((metadata + 8 * mib)) ] || fail "the process has $own bytes of its own"
    say "   $blocks bytes of blocks, $own of its own, $metadata of metadata at most"
}

full() { # LIMIT-BYTES PARAMETERS...
    local limit=$1
    shift
    disk_start size=64M backing=memfd "$@"
    noise $((4 * mib)) "$work/first"
    nbdcopy "$work/first" "$uri"
    # Begins as what is there, and is more than there is room for.
    cp "$work/first" "$work/more"
    head -c $((28 * mib)) /dev/urandom >>"$work/more"
    if nbdcopy "$work/more" "$uri" 2>"$work/error"; then
        fail "32 MiB of noise found room in $limit bytes ($*)"
    fi
    grep -qi 'no space left' "$work/error" || fail "not ENOSPC: $(cat "$work/error")"
    [ "$(cli stat --get store.refused)" -gt 0 ] || fail "no write was counted as refused"
    [ "$(cli stat --get store.frame_bytes)" -gt 0 ] || fail "nothing is stored"
    [ $(($(zone_figure used_frames) * 4096)) -le "$limit" ] || fail "more is used than the limit"
    within "$limit"
    prefix "$work/first" "what was there is damaged ($*)"
    # Overwriting while full: whole, or not at all; and zeroes always.
    qemu-io -f raw "$uri" -c "write -P 9 0 4k" >/dev/null 2>&1 || true
    qemu-io -f raw "$uri" -c "read -P 9 0 4k" >"$work/nine" 2>&1 || true
    if grep -q 'Pattern verification failed' "$work/nine"; then
        prefix "$work/first" "an overwritten block is neither old nor new ($*)"
    fi
    qemu-io -f raw "$uri" -c "discard 4M 60M" | grep -q 60 || fail "the discard failed"
    cli compact >/dev/null
    qemu-io -f raw "$uri" -c "write -s $work/first 8M 2M" >"$work/out" 2>&1 ||
        fail "no write after the trim: $(cat "$work/out")"
    if grep -qi 'fail' "$work/out"; then fail "no write after the trim: $(cat "$work/out")"; fi
    disk_stop
    say "ok: $*"
}

full $((8 * mib)) limit=8M
full $((9 * mib)) limit=9M
full $((8 * mib)) limit=8M block=64K compress=lz4
full $((10 * mib)) memory=10M
full $((10 * mib)) memory=10M auto-compact=false block=32K
