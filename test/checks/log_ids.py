#!/usr/bin/python3
"""docs/log-ids.md and the LOG_POINTs in the sources say the same: every id once in each, with the same level, rows in order."""

import re

import tree

TABLE = "docs/log-ids.md"
POINT = re.compile(r'LOG_POINT\(\s*(\w+)\s*,\s*("(?:[^"\\]|\\.)*"|\w+)\s*,\s*(\w+)\s*,')
ID = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")
ROW = re.compile(r"\|\s*`?([^|`]*?)`?\s*\|\s*(\w*)\s*\|\s*(.*?)\s*\|\s*$")


def points(findings):
    """id -> (level, where)"""
    found = {}
    for path in tree.files(".c", ".h"):
        if path.startswith("test/") or path == "common/base/log.h":
            continue
        text = tree.without_comments(tree.read(path))
        for use in re.finditer(r"\bLOG_POINT\(", text):
            where = f"{path}:{tree.line_of(text, use.start())}"
            match = POINT.match(text, use.start())
            if not match or not match[2].startswith('"'):
                findings.append(f"{where}: write the id as a string, the level as LOG_...")
                continue
            name, level = match[2][1:-1], match[3].removeprefix("LOG_").lower()
            if not ID.fullmatch(name):
                findings.append(f"{where}: {name} is not <module>.<what> in lower case")
            if name in found:
                findings.append(f"{where}: {name} is also at {found[name][1]}; share the point")
            found[name] = (level, where)
    return found


def rows(findings):
    """id -> (level, where)"""
    found = {}
    last = ""
    for number, line in enumerate(tree.read(TABLE).splitlines(), 1):
        match = ROW.match(line)
        if not match or match[1] == "id" or not match[1].strip("-: "):
            continue
        where = f"{TABLE}:{number}"
        if match[1] in found:
            findings.append(f"{where}: {match[1]} has two rows")
        if match[1] < last:
            findings.append(f"{where}: {match[1]} is not in alphabetical order")
        if not match[3]:
            findings.append(f"{where}: {match[1]} is not explained")
        last = match[1]
        found[match[1]] = (match[2], where)
    return found


def main():
    findings = []
    in_code, in_table = points(findings), rows(findings)
    for name, (level, where) in sorted(in_code.items()):
        if name not in in_table:
            findings.append(f"{where}: {name} has no row in {TABLE}")
        elif in_table[name][0] != level:
            findings.append(f"{where}: {name} is {level} here, {in_table[name][0]} at {in_table[name][1]}")
    for name, (_, where) in sorted(in_table.items()):
        if name not in in_code:
            findings.append(f"{where}: no LOG_POINT has the id {name}")
    tree.finish(findings, f"{len(in_code)} log ids")


if __name__ == "__main__":
    main()
