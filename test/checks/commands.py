#!/usr/bin/python3
"""Every command that the documentation shows stands in docs/testing.md, "Documented commands", with the test that runs it or with
what it needs to be run. A row names a beginning of commands; the test files that it names are there; no row is idle."""

import re
import sys

import tree

PAGES = ("README.md", "docker/README.md")
# A line that begins with one of these is a command.
PROGRAM = re.compile(r"(?:sudo (?:-E |-u \w+ )?)?(?P<words>(?:\./\w|bash|cd|cmake|ctest|curl|docker|apt|systemctl|mosquitto[_-]|aws |certs/|../certs|usermod|install|cp |"
                     r"lighttpd|gcovr|python3|npm|pytest|MQA_BUILD=|build/|test/|sensors/|journalctl|make|token=|setarch|arduino|cc |node|"
                     r"sqlite3|adduser|logrotate|sed |openssl|git )\S*.*)")


def pages():
    return [p for p in tree.files(".md") if p in PAGES or p.startswith(("docs/", "sensors/"))]


def commands(text):
    """(line number, command) of fenced blocks of sh and of indented blocks; a backslash at the end goes on."""
    fence, going_on = None, ""
    for number, line in enumerate(text.splitlines(), 1):
        opening = re.match(r"```(\w*)", line)
        if opening:
            fence = None if fence is not None else opening[1]
            continue
        if fence not in (None, "sh") or (fence is None and not line.startswith("    ")):
            continue
        line = line.strip()
        if going_on:
            line, going_on = f"{going_on} {line}", ""
        if line.endswith("\\"):
            going_on = line[:-1].strip()
            continue
        match = PROGRAM.match(line)
        if match and not re.match(r"[\w/-]+ +[-–] ", line):
            yield number, match["words"]


def rows(text):
    """beginning of a command -> (line number, what runs it)"""
    part = text.split("## Documented commands\n", 1)
    found = {}
    if len(part) == 2:
        start = part[0].count("\n") + 2
        for number, line in enumerate(part[1].split("\n## ")[0].splitlines(), start):
            match = re.match(r"\| (`.+?`(?:, `.+?`)*) \| (.+) \|$", line)
            for words in re.findall(r"`(.+?)`", match[1]) if match else []:
                found[words.replace("\\|", "|")] = (number, match[2])
    return found


def main():
    where = "docs/testing.md"
    table = rows(tree.read(where))
    used, findings = set(), []
    for page in pages():
        for number, command in commands(tree.read(page)):
            fitting = [words for words in table if command.startswith(words)]
            used.update(sorted(fitting, key=len)[-1:])
            if not fitting:
                findings.append(f"{page}:{number}: {where} does not say what runs `{command}`")
    for words, (number, what) in table.items():
        if words not in used:
            findings.append(f"{where}:{number}: no page shows `{words}`")
        for file in re.findall(r"test_\w+\.py", what):
            if not (tree.TOP / "test/integration" / file).exists():
                findings.append(f"{where}:{number}: {file} is not there")
    if "--list" in sys.argv:
        for page in pages():
            for number, command in commands(tree.read(page)):
                print(f"{page}:{number}: {command}")
        return
    tree.finish(findings, "documented commands")


if __name__ == "__main__":
    main()
