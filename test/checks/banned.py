#!/usr/bin/python3
"""Functions that have no place in this code: no bounds, no error, hidden state, or a better one of our own."""

import re

import tree

BANNED = {
    "strcpy strcat stpcpy strncpy strncat": "use bytes, buffer or snprintf",
    "sprintf vsprintf gets": "no bounds: use snprintf or buffer_appendf",
    "atoi atol atoll atof": "no errors: use option_parse_uint or json",
    "strtok": "hidden state: use option_next_word",
    "rand srand random srandom drand48": "use random_seed or a generator with its own state",
    "localtime gmtime asctime ctime asctime_r ctime_r": "use the _r functions or wall_format_iso8601",
    "time gettimeofday clock": "use wall_now or mono_now",
    "alloca": "the stack has no ceiling that can be checked",
    "system popen": "no shell",
    "tmpnam tempnam mktemp": "use mkstemp",
    "exit _exit abort": "only main decides that",
    "sscanf scanf fscanf": "no overflow check: use option_parse_uint or json",
    "signal": "use sigaction or uv_signal",
    "gethostbyname inet_ntoa inet_addr": "IPv4 only: use getaddrinfo, inet_ntop, inet_pton",
}
# Tests may end the program, read the clock and scan what they wrote themselves.
ALLOWED_IN_TESTS = {"exit", "_exit", "abort", "sscanf", "time", "system", "popen", "signal"}
# The one place of the clocks; a program's own end.
ALLOWED = {("common/base/clock.c", "time"), ("dashboard/main.c", "_exit")}


def main():
    reasons = {name: why for names, why in BANNED.items() for name in names.split()}
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(reasons) + r")\s*\(")
    findings = []
    for path in tree.files(".c", ".h"):
        text = tree.without_comments(tree.read(path), strings=False)
        for match in pattern.finditer(text):
            name = match[1]
            if (path, name) in ALLOWED or (path.startswith("test/") and name in ALLOWED_IN_TESTS):
                continue
            findings.append(f"{path}:{tree.line_of(text, match.start())}: {name}: {reasons[name]}")
    tree.finish(findings, "banned functions")


if __name__ == "__main__":
    main()
