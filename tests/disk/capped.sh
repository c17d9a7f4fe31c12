#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In a memory cgroup that has no room for what is taken: taking back works, because the
# zone's own pages move out of the way first; without migration it fails and nothing has
# changed.  The cgroup's charge says so.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR
. "$here/cgroup.sh"
need nbdcopy qemu-io cmp perl
need_cli
mib=$((1 << 20))
want=$((32 * mib))
slack=$((3 * mib)) # what the disk's own data may change by

# As full as it gets, and then holes all over it.
load() {
    perl -e 'open my $r, "<:raw", "/dev/urandom"; binmode STDOUT;
        for (1 .. 180 * 256) { read $r, my $b, 2048; print $b, "\0" x 2048 }' >"$work/halves"
    nbdcopy --connections=1 --requests=1 "$work/halves" "$uri"
    local commands=() at
    for ((at = 0; at < 180; at += 1)); do
        commands+=(-c "discard ${at}M 640k")
    done
    qemu-io -f raw "$uri" "${commands[@]}" >/dev/null
    nbdcopy "$uri" "$work/before"
}

intact() {
    nbdcopy "$uri" "$work/after"
    cmp "$work/before" "$work/after" || fail "$1: the data has changed"
}

group_make $((256 * mib))
group_disk size=208M memory=96M backing=memfd compress=lz4 populate=true auto-compact=false
load
charge=$(group_charge_at_rest)
group_limit $((charge + want / 2))
[ "$charge" -ge $((96 * mib)) ] || fail "only $charge bytes are charged for a zone of 96 MiB"
[ "$(cli stat --get zone.free_blocks)" -lt 4 ] || fail "too much is free as a whole: $(cli stat)"
say "$((charge / mib)) MiB are charged, $((want / 2 / mib)) more may be, $((want / mib)) are taken"

# Control: nothing may move.
cli migration off >/dev/null
if cli take 32M >"$work/out" 2>&1; then fail "taken without migration"; fi
grep -q EBUSY "$work/out" || fail "not EBUSY: $(cat "$work/out")"
[ "$(zone_figure given_blocks)" = 0 ] || fail "a failed take has taken something"
group_near "$charge" $slack "after a take that failed"
alive "$disk_pid" || fail "the disk was killed"
intact "a take that failed"

cli migration on >/dev/null
cli take 32M >"$work/out" 2>&1 || fail "32 MiB can't be taken: $(cat "$work/out")"
[ "$(zone_figure given_blocks)" = 16 ] || fail "the zone has not given 16 blocks"
[ "$(cli stat --get system.resident_bytes)" = $((64 * mib)) ] || fail "the zone's file holds more than 64 MiB"
[ "$(zone_figure migrated)" -gt 0 ] || fail "nothing had to move: this has shown nothing"
group_near $((charge - want)) $slack "after a take"
say "$(($(group_charge) / mib)) MiB are charged with 32 MiB taken"
intact "taken"
cli give --all >/dev/null

# For a command: its memory is fresh, and charged; so the blocks went back first.
# shellcheck disable=SC2016
seen=$(cli take 32M -- sh -c 'stat -L -c "%b %B" /proc/self/fd/$KLOTSKI_FD; cat "$0"' \
    "$group/memory.$([ "$group_v" = 1 ] && echo usage_in_bytes || echo current)")
say "a command has 32 MiB: $(echo "$seen" | tr '\n' ' ')"
[ "$(echo "$seen" | head -n 1)" = "$((want / 512)) 512" ] || fail "the command's memory is: $seen"
[ "$(echo "$seen" | tail -n 1)" -le $((charge + want / 2)) ] || fail "more is charged than the limit"
[ "$(zone_figure given_blocks)" = 0 ] || fail "the lease outlives its command"
alive "$disk_pid" || fail "the disk was killed"
intact "taken for a command"
disk_stop
say "ok: cgroup v$group_v"
