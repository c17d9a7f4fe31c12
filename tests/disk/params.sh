#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Parameters out of range: each one a clear error that names it, a status that
# is not 0, and nothing left behind.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need nbdinfo

# In the foreground, so that the status is the server's own.
refused() { # REGEX PARAMETERS...
    local regex=$1 status=0
    shift
    rm -f "$work/refused.nbd"
    timeout 20 nbdkit -f -U "$work/refused.nbd" "$KLOTSKI_PLUGIN" "$@" >"$work/log" 2>&1 ||
        status=$?
    [ $status -ne 0 ] || fail "accepted: $*"
    [ $status -ne 124 ] || fail "accepted: $*"
    [ $status -lt 124 ] || fail "ended by a signal ($status): $*"
    grep -qE "error: .*($regex)" "$work/log" || fail "$*: the error does not say '$regex'"
    [ ! -e "$control" ] || fail "$*: a control socket is left behind"
    count=$((count + 1))
}

accepted() {
    # shellcheck disable=SC2016 # nbdkit sets $uri
    timeout 20 nbdkit -U - "$KLOTSKI_PLUGIN" "$@" --run 'nbdinfo --size "$uri"' \
        >"$work/log" 2>&1 || fail "refused: $*"
    count=$((count + 1))
}

count=0
refused 'size' memory=64M
refused 'size=0' size=0
refused 'size|parse' size=-1
refused 'size|parse' size=12Q
refused 'size|parse' size=
refused 'size is too large' size=2E memory=64M
refused 'larger than a zone' size=32T block=64K block=64K
refused 'memory=1M' size=64M memory=1M
refused 'memory=0' size=64M memory=0
refused 'memory=17T' size=64M memory=17T
refused 'memory|parse' size=64M memory=x
refused 'block=2K' size=64M block=2K
refused 'block=128K' size=64M block=128K
refused 'block=5000' size=64M block=5000
refused 'block=0' size=64M block=0
refused 'backing=disk' size=64M backing=disk
refused 'backing=' size=64M backing=
refused 'numa=4000: there is no such node|numa: .*without libnuma' size=64M numa=4000
refused 'numa' size=64M numa=x
refused 'numa' size=64M numa=-1
refused 'compress=gzip' size=64M compress=gzip
refused 'compress=' size=64M compress=
refused 'compress=zstd:99' size=64M compress=zstd:99
refused 'compress' size=64M compress=zstd:
refused 'compress' size=64M compress=zstd:x
refused 'compress=lz4:-1' size=64M compress=lz4:-1
refused 'compress=lz4:0' size=64M compress=lz4:0
refused 'compress=zstd:0' size=64M compress=zstd:0
refused 'compress=a-very-long-name' size=64M compress=a-very-long-name
refused 'recompress=gzip' size=64M recompress=gzip
refused 'recompress=zstd:99' size=64M recompress=zstd:99
refused 'recompress' size=64M recompress=zstd:x
refused 'idle=0' size=64M idle=0
refused 'idle=1000001' size=64M idle=1000001
refused 'idle' size=64M idle=soon
refused 'bool|dedup|decipher' size=64M dedup=perhaps
refused 'limit=1K' size=64M limit=1K
refused 'limit is larger' size=64M limit=65M
refused 'limit is larger' size=64M memory=32M limit=33M
refused 'bool|auto-compact|decipher' size=64M auto-compact=perhaps
refused 'bool|populate|decipher' size=64M populate=2
refused 'pressure=often.*auto, psi, cgroup, poll, off' size=64M pressure=often
refused "unknown parameter 'colour'" size=64M colour=red
refused 'control' size=64M control=/nonexistent/t.ctl
refused 'too long' size=64M control="/tmp/$(printf 'x%.0s' {1..120})"
touch "$work/file"
refused 'no socket' size=64M control="$work/file"
[ -f "$work/file" ] || fail "a file that is no socket was unlinked"

# More huge pages than there are, asked for in both ways.
if [ -r $pool/free_hugepages ]; then
    many=$((($(huge_free) + 64) * 2))M
    refused 'huge pages' size=$many backing=hugetlb populate=true
    accepted size=$many backing=auto
fi

# Huge pages of 1 GiB where there are none, and a node that is there.
pool_1g=/sys/kernel/mm/hugepages/hugepages-1048576kB
if [ "$(cat $pool_1g/free_hugepages 2>/dev/null || echo 0)" = 0 ]; then
    refused 'backing=hugetlb-1g: .*(no pool of 1 GiB|0 huge pages of 1 GiB)' size=64M \
        backing=hugetlb-1g
fi
if ldd "$KLOTSKI_PLUGIN" | grep libnuma >/dev/null && [ -d /sys/devices/system/node/node0 ]; then
    accepted size=64M numa=0
    refused 'of 2 MiB are free on that node' size=2G backing=hugetlb populate=true numa=0 \
        memory="$((($(huge_free) + 64) * 2))M"
fi

# More ordinary memory than any machine has: refused at once, by the process that
# was started, and nothing is taken.
refused 'populate=true: .*MemAvailable' size=16T block=64K memory=16T backing=memfd populate=true \
    control="$control"
status=0
timeout 20 nbdkit -U "$work/refused.nbd" -P "$work/refused.pid" "$KLOTSKI_PLUGIN" size=16T \
    block=64K memory=16T backing=memfd populate=true 2>"$work/log" || status=$?
[ $status -eq 1 ] || fail "whoever starts a disk that is too large is told $status"
[ ! -e "$work/refused.pid" ] || fail "a disk that is too large goes to the background"

for good in size=1 size=511 size=64M 64M; do
    accepted $good backing=memfd
done
accepted size=1T memory=2M block=64K compress=zstd:19 limit=4K auto-compact=off
accepted size=10M compress=zstd:-7 backing=memfd populate=true control="$control"
accepted size=10M compress=lz4:1 backing=memfd
accepted size=10M backing=memfd pressure=poll auto-compact=false
accepted size=10M backing=memfd pressure=off
accepted size=10M compress=lz4 recompress=zstd:9 idle=5 dedup=true auto-compact=false backing=memfd
unlinked() { [ ! -e "$control" ]; }
wait_for 20 unlinked || fail "the control socket is left behind"

# A server that answers on the control socket keeps it.
disk_start size=4M
status=0
timeout 20 nbdkit -f -U "$work/second.nbd" "$KLOTSKI_PLUGIN" 4M control="$control" \
    2>"$work/second" || status=$?
if [ $status -eq 0 ] || [ $status -ge 124 ]; then fail "two servers on one socket ($status)"; fi
grep -q 'using this socket' "$work/second" || fail "not clear: $(cat "$work/second")"
[ -S "$control" ] || fail "the first server's socket was unlinked"
disk_stop
say "ok: $count sets of parameters"
