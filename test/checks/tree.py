"""The source tree as the checks see it. Every check is a program: it prints what it finds, one finding a line with file and
line, and ends with 1 if there was any."""

import os
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(os.environ.get("CHECK_TOP") or pathlib.Path(__file__).resolve().parents[2])
SKIPPED = 77  # exit code: a tool is missing


def files(*suffixes):
    """Paths below TOP (as text, sorted): tracked by git, or new and not ignored. Without git: everything but builds."""
    try:
        argv = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        found = subprocess.run(argv, cwd=TOP, check=True, capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, folders, names in os.walk(TOP):
            folders[:] = [f for f in folders if f not in ("build", "node_modules", ".git", "__pycache__")]
            found += [os.path.relpath(os.path.join(folder, n), TOP) for n in names]
    found = {f for f in found if f and (TOP / f).is_file()}
    return sorted(f for f in found if not suffixes or f.endswith(suffixes))


def read(path):
    return (TOP / path).read_text(encoding="utf-8", errors="replace")


def without_comments(text, strings=True):
    """C source with comments blanked out, and string literals too unless `strings`; lines keep their numbers."""
    def blank(match):
        piece = match[0]
        if piece[0] in "\"'":
            return piece if strings else piece[0] * 2
        return re.sub(r"[^\n]", " ", piece)
    return re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/', blank, text, flags=re.S)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def finish(findings, what):
    for finding in findings:
        print(finding)
    print(f"{len(findings)} findings in {what}" if findings else f"{what}: nothing found")
    sys.exit(1 if findings else 0)
