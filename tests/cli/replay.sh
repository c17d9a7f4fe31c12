#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# klotski replay: traces that are generated, recorded, hostile and cut off; exit
# codes, and what programs read from it.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../disk/lib.sh"
need_cli
need python3
klotski=$KLOTSKI_CLI
traces=$(dirname "$0")/../traces

# expect STATUS TEXT ARGUMENTS...: the exit code, and what stdout or stderr says.
expect() {
    local wanted=$1 text=$2 status=0
    shift 2
    "$klotski" replay "$@" >"$work/out" 2>&1 || status=$?
    [ "$status" = "$wanted" ] || fail "replay $*: status $status, not $wanted: $(cat "$work/out")"
    grep -q -e "$text" "$work/out" || fail "replay $* does not say '$text': $(cat "$work/out")"
}

usage() {
    expect 0 'usage: klotski replay' --help
    expect 2 'which trace'
    expect 2 'which trace' a b
    expect 2 'unknown option' a --nonsense
    expect 2 'on, off or both' a --movability maybe
    expect 2 'memfd or none' a --backing tape
    expect 2 'seed is' a --seed -1
    expect 2 'no disk has a part' a --name x
    expect 2 'goes with --generate' a --blocks 9
    expect 2 'blocks is' --generate kv --blocks 7
    expect 2 'no kind of trace' --generate nothing
    expect 2 'goes with --seed' --generate kv --oracle
    expect 2 'goes with --seed' --generate kv file
}

refused() {
    expect 1 'No such file' "$work/nothing"
    expect 1 "$work:1: the file could not be read" "$work"
    : >"$work/empty"
    expect 1 "empty:1: there is nothing" "$work/empty"
    head -c 20000 "$traces/gcc-tar.trace" >"$work/cut"
    expect 1 'cut:[0-9]*: ' "$work/cut"
    head -n 500 "$traces/gcc-tar.trace" >"$work/cut"
    expect 1 "cut:501: .*not whole" "$work/cut"
    # Not an empty line or a comment, whatever comes.
    { printf '\001' && head -c 100000 /dev/urandom; } >"$work/noise"
    expect 1 'noise:1: ' "$work/noise"
    printf 'klotski-trace 1 frame=2097152 block-order=18 blocks=1048576\nend\n' >"$work/vast"
    expect 1 'vast:1: a zone of more than' "$work/vast"
    printf 'klotski-trace 1 frame=65536 block-order=9 blocks=32768\nend\n' >"$work/large"
    expect 1 'the system has .* left' "$work/large"
}

# The recorded sample, every way; JSON that a program reads.
recorded() {
    local sample=$traces/gcc-tar.trace
    expect 0 'success_when_feasible *1.0000' "$sample" --oracle
    expect 0 'movability *on *off' "$sample" --movability both
    expect 0 'frames moved *0$' "$sample" --movability off
    expect 0 'units damaged *0$' - --backing none <"$sample"
    "$klotski" replay "$sample" --movability both --oracle --json | python3 -c '
import json, sys
reply = json.load(sys.stdin)
assert reply["ok"] is True
on, off = reply["runs"]
assert on["movability"] == "on" and off["movability"] == "off"
assert on["contig"]["asked"] == 16 and on["contig"]["done"] >= off["contig"]["done"]
assert on["success_when_feasible"] == 1 and on["damaged"] == 0
assert on["orders"][0]["order"] == 0 and on["orders"][0]["done"] > 2000
' || fail "the JSON is not as it should be"
}

# What cannot be had is blamed on somebody; the oracle has nothing against it.
blamed() {
    printf '%s\n' 'klotski-trace 1 frame=4096 block-order=3 blocks=2' 'alloc 5 0 u' \
        'alloc 6 0 m' 'pin 6' 'contig 7 8 8' 'give 1' end >"$work/blame"
    expect 0 'line 5: 8 frames at 8: EBUSY .*in the way: frame 0 in block 0, unmovable, id 5' \
        "$work/blame" --oracle
    expect 0 'line 6: 1 blocks back: EBUSY' "$work/blame"
}

generated() {
    local kind
    for kind in build kv netcache inference; do
        "$klotski" replay --generate "$kind" --blocks 16 --seed 5 >"$work/$kind"
        expect 0 'units damaged *0 *0$' "$work/$kind" --movability both
    done
    "$klotski" replay --generate kv --blocks 16 --seed 5 | cmp - "$work/kv"
    "$klotski" replay --generate kv --blocks 16 --seed 6 >"$work/other"
    cmp -s "$work/kv" "$work/other" && fail "two seeds, one trace"
    if [ -w /dev/full ]; then
        "$klotski" replay --generate kv --blocks 16 2>"$work/out" >/dev/full && fail "a full disk is fine"
        grep -q 'could not be written' "$work/out" || fail "a full disk goes unsaid"
    fi
}

usage
refused
recorded
blamed
generated
say "ok"
