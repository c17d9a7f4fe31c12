#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is installed lies below the prefix, the plugin too unless the prefix is
# nbdkit's own, and it works from there.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
need_cli
need meson python3 pkg-config
: "${KLOTSKI_BUILD:?the build directory}"
root=$work/root

option() {
    meson introspect "$KLOTSKI_BUILD" --buildoptions | python3 -c \
        'import json, sys
print(next(o["value"] for o in json.load(sys.stdin) if o["name"] == sys.argv[1]))' "$1"
}

prefix=$(option prefix)
DESTDIR=$root meson install -C "$KLOTSKI_BUILD" --no-rebuild --quiet
plugin=$(find "$root" -name nbdkit-klotski-plugin.so)
[ -f "$plugin" ] || fail "no plugin, or more than one, is installed: $plugin"
outside=$(find "$root" ! -type d ! -path "$root$prefix/*")
if [ -n "$(option nbdkit_plugindir)" ]; then
    [ "$plugin" = "$root$(option nbdkit_plugindir)/${plugin##*/}" ] || fail "not where it was told"
elif [ "$prefix" = "$(pkg-config --variable=prefix nbdkit)" ]; then
    [ "$plugin" = "$root$(pkg-config --variable=plugindir nbdkit)/${plugin##*/}" ] ||
        fail "not where nbdkit looks: $plugin"
else
    [ -z "$outside" ] || fail "installed outside of $prefix: $outside"
    grep -q "nbdkit ${plugin#"$root"} " "$KLOTSKI_BUILD/integrations/plugin-use.txt" ||
        fail "nothing says how to use it there"
fi
nbdkit "$plugin" --dump-plugin | grep -q '^klotski_version=' || fail "it is no plugin"
env -u KLOTSKI_PLUGIN "$root$prefix/bin/klotski" disk --name t --size 4M >"$work/out" 2>&1 ||
    fail "the installed command: $(cat "$work/out")"
"$root$prefix/bin/klotski" stop t >/dev/null || fail "the installed command does not stop it"
say "ok: ${plugin#"$root"}"
