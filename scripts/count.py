#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Usage: count.py TESTLOG.json

Prints "N passed, N failed, N skipped" for one run of meson test.

A test whose output is TAP counts by its cases (cmocka prints them so with
CMOCKA_MESSAGE_OUTPUT=TAP); every other test counts as one.  Cases that a plan
promised and that never came are failed, and so is one more when a test ended
badly without any failed case.  Exits 1 if anything failed or nothing ran.
"""
import json
import re
import sys

PLAN = re.compile(r"^1\.\.(\d+)\s*$")
CASE = re.compile(r"^(not )?ok\b(?:\s+\d+)?([^#]*)(#\s*skip\b)?", re.IGNORECASE)
ONE = {"OK": (1, 0, 0), "EXPECTEDFAIL": (1, 0, 0), "SKIP": (0, 0, 1)}


def count_cases(output):
    """(planned, passed, failed, skipped) of a TAP output; planned 0: it is none."""
    planned = passed = failed = skipped = 0
    for line in output.splitlines():
        plan = PLAN.match(line)
        case = CASE.match(line)
        if plan:
            planned += int(plan[1])
        elif case and case[3]:
            skipped += 1
        elif case and case[1]:
            failed += 1
        elif case:
            passed += 1
    return planned, passed, failed, skipped


def count_test(record):
    whole = ONE.get(record["result"], (0, 1, 0))
    planned, passed, failed, skipped = count_cases(record.get("stdout") or "")
    if planned == 0 or record["result"] == "SKIP":
        return whole
    failed += max(0, planned - passed - failed - skipped)
    if whole[1] and failed == 0:
        failed = 1
    return passed, failed, skipped


def main(path):
    total = [0, 0, 0]
    try:
        with open(path, encoding="utf-8") as log:
            for line in log:
                total = [a + b for a, b in zip(total, count_test(json.loads(line)))]
    except (OSError, ValueError) as error:
        print(f"count.py: {error}", file=sys.stderr)
        total[1] += 1
    print("{} passed, {} failed, {} skipped".format(*total))
    return 1 if total[1] or total[0] == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
