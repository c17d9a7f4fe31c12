#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Usage: tidy_files.py BUILD-DIR

Leaves one compile command a source in the build directory (the freestanding
copy of the core is dropped) and prints the sources,
as paths from here.
"""
import json
import os
import sys


def main(build):
    path = os.path.join(build, "compile_commands.json")
    with open(path, encoding="utf-8") as file:
        commands = [c for c in json.load(file) if "core_freestanding" not in c["output"]]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(commands, file)
    for name in sorted({os.path.join(c["directory"], c["file"]) for c in commands}):
        print(os.path.relpath(name))


if __name__ == "__main__":
    main(sys.argv[1])
