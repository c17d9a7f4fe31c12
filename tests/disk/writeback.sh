#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Write-back to a file and to NBD servers: well, killed, stopped, failing, full.  A
# disk holds more than its limit, and every block reads back right, or is an error
# where the target that had it is gone.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need nbdcopy cmp
need_cli
mib=$((1 << 20))
tsock=$work/target.sock
turi="nbd+unix:///?socket=$tsock"
tpid=

listens() { perl -MIO::Socket::UNIX -e 'exit !IO::Socket::UNIX->new(Peer => $ARGV[0])' "$tsock"; }

# target_start WORDS...: an nbdkit at $turi.
target_start() {
    rm -f "$tsock"
    nbdkit -f -U "$tsock" "$@" >"$work/target.log" 2>&1 8<&- &
    tpid=$!
    children+=("$tpid")
    wait_for 20 listens || fail "no target: $(cat "$work/target.log")"
}

target_kill() {
    kill -CONT "$tpid" 2>/dev/null || true
    kill -KILL "$tpid" 2>/dev/null || true
    wait "$tpid" 2>/dev/null || true
}

# blocks FILE: reads the disk a block at a time; prints how many are as in the file,
# are zeroes, are others, are errors.
blocks() {
    perl -MIO::Socket::UNIX -e '
        my ($path, $file) = @ARGV;
        my $s = IO::Socket::UNIX->new(Peer => $path) or die;
        sub get { my $b = ""; while (length $b < $_[0]) {
            sysread($s, $b, $_[0] - length $b, length $b) or die "the disk is gone" } $b }
        get(18); syswrite($s, pack("N", 3) . "IHAVEOPT" . pack("NN", 1, 0)); get(10);
        open my $f, "<:raw", $file or die;
        my ($right, $zero, $other, $error, $at, $want) = (0, 0, 0, 0, 0);
        while (my $n = read $f, $want, 4096) {
            syswrite($s, pack("NnnQ>Q>N", 0x25609513, 0, 0, 0, $at, $n));
            my ($magic, $err) = unpack "NN", get(16);
            my $got = $err ? "" : get($n);
            $err ? $error++ : $got eq $want ? $right++ : $got =~ /^\0*$/ ? $zero++ : $other++;
            $at += $n;
        }
        print "$right $zero $other $error\n"' "$sock" "$1"
}

back() { cli stat --get "writeback.$1"; }
state_is() { [ "$(back state)" = "$1" ]; }

unchanged() {
    local before
    before=$(back blocks)
    sleep 0.2
    [ "$(back blocks)" = "$before" ]
}

# Nothing is under way, and no answer waits to be counted.
settled() { [ "$(back pending)" = 0 ] && unchanged && [ "$(back pending)" = 0 ]; }

# That a write failed before may be all that is known of a new connection.
connected() { state_is well || state_is failing; }

within_limit() {
    local frames
    frames=$(cli stat --get store.frame_bytes)
    [ "$frames" -le "$1" ] || fail "$frames bytes of frames, more than the limit"
}

# Files of this machine and noise, 32 MiB: more than compresses into 8 MiB.
real_files $((24 * mib)) "$work/data"
head -c $((8 * mib)) /dev/urandom >>"$work/data"
nblocks=$((32 * mib / 4096))

disk() {
    disk_start size=32M memory=32M backing=memfd compress=lz4 limit=8M writeback-age=1 "$@"
}

copied() {
    within_limit $((8 * mib))
    nbdcopy "$uri" "$work/back"
    cmp "$work/data" "$work/back" || fail "what was written back is damaged ($1)"
    [ "$(back written)" -gt 100 ] || fail "nothing was written back ($1)"
    within_limit $((8 * mib))
}

well() { # NAME PARAMETERS...
    local name=$1
    shift
    disk writeback-timeout=30 "$@"
    nbdcopy "$work/data" "$uri"
    copied "$name"
    nbdcopy "$work/data" "$uri" # over what is away
    copied "$name, again"
    state_is well || fail "$name: the state is $(back text)"
    cli stat | grep -q "blocks in .* written so far" || fail "not said: $(cli stat)"
    disk_stop
    say "ok: $name"
}

well "a file" writeback="$work/file"
[ ! -e "$work/file" ] || fail "the file is left behind"
target_start memory 64M
well "a server" writeback="$turi"
target_kill

# Killed in mid-write, and there again with what it had.
truncate -s 64M "$work/disk"
target_start file "$work/disk"
disk writeback="$turi" writeback-timeout=30
nbdcopy "$work/data" "$uri" &
copy=$!
children+=("$copy")
some_written() { [ "$(back written)" -gt 500 ]; }
wait_for 60 some_written || fail "nothing is written: $(cli stat)"
target_kill
wait_for 20 state_is disconnected || fail "nobody noticed: $(back text)"
wait_for 20 grep -q 'write-back is disconnected' "$work/log" || fail "nobody says so"
target_start file "$work/disk"
wait "$copy" || fail "the copy failed"
copied "killed and there again"
disk_stop
target_kill
say "ok: killed in mid-write"

# Killed, and there again with nothing: errors where it had a block, no wrong data.
target_start memory 64M
disk writeback="$turi" writeback-timeout=5
nbdcopy "$work/data" "$uri"
wait_for 20 settled || fail "writing does not end: $(cli stat)"
target_kill
wait_for 20 unchanged || fail "blocks go where nobody is"
away=$(back blocks)
[ "$away" -gt 1000 ] || fail "only $away blocks are away"
target_start memory 64M
wait_for 20 connected || fail "no new connection: $(back text)"
read -r right zero other error < <(blocks "$work/data")
[ $((other + zero)) -eq 0 ] || fail "$other blocks with other data, $zero of zeroes"
[ "$error" -eq "$away" ] || fail "$error errors, but $away blocks were away"
[ "$right" -eq $((nblocks - error)) ] || fail "$right blocks are right"
[ "$(back lost)" -eq "$error" ] || fail "$(back lost) are said to be lost, not $error"
nbdcopy "$work/data" "$uri" # everything can be written anew
copied "after the loss"
disk_stop
say "ok: a target that lost everything"

# Stopped: what is here is here; the rest comes with the target.
disk writeback="$turi" writeback-timeout=5
nbdcopy "$work/data" "$uri"
wait_for 20 settled || fail "writing does not end: $(cli stat)"
kill -STOP "$tpid"
wait_for 20 unchanged || fail "blocks go where nobody answers"
away=$(back blocks)
read -r right zero other error < <(blocks "$work/data")
[ $((other + zero)) -eq 0 ] || fail "$other blocks with other data, $zero of zeroes"
[ "$right" -gt 100 ] || fail "only $right blocks are right"
[ "$error" -eq "$away" ] || fail "$error errors, but $away blocks are away"
state_is stalled || fail "the state is $(back text)"
wait_for 20 grep -q 'write-back is stalled' "$work/log" || fail "nobody says so"
kill -CONT "$tpid"
awake() { read -r right zero other error < <(blocks "$work/data") && [ "$error" -eq 0 ]; }
wait_for 60 awake || fail "$error errors though it goes on"
copied "stopped for a while"
disk_stop
target_kill
say "ok: stopped"

# Slow beyond all patience: writes find no room, nothing is lost.
target_start --filter=delay memory 64M wdelay=60
disk writeback="$turi" writeback-timeout=1
if nbdcopy "$work/data" "$uri" 2>"$work/error"; then fail "there was room for all"; fi
grep -qi 'no space left' "$work/error" || fail "not ENOSPC: $(cat "$work/error")"
read -r right zero other error < <(blocks "$work/data")
[ $((other + error)) -eq 0 ] || fail "$other blocks with other data, $error errors"
[ "$right" -gt 1000 ] || fail "only $right blocks are there"
[ "$(back written)" -eq 0 ] || fail "something left memory"
disk_stop
target_kill
say "ok: slow"

# Half of its writes fail, and some reads.
target_start --filter=error memory 64M error-pwrite-rate=50% error-pread-rate=0.1%
disk writeback="$turi" writeback-timeout=60
nbdcopy "$work/data" "$uri"
[ "$(back failed_writes)" -gt 100 ] || fail "no write has failed"
copied "failing"
[ "$(back failed_reads)" -eq 0 ] || fail "reads were not tried again"
disk_stop
target_kill
say "ok: failing"

# No more than 4 MiB.
target_start memory 4M
disk writeback="$turi" writeback-timeout=30
if nbdcopy "$work/data" "$uri" 2>"$work/error"; then fail "there was room for all"; fi
grep -qi 'no space left' "$work/error" || fail "not ENOSPC: $(cat "$work/error")"
state_is full || fail "the state is $(back text)"
read -r right zero other error < <(blocks "$work/data")
[ $((other + error)) -eq 0 ] || fail "$other blocks with other data, $error errors"
[ "$right" -gt 2000 ] || fail "only $right blocks are there"
disk_stop
target_kill
say "ok: full"

# What cannot be had is refused at the start.
refused() { # TEXT PARAMETERS...
    local text=$1
    shift
    if nbdkit -f -U "$sock" "$KLOTSKI_PLUGIN" size=32M "$@" --run true >"$work/out" 2>&1; then
        fail "taken: $*"
    fi
    grep -q -- "$text" "$work/out" || fail "$*: $(cat "$work/out")"
}
echo mine >"$work/mine"
refused 'not ours' writeback="$work/mine"
[ "$(cat "$work/mine")" = mine ] || fail "a file was overwritten"
refused 'writeback=nbd+unix' writeback="$turi"
refused 'without writeback=' writeback-age=5
refused 'out of range' writeback=x writeback-share=101
refused 'three times idle' writeback=x idle=1 writeback-age=4
refused 'unknown parameter' writeback-colour=green

# As a user has it: four times as much as the limit, and real data.
real_files $((256 * mib)) "$work/data"
target_start memory 320M
"$KLOTSKI_CLI" disk --name t --size 256M --limit 64M --compress lz4 --backing memfd \
    --writeback "$turi" --writeback-rate 1G >"$work/out" || fail "no disk: $(cat "$work/out")"
most=0
nbdcopy "$work/data" "$uri" &
copy=$!
children+=("$copy")
while kill -0 "$copy" 2>/dev/null; do
    now=$(cli stat --get store.frame_bytes)
    most=$((now > most ? now : most))
    sleep 0.2
done
wait "$copy" || fail "the copy failed"
[ "$most" -le $((64 * mib)) ] || fail "$most bytes of frames at a time"
[ "$(cli stat --get store.peak_frame_bytes)" -le $((64 * mib)) ] || fail "the peak is above"
nbdcopy "$uri" "$work/back"
cmp "$work/data" "$work/back" || fail "256 MiB came back damaged"
within_limit $((64 * mib))
[ "$(back blocks)" -gt 10000 ] || fail "only $(back blocks) blocks are away"
say "256 MiB: $((most / mib)) MiB of frames at most, $(back blocks) blocks away"
"$KLOTSKI_CLI" stop t >/dev/null
target_kill
say "ok: klotski disk --writeback"
