#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_layers.sh [--self-test] TREE
# Reads every #include of src, host, integrations and cli below TREE and fails on
# an arrow that goes up or aside (doc/ARCHITECTURE.md, "Floors"):
#
#   src           a folder includes itself and the floors under it, written from
#                 src ("base/lock.h"); public headers of its own floor or below;
#                 of the C library only what a freestanding compiler has, and
#                 string.h.  One exception: src/base/trace.h may include sys/sdt.h
#                 (probes; the freestanding test proves that the core does without).
#   host          klotski/*.h, its own folder, src/base
#   integrations  klotski/*.h, its own folder
#   cli           klotski/*.h, its own folder, integrations/control/wire.h
#
# --self-test first makes sure that arrows which go up are rejected.
set -euo pipefail

# All includes as "file:line:#include what".
list_includes() {
    (cd "$1" && find src host integrations cli \( -name '*.c' -o -name '*.h' \) -print0 2>/dev/null |
        sort -z | xargs -0 -r grep -nHE '^[[:space:]]*#[[:space:]]*include') || true
}

check_tree() {
    list_includes "$1" | awk '
    BEGIN {
        split("base 1 frame 2 move 3 reclaim 4 cma 5 zs 5 pool 5 heap 5 shm 6 store 6 inspect 7", f, " ")
        for (i = 1; i in f; i += 2)
            floor[f[i]] = f[i + 1]
        # A public header stands on the floor of the code behind it.  movable.h
        # names the types of the callbacks, which a zone keeps: floor 2.
        split("base 1 host 1 zone 2 movable 2 contig 3 shrinker 4 step 4 cma 5 zsmalloc 5 pool 5 " \
              "shm 6 store 6 inspect 7", f, " ")
        for (i = 1; i in f; i += 2)
            public_floor["klotski/" f[i] ".h"] = f[i + 1]
        public_floor["klotski/pin.h"] = 2
        public_floor["klotski/heap.h"] = 5
        public_floor["klotski/who.h"] = 4
        public_floor["klotski/pressure.h"] = 4
        public_floor["klotski/share.h"] = 4
        public_floor["klotski/target.h"] = 6
        public_floor["klotski/writeback.h"] = 6
        split("stdatomic stdbool stddef stdint stdalign string limits", f, " ")
        for (i in f)
            freestanding[f[i] ".h"] = 1
        # Which paths outside of klotski/ and its own folder each part may use.
        allowed["host"] = "^(src/)?base/"
        allowed["integrations"] = "^$"
        allowed["cli"] = "^(\\.\\./)?(integrations/)?control/wire\\.h$"
    }

    function reject(why) {
        printf "%s:%s: \"%s\": %s\n", file, line, what, why
        bad++
    }

    function check_src(from,    to) {
        if (!(from in floor)) {
            reject("src/" from " has no floor; give it one in check_layers.sh")
        } else if (what ~ /^klotski\//) {
            if (!(what in public_floor))
                reject("not a header for the core")
            else if (public_floor[what] > floor[from])
                reject("goes up to floor " public_floor[what] " from floor " floor[from])
        } else if (angled) {
            if (!(what in freestanding) && file " " what != "src/base/trace.h sys/sdt.h")
                reject("the core is freestanding")
        } else {
            to = what
            sub(/\/.*/, "", to)
            if (what !~ /\// || !(to in floor))
                reject("write it from src/: \"folder/file.h\"")
            else if (to != from && floor[to] > floor[from])
                reject("goes up to floor " floor[to] " from floor " floor[from])
            else if (to != from && floor[to] == floor[from])
                reject("goes aside on floor " floor[from])
        }
    }

    function check_user(part,    first) {
        if (what ~ /^klotski\// || what ~ allowed[part])
            return
        first = what
        sub(/\/.*/, "", first)
        if (what ~ /(^|\/)src\// || what ~ /^\.\.\/\.\./ || (first in floor))
            reject(part " uses only include/klotski and its own folder")
        else if (what ~ /^(host|integrations|cli)\// && first != part)
            reject(part " uses only include/klotski and its own folder")
        else if (!angled && part == "cli" && what ~ /\.\.\//)
            reject(part " uses only include/klotski and its own folder")
    }

    {
        file = $0
        sub(/:.*/, "", file)
        line = substr($0, length(file) + 2)
        text = line
        sub(/:.*/, "", line)
        sub(/^[0-9]+:[ \t]*#[ \t]*include[ \t]*/, "", text)
        angled = text ~ /^</
        what = text
        if (!match(what, /^["<][^">]+[">]/)) {
            reject("cannot be read")
            next
        }
        what = substr(what, 2, RLENGTH - 2)
        seen++
        split(file, path, "/")
        if (path[1] == "src")
            check_src(path[2])
        else
            check_user(path[1])
    }

    END {
        printf "%d includes, %d against the floors\n", seen, bad
        exit bad ? 1 : seen ? 0 : 2
    }'
}

# One line a case: the file, what it includes, whether that is allowed.
self_test() {
    local tmp failed=0 file include expect got
    tmp=$(mktemp -d)
    while read -r expect file include; do
        rm -rf "$tmp/t"
        mkdir -p "$tmp/t/$(dirname "$file")"
        printf '#include %s\n' "$include" >"$tmp/t/$file"
        got=allow
        check_tree "$tmp/t" >"$tmp/out" || got=reject
        if [ "$got" != "$expect" ]; then
            echo "self-test: $file with #include $include: expected $expect"
            cat "$tmp/out"
            failed=1
        fi
    done <<'CASES'
allow src/move/compact.c "frame/zone.h"
allow src/move/compact.c "move/isolate.h"
allow src/zs/pool.c <klotski/zsmalloc.h>
allow src/store/store.c "zs/zs.h"
allow src/base/lock.c <stdatomic.h>
allow src/frame/zone.c <string.h>
allow src/inspect/check.c "zs/zs.h"
allow host/linux/backing.c "base/bits.h"
allow host/linux/backing.c <sys/mman.h>
allow integrations/nbdkit/plugin.c "integrations/control/wire.h"
allow integrations/nbdkit/plugin.c <klotski/klotski.h>
allow cli/stat.c "integrations/control/wire.h"
allow cli/stat.c "cli.h"
reject src/frame/zone.c "move/compact.h"
reject src/base/lock.c "frame/zone.h"
reject src/zs/pool.c "store/store.h"
reject src/zs/pool.c "cma/area.h"
reject src/move/compact.c "inspect/stats.h"
reject src/frame/zone.c "../move/compact.h"
reject src/frame/zone.c "zone.h"
reject src/frame/zone.c "attic/zone.h"
reject src/attic/zone.c "base/lock.h"
reject src/frame/zone.c <klotski/zsmalloc.h>
reject src/zs/pool.c <klotski/linux.h>
reject src/zs/pool.c <klotski/klotski.h>
allow src/base/trace.h <sys/sdt.h>
reject src/base/lock.c <sys/sdt.h>
reject src/frame/trace.h <sys/sdt.h>
reject src/base/trace.h <stdio.h>
reject src/base/lock.c <stdio.h>
reject src/base/lock.c <pthread.h>
reject host/linux/backing.c "frame/zone.h"
reject host/linux/backing.c "src/move/compact.h"
reject integrations/nbdkit/plugin.c "zs/zs.h"
reject integrations/nbdkit/plugin.c "../../src/zs/zs.h"
reject integrations/nbdkit/plugin.c "cli/cli.h"
reject cli/stat.c "store/store.h"
reject cli/stat.c "integrations/nbdkit/disk.h"
CASES
    rm -rf "$tmp"
    return $failed
}

if [ "${1:-}" = --self-test ]; then
    self_test
    shift
fi
check_tree "${1:?usage: check_layers.sh [--self-test] TREE}"
