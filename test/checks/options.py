#!/usr/bin/python3
"""An option table, its man pages and its sample say the same.

    options.py PROGRAM --man FILE... --conf FILE... [--prefix PREFIX]

PROGRAM prints the table (option_table.c in this folder). Man pages (mdoc): each option has one `.It Cm NAME` in one of them, with
its default behind "Default:", and nothing else is listed among the options. Sample: each option stands there, set or behind a
'#' without a blank, at least once with its default; every such line must parse.

    options.py --registered   every option table of the programs has such a check
"""

import argparse
import pathlib
import re
import subprocess
import sys

import tree


def table_of(program):
    """name -> default or None"""
    lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    rows = [line.split("\t") for line in lines]
    return {name: default if has_default == "1" else None for name, has_default, default in rows}


def mdoc_text(line):
    """A line of mdoc source as words."""
    if line.startswith("."):
        words = [w for w in line[1:].split() if not re.fullmatch(r"[A-Z][a-z]|[A-Z][a-z][a-z]?", w)]
        line = " ".join(words)
    return line.replace("\\&", "").replace("\\-", "-").replace('"', "")


def man_items(path):
    """[(name, section, line, text)] of each `.It Cm NAME`."""
    items, section = [], 0
    for number, line in enumerate(tree.read(path).splitlines(), 1):
        heading = re.match(r"\.It\s+(?:Cm|Ic|Fl)\s+(\S+)", line)
        if re.match(r"\.S[hs]\b", line):
            section += 1
        if heading:
            items.append([heading[1].lstrip("-"), section, number, ""])
        elif re.match(r"\.(It|El|S[hs])\b", line) or not items or items[-1][1] != section:
            items.append([None, section, number, ""])
        else:
            items[-1][3] += " " + mdoc_text(line)
    return [i for i in items if i[0] is not None]


def man_findings(table, paths):
    seen = {}
    for path in paths:
        items = man_items(path)
        of_options = {section for name, section, _, _ in items if name in table}
        for name, section, line, text in items:
            where = f"{path}:{line}"
            if name not in table:
                if section in of_options and re.fullmatch(r"[a-z][a-z0-9_]*", name):
                    yield f"{where}: there is no option {name}"
                continue
            if name in seen:
                yield f"{where}: {name} is also at {seen[name]}"
            seen[name] = where
            said = re.search(r"Default:\s+(\S+)", text)
            said = said[1].rstrip(".,;") if said else None
            if table[name] is not None and said != table[name].split()[0]:
                yield f"{where}: default of {name} is {said or 'missing'} here, {table[name]} in the table"
    for name in table:
        if paths and name not in seen:
            yield f"{', '.join(paths)}: {name} is missing"


def sample_findings(table, program, path, prefix):
    values = {}
    for number, line in enumerate(tree.read(path).splitlines(), 1):
        match = re.match(r"#?([a-z]\w*)(?:[ \t]+(.*?))?\s*$", line)
        if not match or (prefix and not match[1].startswith(prefix)):
            continue
        name, where = match[1].removeprefix(prefix), f"{path}:{number}"
        if name not in table:
            yield f"{where}: there is no option {name}"
            continue
        values.setdefault(name, []).append(match[2])
        result = subprocess.run([program, name, match[2] or ""], capture_output=True, text=True)
        if result.returncode != 0:
            yield f"{where}: {result.stderr.strip()}"
    for name, default in table.items():
        if name not in values:
            yield f"{path}: {name} is missing"
        elif default is not None and default not in values[name]:
            yield f"{path}: {name} is shown with {', '.join(map(str, values[name]))}, its default is {default}"


def unregistered_findings():
    registered = tree.read("test/checks/CMakeLists.txt")
    for path in tree.files(".c"):
        if path.split("/")[0] not in ("plugin", "mqttsn", "websensor", "dashboard"):
            continue
        for match in re.finditer(r"^const struct option_table (\w+)", tree.read(path), re.M):
            if not re.search(rf"\b{match[1]}\b", registered):
                yield f"{path}: {match[1]} has no option_table_check in test/checks/CMakeLists.txt"


def main():
    if sys.argv[1:] == ["--registered"]:
        tree.finish(list(unregistered_findings()), "registered option tables")
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--man", nargs="*", default=[])
    parser.add_argument("--conf", nargs="*", default=[])
    parser.add_argument("--prefix", default="")
    args = parser.parse_args()
    findings = []
    for path in args.man + args.conf:
        if not (tree.TOP / path).exists():
            findings.append(f"{path}: there is no such file")
    if not findings:
        table = table_of(args.program)
        findings += man_findings(table, args.man)
        for path in args.conf:
            findings += sample_findings(table, args.program, path, args.prefix)
    tree.finish(findings, f"options of {pathlib.Path(args.program).name}")


if __name__ == "__main__":
    main()
