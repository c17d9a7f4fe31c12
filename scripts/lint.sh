#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: lint.sh DIR
# Runs every linter, over all sources, even when one has complained; DIR gets the
# compile commands.  Ends with "N passed, N failed, N skipped", one per linter.
set -uo pipefail
dir=$1
cd "$(dirname "$0")/.." || exit 1
jobs=$(nproc)
passed=0
failed=0

folders=()
for folder in include src host integrations cli tools bench demo fuzz examples tests; do
    [ -d "$folder" ] && folders+=("$folder")
done
mapfile -t sources < <(find "${folders[@]}" -name '*.[ch]' | sort)
mapfile -t consumers < <(find tests -name '*.cc' | sort)
mapfile -t scripts < <({
    find "${folders[@]}" scripts -name '*.sh'
    echo .ci/run
} | sort)

linter() {
    local name=$1 start=$SECONDS
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok      $name ($((SECONDS - start)) s)"
    else
        failed=$((failed + 1))
        echo "FAILED  $name ($((SECONDS - start)) s)"
    fi
}

format() {
    clang-format --dry-run -Werror "${sources[@]}" "${consumers[@]}"
}

spdx() {
    local file status=0
    for file in "${sources[@]}" "${consumers[@]}" "${scripts[@]}"; do
        if ! head -n 2 "$file" | grep 'SPDX-License-Identifier: Apache-2.0' >/dev/null; then
            echo "$file: no SPDX line"
            status=1
        fi
    done
    return $status
}

analyse() {
    cppcheck --quiet -j "$jobs" --enable=warning,performance,portability --error-exitcode=1 \
        --std=c11 --inline-suppr --suppress=missingIncludeSystem \
        -DKL_DEBUG=1 -D_GNU_SOURCE -Iinclude -Isrc -I. "${sources[@]}"
}

tidy() {
    rm -rf "$dir"
    if ! CC=clang meson setup "$dir" . -Dtests=enabled -Ddebug_checks=true >"$dir.log" 2>&1; then
        cat "$dir.log"
        return 1
    fi
    scripts/tidy_files.py "$dir" >"$dir/tidy-files" || return 1
    xargs -P "$jobs" -n 1 clang-tidy -p "$dir" --quiet <"$dir/tidy-files" \
        2> >(grep -vE '^[0-9]+ warnings? |^Suppressed |^Use -' >&2)
}

mkdir -p "$(dirname "$dir")"
linter clang-format format
linter spdx spdx
linter shellcheck shellcheck -x "${scripts[@]}"
linter floors tests/layers/check_layers.sh --self-test .
linter cppcheck analyse
linter clang-tidy tidy
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
