#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A disk with an area: memory is taken from there, again and again, while nbdcopy writes; what
# follows closely is found as it was; the system's figures agree; too much is taken from
# anywhere, as without an area.  In a cgroup its charge says the same.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR
. "$here/cgroup.sh"
need nbdcopy cmp perl
need_cli
mib=$((1 << 20))
want=$((32 * mib))

# area NAME: one of the figures of the area, which come after "areas".
area() {
    local text
    text=$(cli stat --json) || fail "no statistics"
    text=${text#*\"areas\"}
    [[ $text =~ \"$1\":\ *([0-9]+) ]] || fail "no figure $1"
    echo "${BASH_REMATCH[1]}"
}

resident() {
    [ "$(cli stat --get system.resident_bytes)" -le $(($1 * mib)) ] ||
        fail "$2: the zone's file holds $(cli stat --get system.resident_bytes) bytes, not $1 MiB"
}

# Blocks that halve; about 72 MiB of 128.
data() {
    perl -e 'open my $r, "<:raw", "/dev/urandom"; binmode STDOUT;
        for (1 .. 144 * 256) { read $r, my $b, 2048; print $b, "\0" x 2048 }' >"$1"
}

copy() { nbdcopy "$1" "$uri"; }

holds() {
    nbdcopy "$uri" "$work/back"
    cmp -n $((144 * mib)) "$1" "$work/back" || fail "$2: the data is wrong"
}

copies() {
    until [ -e "$work/enough" ]; do
        copy "$work/a"
        copy "$work/b"
    done
}

# 32 MiB again and again, while nbdcopy writes.
take_under_load() {
    local rounds=0 from_area=0 writer
    rm -f "$work/enough"
    copies 8<&- &
    writer=$!
    children+=("$writer")
    while [ $rounds -lt 8 ]; do
        cli take 32M --json >"$work/taken" || fail "round $rounds: $(cat "$work/taken")"
        rounds=$((rounds + 1))
        if grep -q '"from": *"area"' "$work/taken"; then
            from_area=$((from_area + 1))
            [ "$(area given_frames)" = $((want / 4096)) ] || fail "the area has not given 32 MiB"
        fi
        [ "$(zone_figure given_blocks)" = 16 ] || fail "the zone has not given 16 blocks"
        resident 96 "round $rounds"
        cli give --all >/dev/null || fail "cannot give"
        [ "$(zone_figure given_blocks)" = 0 ] || fail "not all is given again"
        [ "$(area given_frames)" = 0 ] || fail "the area still lacks memory"
    done
    alive "$writer" || fail "nbdcopy has ended before"
    touch "$work/enough"
    wait "$writer" || fail "nbdcopy failed"
    say "$rounds rounds, $from_area from the area, $(area exact) as kept, $(area partial) of a larger" \
        "one, $(area migrated) frames moved"
    [ "$(area migrated)" -gt 0 ] || fail "nothing had to move: this has shown nothing"
    [ $from_area -gt 0 ] || fail "nothing came from the area"
    [ $(($(area exact) + $(area partial))) -gt 0 ] || fail "no kept range was taken again"
}

too_much_for_the_area() {
    cli take 64M --json >"$work/first" || fail "not the whole area: $(cat "$work/first")"
    cli take 2M --json >"$work/second" || fail "no block beside the area: $(cat "$work/second")"
    grep -q '"from": *"area"' "$work/first" || fail "not from the area: $(cat "$work/first")"
    grep -q '"from": *"zone"' "$work/second" || fail "not from the zone: $(cat "$work/second")"
    cli map --ascii >"$work/map"
    grep -q '=' "$work/map" || fail "the map does not show what is taken: $(cat "$work/map")"
    grep -q 'area: blocks 32 to 63, 32 of them taken' "$work/map" ||
        fail "the map does not show the area: $(cat "$work/map")"
    cli map --svg "$work/map.svg" >/dev/null 2>&1
    grep -q 'class="r"' "$work/map.svg" || fail "the picture does not show the area"
    cli give --all >/dev/null
}

for_a_command() {
    local seen
    # shellcheck disable=SC2016
    seen=$(cli take 32M -- sh -c 'stat -L -c "%b %B" /proc/self/fd/$KLOTSKI_FD')
    [ "$seen" = "$((want / 512)) 512" ] || fail "the command's memory is: $seen"
    [ "$(zone_figure given_blocks)" = 0 ] || fail "the lease outlives its command"
    [ "$(area given_frames)" = 0 ] || fail "the area lacks memory"
}

# The pool of huge pages is empty when the memory shall come back: nothing is lost, the disk
# says so, and has it when there are some again.
no_huge_pages() {
    local total
    disk_start size=208M memory=128M cma=64M backing=hugetlb compress=lz4 populate=true
    copy "$work/a"
    cli take 32M >/dev/null
    total=$(huge_total)
    echo $((total - 16)) >/proc/sys/vm/nr_hugepages
    if [ "$(huge_free)" -ge 16 ]; then
        echo "$total" >/proc/sys/vm/nr_hugepages
        skip "there are huge pages of somebody else's"
    fi
    cli give --all >"$work/out"
    grep -q 'no memory for' "$work/out" || fail "not said: $(cat "$work/out")"
    [ "$(cli stat --get owed_bytes)" = $want ] || fail "not owed: $(cli stat --get owed_bytes)"
    cli stat >"$work/out"
    grep -q 'has no memory for it' "$work/out" || fail "stat does not say so: $(cat "$work/out")"
    holds "$work/a" "owed"
    echo "$total" >/proc/sys/vm/nr_hugepages
    if [ "$(huge_total)" -lt "$total" ]; then
        say "skipped: the huge pages that it had are not to be had again"
        disk_stop
        return
    fi
    wait_for 20 settled || fail "not tried again: $(cli stat)"
    [ "$(area given_frames)" = 0 ] || fail "the area lacks memory"
    cli take 32M --json >"$work/taken" || fail "not again: $(cat "$work/taken")"
    grep -q '"from": *"area"' "$work/taken" || fail "not from the area: $(cat "$work/taken")"
    cli give --all >/dev/null
    holds "$work/a" "got again"
    disk_stop
    say "ok: no huge pages"
}

settled() { [ "$(cli stat --get owed_bytes)" = 0 ]; }

# There is room for half of it beside the disk.
capped() {
    local charge file=memory.current seen slack=$((4 * mib))
    group_make $((384 * mib))
    [ "$group_v" = 2 ] || file=memory.usage_in_bytes
    group_disk size=208M memory=128M cma=64M backing=memfd compress=lz4 populate=true
    copy "$work/a"
    charge=$(group_charge_at_rest)
    group_limit $((charge + want / 2))
    cli take 32M --json >"$work/taken" || fail "capped: $(cat "$work/taken")"
    grep -q '"from": *"area"' "$work/taken" || fail "not from the area: $(cat "$work/taken")"
    group_near $((charge - want)) $slack "with 32 MiB taken"
    cli give --all >/dev/null
    group_near "$charge" $slack "given again"
    # shellcheck disable=SC2016
    seen=$(cli take 32M -- sh -c 'stat -L -c "%b %B" /proc/self/fd/$KLOTSKI_FD; cat "$0"' "$group/$file")
    [ "$(echo "$seen" | head -n 1)" = "$((want / 512)) 512" ] || fail "the command's memory is: $seen"
    [ "$(echo "$seen" | tail -n 1)" -le $((charge + want / 2)) ] || fail "over the limit: $seen"
    group_near "$charge" $slack "after a command"
    alive "$disk_pid" || fail "the disk was killed"
    holds "$work/a" "capped"
    disk_stop
    say "ok: capped, cgroup v$group_v, $((charge / mib)) MiB charged"
}

bad() {
    local bad
    for bad in 128M 0 12x; do
        if nbdkit -f -U "$work/bad" "$KLOTSKI_PLUGIN" size=64M memory=128M cma=$bad \
            >"$work/out" 2>&1 8<&-; then fail "cma=$bad is taken"; fi
        grep -q cma "$work/out" || [ $bad = 12x ] || fail "cma=$bad: $(cat "$work/out")"
    done
}

run() {
    disk_start size=208M memory=128M cma=64M backing="$1" compress=lz4 populate=true
    copy "$work/a"
    take_under_load
    holds "$work/b" "taken under load"
    for_a_command
    copy "$work/a" # less is free
    cli take 32M >/dev/null
    holds "$work/a" "taken"
    cli give --all >/dev/null
    discard
    too_much_for_the_area
    disk_stop
    say "ok: $1"
}

discard() { nbdcopy --allocated -- "$work/zero" "$uri"; }

data "$work/a"
data "$work/b"
truncate -s 208M "$work/zero"
bad
run memfd
if huge_reserve 64; then
    run hugetlb
    no_huge_pages
else
    say "skipped: huge pages can't be reserved here"
fi
capped
