#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_probes.sh LIBRARY.so TREE USDT
# The list of src/base/trace.h, the notes in the library and the table of
# doc/TRACING.md must name the same probes; STEP points are in neither.
# USDT is 1 where the library was built with probes; else it must have none.
set -euo pipefail
library=$1
tree=$2
usdt=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# name a b c, one a line
sed -nE 's/^ *X\((PROBE), [A-Z]+, ([a-z_]+), "([^"]*)", "([^"]*)", "([^"]*)"\).*/\2 \3 \4 \5/p' \
    "$tree/src/base/trace.h" | sort >"$tmp/list"
# shellcheck disable=SC2016 # backquotes of the table
sed -nE 's/^\| `([a-z_]+)` \| ([^ ]+) \| ([^ ]+) \| ([^ ]+) \|.*/\1 \2 \3 \4/p' \
    "$tree/doc/TRACING.md" | sort >"$tmp/doc"
readelf --notes --wide "$library" |
    awk '/Provider: klotski/ { p = 1 } p && /Name:/ { print $2; p = 0 }' | sort -u >"$tmp/notes"

[ -s "$tmp/list" ] || {
    echo "no probe found in src/base/trace.h" >&2
    exit 1
}
diff -u --label trace.h "$tmp/list" --label TRACING.md "$tmp/doc" || {
    echo "src/base/trace.h and doc/TRACING.md differ" >&2
    exit 1
}
if [ "$usdt" != 1 ]; then
    [ ! -s "$tmp/notes" ] || {
        echo "the library has probes, but was built without" >&2
        exit 1
    }
    echo "built without probes (meson option usdt, package systemtap-sdt-dev)"
    exit 77
fi
cut -d' ' -f1 "$tmp/list" >"$tmp/names"
diff -u --label trace.h "$tmp/names" --label "$library" "$tmp/notes" || {
    echo "src/base/trace.h and the library's notes differ" >&2
    exit 1
}
echo "$(wc -l <"$tmp/names") probes, all in the library and all documented"
