#!/usr/bin/python3
"""Files of at most 800 lines (a warning over 500), functions of at most 100 (a warning over 60). Functions are found by the
house's formatting: a brace alone in the first column opens and closes them."""

import re

import tree

FILE_WARN, FILE_MAX = 500, 800
FUNCTION_WARN, FUNCTION_MAX = 60, 100


def functions(lines):
    """(name, first line, number of lines), signature and braces included."""
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
            while start > 0 and lines[start - 1] and not re.match(r"[}#]|.*[;*]/?$", lines[start - 1]):
                start -= 1
        elif line == "}" and start is not None:
            signature = " ".join(lines[start:number])
            name = re.search(r"(\w+)\(", re.sub(r"__attribute__\(\(.*?\)\)\)?", "", signature))
            yield name[1] if name else "?", start + 1, number - start + 1
            start = None


def hidden(lines):
    """Numbers of lines that open a function in another way: clang-format leaves functions alone whose name is a word of C++."""
    return [n for n, line in enumerate(lines, 1) if re.match(r"[a-z][\w *]*\(.*\) ?\{$", line) and "extern" not in line]


def main():
    findings = []
    for path in tree.files(".c", ".h"):
        lines = tree.read(path).splitlines()
        sizes = [(path, "file", len(lines), FILE_WARN, FILE_MAX)]
        sizes += [(f"{path}:{first}", name, n, FUNCTION_WARN, FUNCTION_MAX) for name, first, n in functions(lines)]
        for line in hidden(lines):
            findings.append(f"{path}:{line}: the brace belongs on its own line (is the name a word of C++?)")
        for where, what, size, warn, most in sizes:
            if size > most:
                findings.append(f"{where}: {what} has {size} lines, at most {most} are allowed")
            elif size > warn:
                print(f"warning: {where}: {what} has {size} lines, over {warn}")
    tree.finish(findings, "sizes")


if __name__ == "__main__":
    main()
