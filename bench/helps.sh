#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# helps.sh - what large requests gain from movability where a store, page pools and an area work
# together for a while.
#
# What it models: a machine's memory in use.  Two zones of 448 MiB have the same history, the
# peer with migration off: a store (lz4, 4 KiB blocks of tools/corpus.py, overwritten and
# trimmed at random), pools of three orders with bursts of users, an area with a device; 60
# to 95 % full.  Every 4096 operations both are asked for 32 KiB 16 times, for 2 MiB 4 times, for
# 64 MiB, and for 64 MiB of the area.
#
#   order3_on, order9_on, range_on, area_on   the part of the requests that succeed
#   *_off                    the same without migration
#   write_time, trim_time, pool_time   an ordinary operation's CPU time with migration over
#                            without: the median of the chunks' quotients
#   all_time                 all CPU time but that of the requests, with over without
#   moved_per_operation      frames moved but for the requests, over the store's operations
#   *_refused_on, *_refused_off   ordinary operations that failed
#
# CHUNKS (2000) of 512 operations, SEED, CORPUS_MIB (64), CORPUS_DIR.  With gnuplot it
# draws $PLOT (helps.svg in the build's folder); PLOT=doc/helps.svg is the one in the manual.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/corpus.sh
. "$here/../tools/corpus.sh"
plot=${PLOT:-$build/helps.svg}

draw() {
    gnuplot <<END
set terminal svg size 900,380 font 'sans-serif,13' background '#ffffff'
set output '$1'
set title 'Requests that succeed in a zone that a disk, pools and an area share' font ',14'
set xlabel 'operations on the disk, in thousands'
set ylabel 'per cent'
set yrange [0:105]
set xrange [*:*] noextend
set key outside right top samplen 2 spacing 1.2
set grid y lc rgb '#dddddd'
set border 3
set tics nomirror
plot '$2' using (\$2/1000):4 with filledcurves y1=0 lc rgb '#e8e8e8' title 'zone in use', \\
    '' using (\$2/1000):(100*\$16/\$14) with lines lw 3 lc rgb '#2a7f3e' title '64 MiB of an area', \\
    '' using (\$2/1000):(100*\$10/\$8) with lines lw 3 lc rgb '#1f5fbf' title '2 MiB', \\
    '' using (\$2/1000):(100*\$13/\$11) with lines lw 3 lc rgb '#c46a00' title '64 MiB elsewhere', \\
    '' using (\$2/1000):(100*\$15/\$14) with lines lw 2 dt 2 lc rgb '#2a7f3e' title '64 MiB of an area, nothing moves', \\
    '' using (\$2/1000):(100*\$9/\$8) with lines lw 2 dt 2 lc rgb '#1f5fbf' title '2 MiB, nothing moves', \\
    '' using (\$2/1000):(100*\$12/\$11) with lines lw 2 dt 2 lc rgb '#c46a00' title '64 MiB elsewhere, nothing moves'
END
}

corpus mix "${CORPUS_MIB:-64}"
# shellcheck disable=SC2154
"$build/tools/helpsbench" "$corpus" "${CHUNKS:-2000}" "${SEED:-1}" >"$work/out" || exit 1
echo "AGE operations, % in use without and with; asked, done without and with, of each:"
cat "$work/out"
grep '^AGE' "$work/out" >"$work/ages"
if command -v gnuplot >/dev/null; then
    draw "$plot" "$work/ages" || exit 1
    echo "plot: $plot"
else
    echo "no plot: gnuplot is missing"
fi
