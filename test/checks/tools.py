#!/usr/bin/python3
"""The set-up tools of certs/: what --help lists, what the man page lists and what the script takes are the same options."""

import re
import subprocess

import tree

TOOLS = {"certs/provision": "docs/man/mosquitto-aws-provision.8", "certs/check": "docs/man/mosquitto-aws-check.8",
         "certs/dev-ca": "docs/man/mosquitto-aws-dev-ca.8"}


def of_help(tool):
    text = subprocess.run([tree.TOP / tool, "--help"], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*|-[a-z])(?![\w-])", text)) - {"--endpoint-url"}


def of_man(path):
    return {f"-{name}" for name in re.findall(r"^\.It Fl (\S+)", tree.read(path), re.M)}


def of_script(tool):
    """The words of its `case $1 in` that begin with a dash."""
    labels = re.findall(r"^\s+(-[-a-z| \\]*)\)", tree.read(tool), re.M)
    return {word for label in labels for word in re.findall(r"--?[a-z][a-z-]*", label)}


def main():
    findings = []
    for tool, page in TOOLS.items():
        script, said, listed = of_script(tool) - {"-h"}, of_help(tool), of_man(page)
        for what, options in (("--help", said), (page, listed)):
            findings += [f"{tool}: {what} does not have {name}" for name in sorted(script - options)]
            findings += [f"{tool}: {what} has {name}, which it does not take" for name in sorted(options - script)]
    tree.finish(findings, "set-up tools")


if __name__ == "__main__":
    main()
