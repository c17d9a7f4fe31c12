#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Idle blocks are recompressed by themselves, equal ones share their memory, and
# writes of whole blocks read nothing.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need nbdcopy qemu-io cmp
need_cli
mib=$((1 << 20))
real_files $((8 * mib)) "$work/files"

store() { cli stat --get "store.$1"; }
recompressed() { [ "$(store recompressions)" -ge "$1" ] && [ "$(store ticks)" -ge 4 ]; }
back() {
    nbdcopy "$uri" "$work/back"
    same "$work/files" "$work/back" "$1"
}

for more in auto-compact=true auto-compact=false; do
    disk_start size=8M backing=memfd compress=lz4 recompress=zstd:9 idle=1 $more
    nbdcopy "$work/files" "$uri"
    [ "$(store partial_writes)" -eq 0 ] || fail "whole blocks were read before they were written"
    before=$(store payload_bytes)
    wait_for 60 recompressed 200 || fail "idle blocks are not recompressed: $(cli stat)"
    [ "$(store payload_bytes)" -lt "$before" ] || fail "nothing was saved"
    [ "$(store recompressed_blocks)" -gt 0 ] || fail "no block is kept by the second compressor"
    cli stat | grep -q 'zstd level 9, after 1 s idle' || fail "not said: $(cli stat)"
    back "recompressed blocks are damaged ($more)"
    qemu-io -f raw "$uri" -c "write -P 7 4k 4k" >/dev/null
    [ "$(store partial_writes)" -eq 0 ] || fail "a whole block was read before it was written"
    qemu-io -f raw "$uri" -c "write -P 7 8704 512" >/dev/null
    [ "$(store partial_writes)" -eq 1 ] || fail "half a block is not a partial write"
    disk_stop
    say "ok: recompression, $more"
done

# The same 4 MiB twice.
head -c $((4 * mib)) "$work/files" >"$work/half"
cat "$work/half" "$work/half" >"$work/files"
disk_start size=8M backing=memfd dedup=true
nbdcopy "$work/half" "$uri"
before=$(store payload_bytes)
nbdcopy "$work/files" "$uri"
[ "$(store shared)" -gt 1000 ] || fail "equal blocks do not share: $(cli stat)"
[ "$(store payload_bytes)" -lt $((before * 11 / 10)) ] || fail "a copy takes its room again"
[ "$(store peak_frame_bytes)" -ge "$(store frame_bytes)" ] || fail "the peak is no peak"
cli stat | grep -q 'blocks share' || fail "not said: $(cli stat)"
back "shared blocks are damaged"
disk_stop
say "ok: duplicates"
