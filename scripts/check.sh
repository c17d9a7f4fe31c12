#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check.sh DIR [MESON-OPTION...]
# Builds DIR with everything on and warnings as errors, runs its tests and ends
# with the line "N passed, N failed, N skipped".  Exits 1 if anything failed.
# CC chooses the compiler; TEST_ARGS goes to meson test; TEST_WRAPPER before it.
set -uo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
dir=$1
shift

fail() {
    echo "$1" >&2
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
}

"$top/scripts/build.sh" "$dir" --werror -Ddebug_checks=true -Dcli=enabled -Dtools=enabled \
    -Dtests=enabled "$@" || fail "the build of $dir failed"

log=$dir/meson-logs/testlog.json
rm -f "$log"
read -ra wrapper <<<"${TEST_WRAPPER:-}"
read -ra args <<<"${TEST_ARGS:-}"
"${wrapper[@]}" meson test -C "$dir" --no-rebuild --print-errorlogs "${args[@]}"
status=$?
[ -f "$log" ] || fail "meson test left no log"

counts=$("$top/scripts/count.py" "$log")
counted=$?
echo "$counts"
[ $status -eq 0 ] && [ $counted -eq 0 ]
