#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_exports.sh LIBRARY.so INCLUDE_DIR
# What the shared library exports and what the public headers declare must be
# the same functions.
set -euo pipefail
library=$1
headers=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# A declaration begins in the first column with its type; inline functions do
# so with "static".
grep -hE '^[a-z][^(#]*\bkl_[a-z0-9_]+\(' "$headers"/klotski/*.h | grep -v '^static' |
    sed -E 's/^[^(]*\b(kl_[a-z0-9_]+)\(.*/\1/' | sort -u >"$tmp/declared"
nm -D --defined-only --format=posix "$library" | awk '$2 != "A" { sub(/@.*/, "", $1); print $1 }' |
    sort -u >"$tmp/exported"

if [ ! -s "$tmp/declared" ]; then
    echo "no declaration found in $headers/klotski" >&2
    exit 1
fi
if diff -u --label declared "$tmp/declared" --label exported "$tmp/exported"; then
    echo "$(wc -l <"$tmp/exported") functions, all declared and all exported"
else
    echo "the headers and the exported symbols differ (- only declared, + only exported)" >&2
    exit 1
fi
