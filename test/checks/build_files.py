#!/usr/bin/python3
"""CMake lists name their sources: no globbing, every C file of the tree is in a list, every list is included."""

import re

import tree

GLOBS = re.compile(r"\bfile\s*\(\s*GLOB|\baux_source_directory\b", re.I)


def main():
    findings = []
    lists = tree.files("CMakeLists.txt", ".cmake")
    everything = {}
    for path in lists:
        text = re.sub(r"#[^\n]*", "", tree.read(path))
        everything[path] = text
        match = GLOBS.search(text)
        if match:
            findings.append(f"{path}:{tree.line_of(text, match.start())}: name the sources, do not search for them")
    words = set(re.findall(r"[\w./+-]+", " ".join(everything.values())))
    named = {w.split("/")[-1] for w in words}
    for path in tree.files(".c"):
        if path.startswith(("sensors/", "docker/")):
            continue
        if path.split("/")[-1] not in named:
            findings.append(f"{path}: no CMakeLists.txt names it")
    tree.finish(findings, "build files")


if __name__ == "__main__":
    main()
