#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh - runs benchmarks.  `make bench` calls it.
# Usage: run.sh [NAME|all]
# NAME is a script bench/NAME.sh or a program bench/NAME of the build.  Each prints
# what it finds and lines "RATIO name value"; these are repeated at the end, so
# that they are the last lines.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${KLOTSKI_BUILD:-$here/../build/release}

names() {
    local file
    {
        for file in "$here"/*.sh; do
            [ "$file" -ef "${BASH_SOURCE[0]}" ] || basename "$file" .sh
        done
        for file in "$build"/bench/*; do
            [ -f "$file" ] && [ -x "$file" ] && [[ $file != *.so* ]] && basename "$file"
        done
    } | sort -u
}

run_one() {
    if [ -f "$here/$1.sh" ]; then
        bash "$here/$1.sh"
    else
        "$build/bench/$1"
    fi
}

# One after the other: what runs beside a benchmark is part of what it measures.
run_all() {
    local name status=0
    for name in "$@"; do
        echo "== $name =="
        run_one "$name" || {
            echo "$name failed" >&2
            status=1
        }
    done
    return $status
}

wanted=${1:-all}
mapfile -t all < <(names)
if [ "$wanted" = all ]; then
    chosen=("${all[@]}")
elif [[ " ${all[*]} " == *" $wanted "* ]]; then
    chosen=("$wanted")
else
    echo "run.sh: no benchmark '$wanted'; there are: ${all[*]}" >&2
    exit 2
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
run_all "${chosen[@]}" | tee "$log" | grep --line-buffered -v '^RATIO '
status=${PIPESTATUS[0]}
echo
grep '^RATIO ' "$log"
exit "$status"
