#!/usr/bin/python3
"""Counts a JUnit file of ctest or pytest: prints `passed failed skipped`, and with -v the names of what failed."""

import sys
import xml.etree.ElementTree as ElementTree


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failed = []
    for case in ElementTree.parse(sys.argv[-1]).getroot().iter("testcase"):
        outcome = "passed"
        if case.get("status") in ("disabled", "notrun") or case.find("skipped") is not None:
            outcome = "skipped"
        if case.get("status") == "fail" or case.find("failure") is not None or case.find("error") is not None:
            outcome = "failed"
            failed.append(f"{case.get('classname') or ''} {case.get('name')}")
        counts[outcome] += 1
    print(*counts.values())
    if "-v" in sys.argv:
        print("\n".join(failed))


if __name__ == "__main__":
    main()
