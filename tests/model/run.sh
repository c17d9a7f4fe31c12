#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: run.sh [frame|shm]
# Has spin go through every interleaving of each scene of model/frame.pml, or shm.pml, and
# then makes sure that it finds what is broken on purpose, with the error that it should.
# About a minute each, and 600 MiB.  77: no spin.
set -euo pipefail
model=${1:-frame}
here=$(cd "$(dirname "$0")/../.." && pwd)
cc=${CC:-gcc}
read -ra cc_words <<<"$cc"
for tool in spin "${cc_words[0]}" gcc; do # spin has gcc preprocess
    if ! command -v "$tool" >/dev/null; then
        echo "skipped: $tool is not installed"
        exit 77
    fi
done
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cp "$here"/model/*.pml "$here"/model/*.h "$tmp"
cd "$tmp"
failed=0

# Name, operations of each thread, rounds of a run.
scenes='
RACE        2 2
PAIRS       3 1
TWO_RUNS    2 2
ONE_FRAME   2 1
TARGET_GOES 3 1
MEMORY      4 1
WINDOW      4 2
LEAVE       3 2
HAND        4 2
'

# What is broken, the scene that has to show it, and how the error begins.
mutations='
PUBLISH_DYING    RACE      F1:
RELEASE_UNLOCKED RACE      a step under the lock by another
RAISE_FIRST      MEMORY    B1:
FREE_PINNED      RACE      a pinned frame is freed
PIN_ISOLATED     RACE      F3:
VACATE_STUCK     RACE      stuck is below zero
ISOLATE_TWICE    ONE_FRAME the owner is asked to isolate twice
ZERO_LOCKED      RACE      assertion violated
NO_PUTBACK       RACE      an isolation without an outcome
FENCE_TWICE      WINDOW    fenced twice
RESERVE_FENCED   MEMORY    B3:
LEAVE_EARLY      LEAVE     a frame of an owner that is gone
FORGET_TARGET    RACE      a destination is left
PASS_BY_USED     LEAVE     a frame of an owner that is gone
HAND_LOCKED      HAND      F6:
HAND_PINNED      HAND      a pinned frame is handed over
'

optimize=-O2

if [ "$model" = shm ]; then
    optimize=-O0 # small scenes: to compile takes longer than to search
    scenes='
MOVE  0 0
DRIVE 0 0
WHOLE 0 0
SIZE  0 0
PURGE 0 0
END   0 0
TRIP  0 0
OUT   0 0
'
    mutations='
GRAB_USED     SIZE  a copy of somebody else
ENTER_DOOMED  SIZE  E3:
LOST_DOOM     SIZE  E3:
WANT_PURGED   PURGE U2:
OLD_COPY      PURGE assertion violated
ATTACH_BATCH  MOVE  U3:
DETACH_BATCH  MOVE  U3:
ASYNC_ACTIVE  DRIVE U4:
TELL_MOVING   DRIVE a frame moves that the device works on
VISIT_ENDING  END   L1:
COUNT_FIRST   END   L3:
FREE_UNLOCKED SIZE  E2:
FORGET_SILENTLY TRIP assertion violated
WHOLE_PINNED  WHOLE U1:
LATE_SIZE     SIZE  a page behind the end stays
'
fi

# search SCENE BREAK OPS ROUNDS OPTIMIZE: its output is in the file out.
search() {
    rm -f pan.* pan out ./*.trail
    spin -DSCENE="$1" -DBREAK="$2" -DOPS="$3" -DROUNDS="$4" -a "$model.pml" >spin.out || {
        cat spin.out >&2
        return 1
    }
    "${cc_words[@]}" "$5" -w -DSAFETY -DCOLLAPSE -DVECTORSZ=1024 -DMEMLIM=4096 -DBREAK="$2" \
        -I"$here/src" -I. -o pan pan.c
    ./pan -m100000 >out 2>&1 || true
}

complete() {
    grep -q 'errors: 0$' out && ! grep -qE '^pan:|not completed|too small|out of memory' <(
        grep -vE '^pan: (elapsed time|rate)' out
    )
}

states() {
    sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' out
}

seconds() {
    sed -nE 's/^pan: elapsed time ([0-9.e+-]+) seconds/\1/p' out
}

mebibytes() {
    sed -nE 's/^ *([0-9.]+)\s+total actual memory usage/\1/p' out
}

check_scene() {
    local name=$1 ops=$2 rounds=$3

    search "$name" NOTHING_BROKEN "$ops" "$rounds" "$optimize"
    if complete; then
        printf '%-16s ok: %s states, %s s, %s MiB\n' "$name" "$(states)" "$(seconds)" \
            "$(mebibytes)"
        return
    fi
    printf '%-16s FAILED\n' "$name"
    grep -E '^pan' out || true
    if [ -e "$model.pml.trail" ]; then
        ./pan -r 2>&1 | grep -E 'proc|pan:' | tail -n 100
    else
        tail -n 20 out
    fi
    failed=1
}

check_mutation() {
    local name=$1 scene=$2 error=$3 found

    search "$scene" "$name" 2 1 -O0
    found=$(sed -nE 's/^pan:[0-9]+: (.*)/\1/p' out | head -n 1)
    if [[ "$found" == "$error"* ]]; then
        printf '%-16s found: %s\n' "$name" "$found"
    else
        printf '%-16s NOT FOUND in %s: expected "%s", got "%s"\n' "$name" "$scene" "$error" \
            "${found:-no error}"
        failed=1
    fi
}

while read -r name ops rounds; do
    [ -z "$name" ] || check_scene "$name" "$ops" "$rounds"
done <<<"$scenes"
while read -r name scene error; do
    [ -z "$name" ] || check_mutation "$name" "$scene" "$error"
done <<<"$mutations"
exit "$failed"
