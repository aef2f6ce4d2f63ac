#!/usr/bin/python3
"""What must not stand in a file that is shared: paths of the machine that it was made on, addresses of package registries in
lock files, conflict markers, trailing blanks, tabs where the house has none, CR; links in Markdown that lead nowhere."""

import os
import re

import tree

REGISTRY = re.compile(r'"resolved"\s*:\s*"https?://|^\s*(registry|index-url|proxy)\s*=|(deb|deb-src)\s+https?://', re.M)
CONFLICT = re.compile(r"^(<{7} |={7}$|>{7} )", re.M)
TABS = (".c", ".h", ".py", ".cmake", ".json", ".js", ".css", ".html", ".yml", ".txt", ".md")


def machine_paths():
    """This checkout and the home of whoever runs the check: right for nobody else. A checkout right below the root is no giveaway:
    "/mosquitto-aws" stands in /etc/mosquitto-aws, too."""
    paths = {p for p in (str(tree.TOP), os.path.realpath(tree.TOP)) if p.count("/") > 1}
    home = os.path.expanduser("~")
    if home not in ("/", "/root", "~"):
        paths.add(home)
    return [re.compile(re.escape(p) + r"(?![\w-])") for p in paths]


def file_findings(path, text, paths):
    checks = [(p, "a path of this machine") for p in paths]
    checks.append((CONFLICT, "a conflict marker"))
    checks.append((re.compile(r"\r"), "CR"))
    checks.append((re.compile(r"[ \t]+$", re.M), "blanks at the end of the line"))
    if path.endswith(("package-lock.json", ".npmrc", "pip.conf", ".list", "Dockerfile")):
        checks.append((REGISTRY, "the address of a registry"))
    if path.endswith(TABS):
        checks.append((re.compile(r"\t"), "a tab"))
    for pattern, what in checks:
        match = pattern.search(text)
        if match:
            yield f"{path}:{tree.line_of(text, match.start())}: {what}"
    if text and not text.endswith("\n"):
        yield f"{path}: no newline at the end"


def link_findings(path, text):
    """Links of a Markdown file to files that are not there."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S | re.M)
    for match in re.finditer(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", text):
        target = match[1]
        if not re.match(r"\w+:", target) and not ((tree.TOP / path).parent / target).exists():
            yield f"{path}:{tree.line_of(text, match.start())}: {target} is not there"


def main():
    paths = machine_paths()
    findings = []
    for path in tree.files():
        data = (tree.TOP / path).read_bytes()
        if b"\0" in data or path.startswith("test/fuzz/seeds/") or "/data/" in path or path.endswith(".svg"):
            continue
        text = data.decode("utf-8", errors="replace")
        findings += file_findings(path, text, paths)
        if path.endswith(".md"):
            findings += link_findings(path, text)
    tree.finish(findings, "text")


if __name__ == "__main__":
    main()
