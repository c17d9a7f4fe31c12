#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The klotski command as a user meets it: starting and ending disks by name, what
# it says when something is wrong, its exit codes, and what programs read from it.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../disk/lib.sh"
need_cli
need pgrep nbdcopy python3
klotski=$KLOTSKI_CLI

# expect STATUS TEXT ARGUMENTS...: the exit code, and what stdout or stderr says.
expect() {
    local wanted=$1 text=$2 status=0
    shift 2
    "$klotski" "$@" >"$work/out" 2>&1 || status=$?
    [ "$status" = "$wanted" ] || fail "klotski $*: status $status, not $wanted: $(cat "$work/out")"
    grep -q -e "$text" "$work/out" || fail "klotski $* does not say '$text': $(cat "$work/out")"
}

left_behind() {
    find "$KLOTSKI_RUNDIR" -mindepth 1 ! -name lock
}

usage() {
    local command
    expect 2 'usage' # nothing at all
    expect 0 'Exit status' --help
    expect 0 '^klotski [0-9]' --version
    expect 2 "no command 'nothing'" nothing
    for command in disk stop list stat map who take give compact classes migration replay; do
        expect 0 "usage: klotski $command" "$command" --help
        expect 2 'unknown option' "$command" --nonsense
    done
    expect 2 'how much' take
    expect 2 'not a size' take 0
    expect 2 'not a size' take 12X
    expect 2 'how much' who
    expect 2 'not a size' who 0
    expect 2 'one size' who 2M 4M
    expect 2 'power of two' who 2M --align 3M
    expect 2 'after --' take 2M ls
    expect 2 'no command follows' take 2M --
    expect 2 'which one' give
    expect 2 'goes with --all' give 1 --force
    expect 2 'not both' stat --name a --socket "$work/x"
    expect 2 'see --socket' stat "$work/x"
    expect 2 'named twice' stat a --socket "$work/x"
    expect 2 'gets its sockets from' disk --socket "$work/x"
    expect 2 'no name and no socket' list --socket "$work/x"
    expect 0 'colour' map --help
    expect 2 'not an ID' give 0
    expect 2 'on or off' migration
    expect 2 'on or off' migration maybe
    expect 2 'width' map --width 5
    expect 2 'goes with --frames' map --blocks 3
    expect 2 'not a block' map --frames --blocks 7-3
    expect 2 'no other way' map --svg "$work/x.svg" --frames
    expect 2 'no other way' map --png "$work/x.png" --json
    expect 2 'a file has a name' map --svg ''
    [ ! -e "$work/x.svg" ] || fail "wrong usage has made a file"
    expect 2 'not a size' disk --size 12Q
    expect 2 'auto, hugetlb, hugetlb-1g or memfd' disk --backing tape
    expect 2 "a node's number" disk --numa first
    expect 1 'numa=4000: there is no such node\|without libnuma' disk --name x --size 64M --numa 4000
    expect 2 'not a name' disk --name ../x
    [ -z "$(left_behind)" ] || fail "wrong usage has left: $(left_behind)"
}

no_disk() {
    local command
    for command in stop stat map compact classes; do
        expect 3 'no disk is running' "$command"
        expect 3 "no disk 'nobody' is running" "$command" nobody
    done
    expect 3 'no disk' take 2M
    expect 3 'no disk' who 2M
    expect 3 'no disk' give 1
    expect 3 'nobody answers' stat --socket "$work/nothing.ctl"
    KLOTSKI_RUNDIR=$work/nowhere expect 3 'no disk' stat x
    [ ! -e "$work/nowhere" ] || fail "asking has made a folder"
}

# What cannot start says why, and leaves nothing.
bad_start() {
    expect 1 'block=3072' disk --block 3K
    expect 1 'unknown parameter' disk -- nonsense=1
    NBDKIT=$work/nothing expect 1 'cannot run' disk
    KLOTSKI_PLUGIN=$work/nothing.so expect 1 'cannot open plugin' disk
    expect 1 'block=3072' disk --foreground --block 3K
    [ -z "$(left_behind)" ] || fail "a failed start has left: $(left_behind)"
    ln -s "$work" "$work/link"
    KLOTSKI_RUNDIR=$work/link expect 1 'not a folder of this user alone' disk
    mkdir -m 777 "$work/open"
    chmod 777 "$work/open"
    KLOTSKI_RUNDIR=$work/open expect 1 'not a folder of this user alone' disk
    [ -z "$(ls -A "$work/open")" ] || fail "something was left in a folder of others"
}

pid_of() {
    "$klotski" stat "$1" --get disk.pid
}

two_disks() {
    local pid
    expect 0 "disk 'a' is ready" disk --name a --size 64M --backing memfd
    children+=("$(pid_of a)")
    expect 1 'is running' disk --name a
    expect 0 '"name":"b"' disk --name b --size 64M --backing memfd --json
    children+=("$(pid_of b)")
    [ "$("$klotski" list | xargs)" = "a b" ] || fail "list: $("$klotski" list)"
    expect 0 '^\["a","b"\]$' list --json
    expect 3 'name one of them' stat
    expect 0 "disk 'b'" stat b
    expect 0 "disk 'b'" stat --name b
    pid=$(pid_of b)
    expect 0 'has ended' stop b
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = nbdkit ] &&
        ! grep -q '^State:.Z' "/proc/$pid/status"; then
        fail "disk b still runs"
    fi
    expect 0 "disk 'a'" stat # the only one is meant
}

# A killed disk leaves its files; they are no disk, and not in the way.
leftovers() {
    local pid
    pid=$(pid_of a)
    kill -KILL "$pid"
    wait_for 20 is_gone "$pid" || fail "a killed disk answers"
    [ -e "$KLOTSKI_RUNDIR/a.ctl" ] || fail "this test has tested nothing"
    expect 3 'no disk is running' stat
    expect 3 'what it had left is removed' stop a
    [ -z "$(left_behind)" ] || fail "stop leaves of a killed disk: $(left_behind)"
    expect 0 "disk 'a' is ready" disk --name a --size 64M --backing memfd
    pid=$(pid_of a)
    children+=("$pid")
    kill -KILL "$pid"
    wait_for 20 is_gone "$pid" || fail "a killed disk answers"
    [ -z "$("$klotski" list)" ] || fail "a killed disk is listed: $("$klotski" list)"
    [ -z "$(left_behind)" ] || fail "list leaves of a killed disk: $(left_behind)"
    # A pid file whose number means another process by now.
    echo $$ >"$KLOTSKI_RUNDIR/a.pid"
    echo a >"$KLOTSKI_RUNDIR/other"
    expect 3 'what it had left is removed' stop a
    [ -e "$KLOTSKI_RUNDIR/other" ] || fail "stop has removed another file"
    rm "$KLOTSKI_RUNDIR/other"
    expect 0 "disk 'a' is ready" disk --name a --size 64M --memory 32M --backing memfd
    children+=("$(pid_of a)")
}

# With all of its threads, one of which closes the sockets, one after the other.
is_gone() {
    local tasks=("/proc/$1/task/"*)
    ! "$klotski" stat a >/dev/null 2>&1 &&
        { [ ! -e "/proc/$1" ] || { [ ${#tasks[@]} -eq 1 ] && grep -q '^State:.Z' "/proc/$1/status"; }; }
}

figures() {
    expect 0 'zone of 32 MiB (memfd)' stat
    expect 0 '^67108864$' stat --get disk.size
    expect 0 '^16$' stat --get zone.blocks
    expect 1 "no 'zone.nonsense'" stat --get zone.nonsense
    expect 1 "no ''" stat --get ''
    expect 0 '^0$' stat --get zone.give_back.asked
    expect 0 'takes: 0 of 0' stat
    expect 0 'free runs none' stat
    expect 0 '"free_runs":\[0,0,' stat --json
    expect 1 "no 'zone.'" stat --get zone.
    expect 1 'no block 9999' map --frames --blocks 9999
    expect 1 'no block 16' map --frames --blocks 3-16
    expect 0 '^   15 absent$' map --frames --blocks 15
    expect 0 '"ok":true' stat --json
    expect 0 '"frames_per_block":512' map --json
    expect 0 '"classes":\[' classes --json
    expect 0 '"objects_moved":' compact --json
    expect 0 'in all: 0 objects' classes
    expect 0 '^    0 \.\{16\}$' map --ascii
    expect 0 '16 blocks of 2 MiB: 0 present.* 0 taken' map
    expect 0 '^    3 absent$' map --frames --blocks 2-3
}

pictures() {
    local columns
    nbdcopy "$work/noise" "nbd+unix:///?socket=$KLOTSKI_RUNDIR/a.nbd"
    expect 0 '^    0 9' map --ascii
    expect 0 '^    0 █' map --utf8
    expect 0 '^    0 8888' map --ascii --frames --blocks 0
    "$klotski" map | grep -q $'\e' && fail "colour although it is no terminal"
    NO_COLOR=1 "$klotski" map --frames | grep -q $'\e' && fail "colour although NO_COLOR"
    "$klotski" map --colour | grep -q $'\e' || fail "no colour although --colour"
    columns=$("$klotski" map --frames --utf8 | LC_ALL=C.UTF-8 wc -L)
    [ "$columns" -le 80 ] || fail "a line of $columns columns"
}

# Pictures as files: good XML, the same twice, and clear where they cannot be made.
picture_files() {
    local status=0
    expect 0 'written: .*a.svg' map --svg "$work/a.svg"
    python3 -c 'import sys, xml.etree.ElementTree as t
root = t.parse(sys.argv[1]).getroot()
assert root.tag == "{http://www.w3.org/2000/svg}svg", root.tag
text = "".join(root.itertext())
assert "zone of disk a" in text and "16 blocks of 2 MiB" in text, text' "$work/a.svg" ||
        fail "the picture is no SVG of this disk"
    "$klotski" map --svg - >"$work/b.svg"
    same "$work/a.svg" "$work/b.svg" "two pictures of one zone differ"
    expect 1 'cannot write' map --svg "$work/nowhere/a.svg"
    expect 1 'cannot write /dev/full' map --svg /dev/full
    env PATH="$work" "$klotski" map --svg "$work/c.svg" --png "$work/a.png" >"$work/out" 2>&1 ||
        status=$?
    [ $status = 1 ] || fail "without rsvg-convert: status $status"
    grep -q 'rsvg-convert.*librsvg2-bin' "$work/out" || fail "not clear: $(cat "$work/out")"
    [ -z "$(ls "$work"/c.svg "$work"/a.png 2>/dev/null)" ] || fail "half of it was written"
    printf '#!/bin/sh\nexit 1\n' >"$work/rsvg-convert"
    chmod +x "$work/rsvg-convert"
    PATH=$work:$PATH expect 1 'has made no PNG' map --png "$work/a.png"
    [ ! -e "$work/a.png" ] || fail "a PNG that was not made was written"
    rm "$work/rsvg-convert"
    command -v rsvg-convert >/dev/null || return 0
    expect 0 'written: .*a.png' map --png "$work/a.png"
    [ "$(head -c 4 "$work/a.png" | tail -c 3)" = PNG ] || fail "the PNG is none"
}

# The table of classes: a line of each class that has zspages, with the figures of the JSON.
class_table() {
    "$klotski" classes >"$work/table"
    "$klotski" classes --json >"$work/classes.json"
    python3 -c 'import json, sys
rows = json.load(open(sys.argv[1]))["classes"]
head, *table, total = open(sys.argv[2]).read().splitlines()
names = "class size zspages <half >half full allocated used frames frames/ freeable".split()
assert head.split() == names, head
table = [dict(zip(names, map(int, line.split()))) for line in table]
assert [t["class"] for t in table] == [i for i, r in enumerate(rows) if r["zspages"]], table
assert table, "the disk holds nothing"
for t in table:
    row = rows[t["class"]]
    want = {"size": "object_size", "zspages": "zspages", "used": "objects", "frames": "frames",
            "frames/": "frames_per_zspage", "freeable": "freeable_frames"}
    for name, member in want.items():
        assert t[name] == row[member], (name, t, row)
    assert t["<half"] + t[">half"] + t["full"] == t["zspages"], t
    assert t["used"] <= t["allocated"] <= t["zspages"] * row["objects_per_zspage"], (t, row)
frames = sum(t["frames"] for t in table)
assert frames > 0 and " in %d frames" % frames in total, total
' "$work/classes.json" "$work/table" || fail "not the table: $(cat "$work/table")"
    [ "$("$klotski" classes --all | wc -l)" -gt "$(wc -l <"$work/table")" ] ||
        fail "--all shows no more classes"
}

# Taking, with all the ways in which it ends.
taking() {
    local status=0 id
    expect 0 '^taken: 4 MiB (2 blocks)' take 4M
    expect 0 'until .klotski give' stat
    id=$("$klotski" take 2M --json | sed 's/.*"id":\([0-9]*\).*/\1/')
    expect 0 '2 MiB lent' give "$id"
    expect 1 'ENOENT' give "$id"
    expect 0 '2 taken' map
    expect 0 '4 MiB lent' give --all
    [ "$("$klotski" take 2M --name a -- echo x y 2>/dev/null)" = 'x y' ] ||
        fail "the command got other arguments"
    expect 1 'EINVAL' take 1G
    expect 1 '"ok":false' take 1G --json
    "$klotski" take 2M -- sh -c 'exit 7' 2>/dev/null || status=$?
    [ $status = 7 ] || fail "the exit code of the command is 7, not $status"
    status=0
    # shellcheck disable=SC2016
    "$klotski" take 2M -- sh -c 'kill -TERM $$' 2>/dev/null || status=$?
    [ $status = 143 ] || fail "the command's end by TERM is 143, not $status"
    expect 127 'cannot run' take 2M -- "$work/nothing"
    expect 0 '^0$' stat --get zone.given_blocks
}

# What stands between the disk and a size, before it is asked for.
who_is_in_the_way() {
    local block
    expect 1 'EINVAL' who 1G
    expect 0 '^taken: 2 MiB' take 2M
    expect 1 '^32 MiB (16 blocks): 1 in the way$' who 32M
    grep -q '^  block [0-9]*: given back to the system$' "$work/out" ||
        fail "not said which: $(cat "$work/out")"
    expect 0 '^2 MiB (1 blocks): nothing is in the way$' who 2M
    expect 0 '2 MiB lent' give --all
    # The disk has data in some block: with migration off that stays.
    expect 0 'migration is off' migration off
    expect 1 ': migration is off$' who 32M
    expect 1 '"kind":"NO_MIGRATION"' who 32M --json
    expect 1 "^  in the way: frame [0-9]* in block [0-9]*, which belongs to '.*': migration is off" take 32M
    block=$(sed -n 's/.* in block \([0-9]*\),.*/\1/p' "$work/out" | head -n 1)
    expect 1 "^  frame [0-9]* in block $block, which belongs to '.*': migration is off$" who 32M
    expect 0 'migration is on' migration on
    expect 1 'no frame is in the way' who 32M
    grep -q 'too little room elsewhere: [0-9,]* frames would move, and 0 are free' "$work/out" ||
        fail "not said what is lacking: $(cat "$work/out")"
    expect 0 '^2 MiB from frame [0-9]* on: nothing is in the way$' who 2M --align 2M
}

# `klotski take` is killed while its command holds memory: the disk gets it back,
# although the command lives on.
vanishing() {
    local holder command
    "$klotski" take 2M -- sleep 1000 2>/dev/null 8<&- &
    holder=$!
    children+=("$holder")
    wait_for 20 given 1 || fail "nothing was taken"
    expect 0 'by a program' stat
    wait_for 20 has_child "$holder" || fail "no command was started"
    command=$(pgrep -P "$holder")
    kill -KILL "$holder"
    { wait "$holder" || true; } 2>/dev/null
    wait_for 20 given 0 || fail "the memory of a lease that is gone is still taken"
    kill "$command"
}

# Memory that a program holds is spared by --all, and its loss is no secret.
withdrawing() {
    local holder status=0
    # shellcheck disable=SC2016
    "$klotski" take 2M -- sh -c 'read -r line <"$1"' sh "$work/go" 2>"$work/said" 8<&- &
    holder=$!
    children+=("$holder")
    wait_for 20 given 1 || fail "nothing was taken"
    expect 0 '^taken: 4 MiB' take 4M
    expect 0 '4 MiB lent' give --all
    grep -q 'left: 1 lease of running programs (2 MiB); --force' "$work/out" ||
        fail "the program's lease is not mentioned: $(cat "$work/out")"
    given 1 || fail "give --all has taken the memory of a program away"
    expect 0 '"spared":1' give --all --json
    expect 0 '2 MiB lent' give --all --force
    given 0 || fail "give --all --force leaves a lease"
    echo >"$work/go"
    wait "$holder" || status=$?
    [ $status = 1 ] || fail "the memory was withdrawn under the command: status $status"
    grep -q 'taken back while sh ran' "$work/said" || fail "not said: $(cat "$work/said")"
}

# What was done is said, even where the standard output takes nothing.
full_output() {
    local status=0
    "$klotski" take 2M >/dev/full 2>"$work/said" || status=$?
    [ $status = 1 ] || fail "a take that could not be printed: status $status"
    grep -q 'taken as lease [0-9]*, but it could not be printed' "$work/said" ||
        fail "the lease is not said: $(cat "$work/said")"
    expect 0 '2 MiB lent' give "$(sed 's/.*lease \([0-9]*\),.*/\1/' "$work/said")"
    status=0
    "$klotski" stat >/dev/full 2>"$work/said" || status=$?
    [ $status = 1 ] || fail "a stat that could not be printed: status $status"
    grep -q 'could not be written' "$work/said" || fail "not said: $(cat "$work/said")"
    status=0
    "$klotski" disk --name full --size 64M --backing memfd >/dev/full 2>"$work/said" || status=$?
    [ $status = 1 ] || fail "a disk that could not be printed: status $status"
    grep -q "disk 'full' runs, with pid [0-9]*, but" "$work/said" ||
        fail "the disk is not said: $(cat "$work/said")"
    expect 0 'has ended' stop full
}

# A stopped disk, and one that takes no more connections, make nobody wait for ever; and
# end when they shall.
silence() {
    local pid command crowd_pid
    expect 0 "is ready" disk --name s --size 64M --backing memfd
    pid=$(pid_of s)
    children+=("$pid")
    kill -STOP "$pid"
    for command in 'stat s' 'take 2M --name s' 'give --all --name s' 'compact s'; do
        # shellcheck disable=SC2086
        expect 1 'does not answer' $command
    done
    expect 0 '^s$' list # it is there
    expect 0 "disk 's' has ended" stop s
    expect 0 "is ready" disk --name s --size 64M --backing memfd
    pid=$(pid_of s)
    children+=("$pid")
    kill -STOP "$pid"
    python3 -c "$crowd" "$KLOTSKI_RUNDIR/s.ctl" >"$work/said" 8<&- &
    crowd_pid=$!
    children+=("$crowd_pid")
    wait_for 60 grep -q full "$work/said" || fail "there is room for any number of clients"
    expect 1 'does not answer' stat s
    expect 0 '^s$' list
    expect 0 "disk 's' has ended" stop s
    kill "$crowd_pid"
}

# Connects until nobody accepts, and asks nothing, until it is killed.
crowd='
import signal, socket, sys
held = []
try:
    for i in range(1000):
        held.append(socket.socket(socket.AF_UNIX))
        held[-1].settimeout(1)
        held[-1].connect(sys.argv[1])
except OSError:
    print("full", flush=True)
signal.pause()
'

# Answers the first request at once, the second when its input has a line.
slow='
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + ".new")
listener.listen()
os.rename(sys.argv[1] + ".new", sys.argv[1]) # who sees it can connect
client = listener.accept()[0]
client.recv(4096)
client.send(b"{\"ok\":true}\n")
client.recv(4096)
sys.stdin.readline()
client.send(b"{\"ok\":true,\"id\":7,\"bytes\":2097152,\"blocks\":1}\n")
client.recv(4096)
'

# A take may last; it says so, and ends well.
patience() {
    local taking status=0
    python3 -c "$slow" "$work/slow.ctl" <"$work/go" 8<&- &
    children+=($!)
    exec 9<>"$work/go"
    wait_for 20 test -S "$work/slow.ctl" || fail "no slow server"
    "$klotski" take 2M --socket "$work/slow.ctl" >"$work/said" 2>&1 8<&- 9>&- &
    taking=$!
    children+=("$taking")
    wait_for 60 grep -q 'still waiting' "$work/said" || fail "a long wait is not mentioned"
    echo >&9
    wait "$taking" || status=$?
    [ $status = 0 ] || fail "a take that lasts ends with $status: $(cat "$work/said")"
    grep -q "until: klotski give 7 --socket $work/slow.ctl" "$work/said" ||
        fail "not said how it ends: $(cat "$work/said")"
    exec 9>&-
}

# A disk that was started without this command, at a path that needs quoting.
plain_nbdkit() {
    local dir="$work/it's a \"disk\"" pid line
    mkdir -m 700 "$dir"
    nbdkit -U "$dir/n.nbd" -P "$dir/pid" "$KLOTSKI_PLUGIN" size=64M memory=32M backing=memfd \
        control="$dir/c.ctl" 8<&-
    wait_for 20 test -s "$dir/pid" || fail "nbdkit does not start"
    pid=$(cat "$dir/pid")
    children+=("$pid")
    wait_for 20 "$klotski" stat --socket "$dir/c.ctl" >/dev/null || fail "no answer by --socket"
    expect 0 '16 blocks of 2 MiB' map --socket "$dir/c.ctl"
    expect 0 'blocks: 0 given back' compact --socket="$dir/c.ctl"
    expect 0 'in all' classes --socket "$dir/c.ctl"
    expect 0 'migration is on' migration on --socket "$dir/c.ctl"
    line=$("$klotski" take 2M --socket "$dir/c.ctl" | sed -n 's/^until: klotski //p')
    eval "\"\$klotski\" $line" >"$work/out" || fail "as printed, this does not work: $line"
    grep -q '2 MiB lent' "$work/out" || fail "as printed, this does nothing: $line"
    kill -STOP "$pid"
    expect 0 'has ended' stop --socket "$dir/c.ctl"
    # The lines that `klotski disk` prints, read by a shell.
    KLOTSKI_RUNDIR=$dir expect 0 'is ready' disk --name q --size 64M --backing memfd
    children+=("$(KLOTSKI_RUNDIR=$dir pid_of q)")
    line=$(sed -n 's/^  \(uri=.*\)/\1/p' "$work/out")
    (
        eval "$line"
        # shellcheck disable=SC2154
        nbdcopy "$work/noise" "$uri"
    ) || fail "as printed, this does not work: $line"
    line=$(sed -n 's/^  nbd-client -unix \(.*\) \/dev\/nbd0 .*/\1/p' "$work/out")
    eval "[ -S $line ]" || fail "as printed, this is no socket: $line"
    KLOTSKI_RUNDIR=$dir expect 0 "connect   'nbd+unix:///?socket=[^ \"']*'$" stat q
    KLOTSKI_RUNDIR=$dir expect 0 'has ended' stop q
}

has_child() {
    pgrep -P "$1" >/dev/null
}

given() {
    [ "$("$klotski" stat --get zone.given_blocks)" = "$1" ]
}

# In the foreground, TERM ends both, and nothing stays.
foreground() {
    local pid status=0
    "$klotski" disk --foreground --name f --size 64M --backing memfd >/dev/null 8<&- &
    pid=$!
    children+=("$pid")
    wait_for 20 answers f || fail "the disk in the foreground does not come up"
    kill -TERM "$pid"
    wait "$pid" || status=$?
    [ $status = 0 ] || fail "the disk in the foreground ended with $status"
    if answers f; then fail "the disk in the foreground outlives its command"; fi
}

answers() {
    "$klotski" stat "$1" >/dev/null 2>&1
}

unset NO_COLOR
noise $((4 << 20)) "$work/noise"
mkfifo "$work/go"
usage
no_disk
bad_start
two_disks
leftovers
figures
pictures
picture_files
class_table
taking
who_is_in_the_way
vanishing
withdrawing
full_output
foreground
expect 0 'has ended' stop a
silence
patience
plain_nbdkit
[ -z "$(left_behind)" ] || fail "left: $(left_behind)"
say "ok"
