#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# demo.sh - what Klotski is for, on this machine's own files; under two minutes.
# `make demo` builds what it needs and runs it.
#
#   1. A compressed RAM disk lives in 512 MiB of huge pages.  A second program
#      needs 64 of them.  They are taken back whole while the disk serves.
#   2. What the disk's memory costs, beside nbdkit's own compressed RAM disk.
#
# The number of huge pages is put back at the end, and at Ctrl-C or TERM.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/lab.sh
. "$here/../tools/lab.sh"
# shellcheck source=tools/lab_memory.sh
. "$here/../tools/lab_memory.sh"
# shellcheck source=demo/taking.sh
. "$here/taking.sh"
# shellcheck source=demo/memory.sh
. "$here/memory.sh"

bold='' dim='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi
# Most terminals speak UTF-8 even where nobody has set a locale.
[ -n "${LC_ALL:-}${LC_CTYPE:-}${LANG:-}" ] || export LC_ALL=C.UTF-8

title() {
    printf '\n%s== %s ==%s\n' "$bold" "$*" "$plain"
}

say() {
    printf '%s[%3d s]%s %s\n' "$dim" "$SECONDS" "$plain" "$*"
}

# A command, shown and run.
show() {
    printf '%s$ %s%s\n' "$bold" "$*" "$plain"
    "$@"
}

# What must hold; the demo goes on, and fails at its end.
failures=0
expect() {
    if [ "$1" = yes ]; then
        say "ok: $2"
    else
        say "${bold}NOT AS IT SHOULD BE:${plain} $2"
        failures=$((failures + 1))
    fi
}

yes_if() {
    if "$@"; then echo yes; else echo no; fi
}

lab_setup
lab_memory_setup
title "Huge pages: lent to a disk, taken back whole"
taking
title "Memory for the same data"
memory_table
title "Done"
if [ "$failures" -gt 0 ]; then
    say "$failures things were not as they should be"
    exit 1
fi
say "everything was as it should be"
