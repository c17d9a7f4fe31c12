#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# zs.sh - the object allocator beside jemalloc and mimalloc.
#
# What it models: a compressed cache: objects of the sizes that lz4 makes of pages of
# 4 KiB (tools/corpus.py).  The peers are Debian's, preloaded under malloc.
#
#   malloc_free_vs_jemalloc_1, _2  128 MiB live; a random object is freed, another one of
#       a random size allocated; by one thread, and by two on CPUs of their own.  Time of
#       a pair (CPU time of one thread, the clock's of two); only the allocation, nobody
#       touches the contents
#   bytes_vs_jemalloc, _mimalloc  after a phase change: 128 MiB of small objects, a random
#       7/8 freed, as many bytes live again with large objects.  All that is resident,
#       metadata included, after what the library does by itself until it was quiet for a
#       second; jemalloc's and mimalloc's after 10.5 s (their usual decay) and a call of
#       their own that gives back what is unused
#   bytes_compacted_vs_*  the same after compaction that was asked for
#
# Ours over the peer's, less is better.  Both take turns; medians of REPEAT (5).  Also:
# CORPUS_MIB (64), LIVE_MIB (128), PEER_QUIET_MS (10500), CORPUS_DIR as in density.sh.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/corpus.sh
. "$here/../tools/corpus.sh"
bench=$build/tools/zsbench
REPEAT=${REPEAT:-5}
LIVE_MIB=${LIVE_MIB:-128}

library() {
    local path
    path=$(ldconfig -p | sed -n "s/.*lib$1\.so\.2 .* => //p" | head -n 1)
    [ -n "$path" ] || {
        echo "zs.sh: no lib$1.so.2 (package $2)" >&2
        exit 1
    }
    echo "$path"
}
jemalloc=$(library jemalloc libjemalloc2) || exit 1
# shellcheck disable=SC2034
mimalloc=$(library mimalloc libmimalloc2.0) || exit 1

divide() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", a / b }'
}

corpus mix "${CORPUS_MIB:-64}"
ratios=()
for threads in 1 2; do
    ours=() theirs=()
    for ((i = 0; i < REPEAT; i++)); do
        ours+=("$("$bench" speed klotski $threads "$corpus" "$LIVE_MIB")") || exit 1
        theirs+=("$(LD_PRELOAD=$jemalloc "$bench" speed malloc $threads "$corpus" "$LIVE_MIB")") ||
            exit 1
    done
    echo "free and malloc, $threads at a time, ns a pair: ours ${ours[*]}, jemalloc ${theirs[*]}"
    ratios+=("malloc_free_vs_jemalloc_$threads $(divide "$(printf '%s\n' "${ours[@]}" | median)" \
        "$(printf '%s\n' "${theirs[@]}" | median)")")
done

for way in up down; do
    read -r quiet compacted live <<<"$("$bench" bytes klotski $way "$corpus" "$LIVE_MIB")"
    [ -n "$live" ] || exit 1
    echo "bytes, sizes go $way: live $live, ours $quiet, compacted $compacted"
    for peer in jemalloc mimalloc; do
        read -r bytes _ <<<"$(QUIET_MS=${PEER_QUIET_MS:-10500} LD_PRELOAD=${!peer} \
            "$bench" bytes malloc $way "$corpus" "$LIVE_MIB")"
        [ -n "$bytes" ] || exit 1
        echo "  $peer $bytes: $(divide "$quiet" "$bytes"), compacted $(divide "$compacted" "$bytes")"
        [ $way = up ] || continue
        ratios+=("bytes_vs_$peer $(divide "$quiet" "$bytes")"
            "bytes_compacted_vs_$peer $(divide "$compacted" "$bytes")")
    done
done
printf 'RATIO zs.%s\n' "${ratios[@]}"
