#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# qemu's NBD client: convert there and back, compare, map, patterns, discards.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io tar
mib=$((1 << 20))

io() {
    local out
    out=$(qemu-io -f raw "$uri" "$@" 2>&1) || fail "qemu-io $*: $out"
    if grep -qiE 'fail|error' <<<"$out"; then fail "qemu-io $*: $out"; fi
}

real_files $((24 * mib)) "$work/files"
noise 16384 "$work/noise" # so that the hole begins there
dd if="$work/noise" of="$work/files" bs=16K seek=$((24 * mib / 16384 - 1)) conv=notrunc status=none
truncate -s $((32 * mib)) "$work/files" # with a hole at its end
disk_start size=$((32 * mib)) backing=memfd block=16K

qemu-img convert -f raw -O qcow2 "$work/files" "$work/image"
qemu-img convert -n -f qcow2 -O raw "$work/image" "$uri"
qemu-img compare -f raw -F raw "$work/files" "$uri" || fail "compare: the disk differs from the file"
qemu-img compare -f qcow2 -F raw "$work/image" "$uri" || fail "compare: it differs from the image"
qemu-img convert -f raw -O qcow2 "$uri" "$work/again"
qemu-img compare -f qcow2 -F raw "$work/again" "$work/files" || fail "it did not come back"
qemu-img map -f raw --output=json "$uri" |
    grep -E "\"start\": 25165824, \"length\": 8388608,.*\"zero\": true, \"data\": false" >/dev/null ||
    fail "the hole at the end is none: $(qemu-img map -f raw --output=json "$uri" | tail -2)"

# Odd offsets and lengths, across blocks.
io -c "write -P 0xa5 1000 100000" -c "read -P 0xa5 1000 100000"
io -c "write -z 16000 40000" -c "read -P 0 16000 40000" -c "read -P 0xa5 1000 15000" \
    -c "read -P 0xa5 56000 45000"
io -c "write -zu 1M 1M" -c "read -P 0 1M 1M"
io -c "write -f -P 7 2M 64k" -c "discard 2M 64k" -c "read -P 0 2M 64k" -c "flush"
if qemu-img compare -f raw -F raw "$work/files" "$uri" >/dev/null; then
    fail "compare sees no difference where there is one"
fi
disk_stop
