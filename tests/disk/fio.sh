#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# fio over four connections, a region each: random writes of mixed sizes, read
# back and checked; then reads, writes and trims mixed, while the worker compacts.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need fio
fio --enghelp 2>/dev/null | grep -qw nbd || skip "this fio has no nbd engine"

job() {
    fio --name="$1" --ioengine=nbd --uri="$uri" --numjobs=4 --size=12M --offset_increment=12M \
        --iodepth=16 --refill_buffers --buffer_compress_percentage=60 --group_reporting \
        --randrepeat=0 --output="$work/fio" "${@:2}" || fail "$1: $(cat "$work/fio")"
    grep -q 'err= 0' "$work/fio" || fail "$1: $(cat "$work/fio")"
    say "ok: $*"
}

verified() { # PARAMETERS...
    disk_start size=48M "$@"
    job write --rw=randwrite --bsrange=512-64k --bs_unaligned --verify=crc32c --loops=2
    job again --rw=randrw --bs=4k --verify=crc32c --do_verify=1
    job trims --rw=randtrimwrite --bs=16k
    job after --rw=write --bs=64k --verify=crc32c
    disk_stop
    if grep -qiE 'error|assert|broken' "$work/log"; then fail "see the log"; fi
}

verified backing=memfd memory=64M
verified backing=memfd memory=64M block=32K compress=lz4
if huge_reserve 32; then
    free=$(huge_free)
    verified backing=hugetlb memory=64M
    [ "$(huge_free)" = "$free" ] || fail "huge pages are not all back"
else
    say "skipped: huge pages can't be reserved here"
fi
