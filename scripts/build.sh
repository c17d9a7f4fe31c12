#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: build.sh DIR [MESON-OPTION...]
# Configures DIR (again, if it is there with other options) and compiles it.
# CC chooses the compiler.  JOBS bounds the parallel jobs.
set -euo pipefail
dir=$1
shift
top=$(cd "$(dirname "$0")/.." && pwd)

# One line that names all that went into the directory.
wanted="CC=${CC:-} CFLAGS=${CFLAGS:-} LDFLAGS=${LDFLAGS:-} $*"
if [ -f "$dir/build.ninja" ] && [ "$(cat "$dir/.options" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$dir"
fi
if [ ! -f "$dir/build.ninja" ]; then
    rm -rf "$dir"
    mkdir -p "$dir"
    if ! meson setup "$dir" "$top" "$@" >"$dir/setup.log" 2>&1; then
        cat "$dir/setup.log" >&2
        exit 1
    fi
    printf '%s\n' "$wanted" >"$dir/.options"
fi
ninja -C "$dir" ${JOBS:+-j "$JOBS"} --quiet
