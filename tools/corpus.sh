# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# corpus.sh - sourced by benchmarks: a folder $work that goes away, and corpora.
# shellcheck disable=SC2034
build=${KLOTSKI_BUILD:-$(dirname "${BASH_SOURCE[0]}")/../build/release}
work=$(mktemp -d "${TMPDIR:-/tmp}/klotski-bench.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# corpus KIND MIB: $corpus names a file of that; in CORPUS_DIR it is kept for the next time.
corpus() {
    local dir=${CORPUS_DIR:-$work}
    corpus=$dir/$1-$2
    [ -s "$corpus" ] || {
        python3 "${BASH_SOURCE[0]%.sh}.py" "$1" "$2" "$corpus.new" && mv "$corpus.new" "$corpus"
    } || exit 1
}

# Of the numbers on standard input, one a line.
median() {
    sort -g | awk '{ v[NR] = $1 } END {
        if (NR % 2) print v[(NR + 1) / 2]; else print (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
