#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# store.sh - how fast a store is: beside lz4 alone, and beside the kernel's zram.
#
# What it models: random blocks of 4 KiB of real data (tools/corpus.py, without pages of
# one word), read and overwritten in the same process.
#
#   read_vs_lz4, write_vs_lz4   speed over that of LZ4_decompress_safe and
#       LZ4_compress_fast (one state for all) on the same pages in the same order
#   read_vs_zram, write_vs_zram the same over pread and pwrite of /dev/zram0 (lz4, O_DIRECT,
#       same data, same order), where it may be used and is idle
#   read_two_threads            blocks a second by two threads, each on a CPU of its own,
#       over one thread (that of lz4 alone is beside it: what two threads can do here)
#
# More is better.  Time is CPU time of the thread, but for two threads that of the clock.
# Everybody takes turns, 4096 blocks at a time: the medians of the quotients of ROUNDS
# (100) turns.  CORPUS_MIB (256), CORPUS_DIR as in density.sh.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/corpus.sh
. "$here/../tools/corpus.sh"

corpus mix "${CORPUS_MIB:-256}"
"$build/tools/storebench" "$corpus" "${ROUNDS:-100}" >"$work/out" || exit 1
read -r _ read lz4_read zram_read one two one_lz4 two_lz4 write lz4_write zram_write \
    <<<"$(grep '^FIGURES' "$work/out")"
read -r _ q_read q_zram_read q_two q_two_lz4 q_write q_zram_write <<<"$(grep '^QUOTIENTS' "$work/out")"
grep '^no zram' "$work/out"
echo "ns a block read: store $read, lz4 $lz4_read, zram $zram_read"
echo "by the clock: store $one, by two threads $two; lz4 $one_lz4, by two $two_lz4 ($q_two_lz4 times)"
echo "ns a block written: store $write, lz4 $lz4_write, zram $zram_write"
echo "RATIO store.read_vs_lz4 $q_read"
echo "RATIO store.write_vs_lz4 $q_write"
if [ "$zram_read" != 0 ]; then
    echo "RATIO store.read_vs_zram $q_zram_read"
    echo "RATIO store.write_vs_zram $q_zram_write"
fi
echo "RATIO store.read_two_threads $q_two"
