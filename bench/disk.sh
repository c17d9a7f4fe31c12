#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# disk.sh - the compressed RAM disk beside nbdkit's own, and taking memory from it.
#
# What it models, all on this machine's real files (the start of a tar of /usr):
#
#   churn, trim   A disk in use: CHURN_MIB (512) are loaded, all blocks of 32 KiB are
#                 overwritten several times with each other's contents (so that
#                 what has to be held stays the same), then a random half is
#                 trimmed.  Memory is what the system says of the whole server,
#                 over the ideal payload: the sum of the compressed blocks.  Peer:
#                 nbdkit memory allocator=zstd, whose pages are 32 KiB too.
#                 churn_4k and trim_4k: the same in blocks of 4 KiB, without a peer.
#   randread, randwrite _vs_nbdkit_sparse
#                 Random reads and writes of 4 KiB, 32 in flight, 4 connections: ours
#                 with lz4 and blocks of 4 KiB; peer nbdkit memory allocator=sparse,
#                 which does not compress.
#   randread, randwrite _vs_bound
#                 The same over what is possible for whoever compresses.  With c, the
#                 CPU time that a request costs the peer (server and client), and z,
#                 that of lz4 alone for a block of the same data (storebench lz4), on
#                 CPUs that are busy the bound is c / (c + z) of the peer's requests.
#   randwrite_vs_nbdkit_zstd
#                 Writes of 4 KiB: ours with zstd and blocks of 4 KiB; peer
#                 allocator=zstd, which must rewrite a page of 32 KiB.
#   randwrite_32k The same with writes of 32 KiB, and blocks of 32 KiB here.
#   take          A zone of 512 MiB that was filled and lost a random 40 %: the time
#                 to take 128 MiB over copying as many frames as had to move with
#                 memcpy, in random order, in this same run.
#
# Requests a second: ours over the peer's, more is better.  Memory and time: ours
# over the other, less is better.  Both sides take turns; medians of REPEAT runs.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/lab.sh
. "$here/../tools/lab.sh"
# shellcheck source=tools/lab_memory.sh
. "$here/../tools/lab_memory.sh"

REPEAT=${REPEAT:-3}
SECONDS_EACH=2
CHURN_MIB=${CHURN_MIB:-512}
CHURN_ROUNDS=4
SPEED_MIB=192
ZONE_MIB=512
TAKE_MIB=128

# Of the numbers on standard input, one a line.
median() {
    sort -g | awk '{ v[NR] = $1 } END {
        if (NR % 2) print v[(NR + 1) / 2]; else print (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# ratio NAME A B
ratio() {
    awk -v name="$1" -v a="$2" -v b="$3" 'BEGIN { printf "RATIO %s %.3f\n", name, a / b }'
}

# column FILE N: its median.
column() {
    cut -d' ' -f"$2" "$1" | median
}

# ---- memory -----------------------------------------------------------------

memory() {
    local i kind
    for ((i = 1; i <= REPEAT; i++)); do
        for kind in klotski zstd; do
            lab_churn "$kind" "$LAB/sample" "$CHURN_MIB" "$CHURN_ROUNDS" "$i"
            echo "memory, $kind, run $i: $(tail -n 1 "$LAB/$kind.mem") bytes" \
                "(loaded, overwritten, half trimmed); payload" \
                "$(tail -n 1 "$LAB/$kind.payload")"
        done
    done
    echo "($LAB_METER)"
    ratio disk.churn_over_payload "$(column "$LAB/klotski.mem" 2)" "$(column "$LAB/klotski.payload" 1)"
    ratio disk.trim_over_payload "$(column "$LAB/klotski.mem" 3)" "$(column "$LAB/klotski.payload" 2)"
    ratio disk.churn_vs_nbdkit_zstd "$(column "$LAB/klotski.mem" 2)" "$(column "$LAB/zstd.mem" 2)"
    ratio disk.trim_vs_nbdkit_zstd "$(column "$LAB/klotski.mem" 3)" "$(column "$LAB/zstd.mem" 3)"
}

# The same in blocks of 4 KiB.
memory_4k() {
    local i LAB_BLOCK=4K
    rm -f "$LAB/klotski.mem" "$LAB/klotski.payload"
    for ((i = 1; i <= REPEAT; i++)); do
        lab_churn klotski "$LAB/sample" "$CHURN_MIB" "$CHURN_ROUNDS" "$i"
        echo "memory in 4 KiB, run $i: $(tail -n 1 "$LAB/klotski.mem") bytes; payload" \
            "$(tail -n 1 "$LAB/klotski.payload")"
    done
    ratio disk.churn_4k_over_payload "$(column "$LAB/klotski.mem" 2)" \
        "$(column "$LAB/klotski.payload" 1)"
    ratio disk.trim_4k_over_payload "$(column "$LAB/klotski.mem" 3)" \
        "$(column "$LAB/klotski.payload" 2)"
}

# ---- requests a second ------------------------------------------------------

# CPU time so far, in ticks: of a server, and of what this shell has waited for.
ticks() {
    local server mine
    server=$(sed 's/.*) //' "/proc/${LAB_PIDS[$1]}/stat" | cut -d' ' -f12,13)
    mine=$(sed 's/.*) //' "/proc/$$/stat" | cut -d' ' -f14,15)
    echo $((${server/ /+} + ${mine/ /+}))
}

# iops NAME VERB BLOCK: appends requests a second to $LAB/NAME.iops, and ns of CPU time
# a request, server and client, to $LAB/NAME.cpu.
iops() {
    local before after
    before=$(ticks "$1")
    lab_run "$NBDWORK" "$2" "$(lab_uri "$1")" --from "$LAB/sample" --block "$3" \
        --bytes "${SPEED_MIB}M" --seconds "$SECONDS_EACH" --depth 32 --seed "$RANDOM" \
        >"$LAB/iops" || lab_die "$2 on $1 failed"
    after=$(ticks "$1")
    cut -d' ' -f2 "$LAB/iops" | tee -a "$LAB/$1.iops" |
        awk -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" -v seconds="$SECONDS_EACH" \
            '{ printf "%.0f\n", ticks / hz * 1e9 / ($1 * seconds) }' >>"$LAB/$1.cpu"
}

# compare NAME VERB BLOCK: servers "ours" and "peer" are up.
compare() {
    local name=$1 i side
    for side in ours peer; do
        lab_run "$NBDWORK" load "$(lab_uri "$side")" --from "$LAB/sample" --quiet \
            --bytes "${SPEED_MIB}M" --sums "$LAB/$side.sums" >/dev/null ||
            lab_die "cannot load $side"
    done
    rm -f "$LAB/ours.iops" "$LAB/peer.iops" "$LAB/ours.cpu" "$LAB/peer.cpu"
    for ((i = 1; i <= REPEAT; i++)); do
        for side in ours peer; do
            iops "$side" "$2" "$3"
        done
    done
    echo "$name, requests a second: ours $(xargs <"$LAB/ours.iops")," \
        "peer $(xargs <"$LAB/peer.iops")"
    ratio "disk.$name" "$(median <"$LAB/ours.iops")" "$(median <"$LAB/peer.iops")"
    lab_server_stop ours
    lab_server_stop peer
}

# bound NAME NS: what compare has just found, over the bound; NS is lz4's for a block.
bound() {
    echo "$1: CPU time a request: ours $(median <"$LAB/ours.cpu") ns," \
        "peer $(median <"$LAB/peer.cpu") ns, lz4 alone $2 ns"
    awk -v name="$1" -v ours="$(median <"$LAB/ours.iops")" -v peer="$(median <"$LAB/peer.iops")" \
        -v c="$(median <"$LAB/peer.cpu")" -v z="$2" \
        'BEGIN { printf "RATIO disk.%s %.3f\n", name, ours / peer / (c / (c + z)) }'
}

speed() {
    local unpack pack
    read -r unpack pack <<<"$("$LAB_BUILD/tools/storebench" lz4 "$LAB/sample")"
    [ -n "$pack" ] || lab_die "storebench failed"
    lab_server ours "$KLOTSKI_PLUGIN" size=1G backing=memfd block=4K compress=lz4
    lab_server peer memory 1G allocator=sparse
    compare randread_vs_nbdkit_sparse randread 4K
    bound randread_vs_bound "$unpack"
    lab_server ours "$KLOTSKI_PLUGIN" size=1G backing=memfd block=4K compress=lz4
    lab_server peer memory 1G allocator=sparse
    compare randwrite_vs_nbdkit_sparse randwrite 4K
    bound randwrite_vs_bound "$pack"
    lab_server ours "$KLOTSKI_PLUGIN" size=1G backing=memfd block=4K compress=zstd
    lab_server peer memory 1G allocator=zstd
    compare randwrite_vs_nbdkit_zstd randwrite 4K
    lab_server ours "$KLOTSKI_PLUGIN" size=1G backing=memfd block=32K compress=zstd
    lab_server peer memory 1G allocator=zstd
    compare randwrite_32k_vs_nbdkit_zstd randwrite 32K
}

# ---- taking -----------------------------------------------------------------

fill() {
    lab_feed | "$NBDWORK" load "$(lab_uri take)" --from - --sums "$LAB/take.sums" --quiet \
        --until-full 95 --control "$KLOTSKI_RUNDIR/take.ctl"
}

# field NAME JSON: a number.
field() {
    [[ $2 =~ \"$1\":([0-9]+) ]] && echo "${BASH_REMATCH[1]}"
}

take_once() {
    local backing=$1 seed=$2 reply ns migrated copy huge=()
    [ "$backing" = memfd ] || huge=(hugetlb)
    lab_server take "$KLOTSKI_PLUGIN" size=8G memory="${ZONE_MIB}M" backing="$backing" block=4K \
        compress=lz4 auto-compact=false populate=true control="$KLOTSKI_RUNDIR/take.ctl"
    lab_run fill >/dev/null || lab_die "cannot fill the disk"
    klotski migration off --name take >/dev/null
    lab_run "$NBDWORK" trim "$(lab_uri take)" --sums "$LAB/take.sums" --percent 40 --quiet \
        --seed "$seed" || lab_die "cannot trim the disk"
    klotski compact take >/dev/null
    klotski migration on --name take >/dev/null
    reply=$(klotski take "${TAKE_MIB}M" --name take --json) || lab_die "cannot take"
    ns=$(field ns "$reply")
    migrated=$(field migrated "$reply")
    lab_server_stop take
    copy=$("$LAB_BUILD/tools/framecopy" "$migrated" "$ZONE_MIB" "$TAKE_MIB" "${huge[@]}") ||
        lab_die "framecopy failed"
    echo "take, $backing: $migrated frames moved in $ns ns; memcpy $copy ns"
    echo "$ns $copy" >>"$LAB/take.times"
}

taking() {
    local i backing=memfd
    if lab_hugepages_reserve $((ZONE_MIB / 2)); then
        backing=hugetlb
    fi
    for ((i = 1; i <= REPEAT; i++)); do
        take_once "$backing" "$i"
    done
    lab_hugepages_restore
    awk '{ print $1 / $2 }' "$LAB/take.times" >"$LAB/take.ratios"
    ratio take.time_over_memcpy "$(median <"$LAB/take.ratios")" 1
}

lab_setup
lab_memory_setup
lab_run lab_sample "$LAB/sample" "$CHURN_MIB"
memory
memory_4k
speed
taking
