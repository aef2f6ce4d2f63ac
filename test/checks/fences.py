#!/usr/bin/python3
"""Who may include and link what: the dependency fences of docs/ARCHITECTURE.md.

    fences.py                 include lines and CMake's link lines
    fences.py --built DIR     programs in the build directory DIR: no libmosquitto, one HTTP client, the plugin's exports
"""

import pathlib
import re
import subprocess
import sys

import tree

# folder of common -> folders of common that it may use
LAYERS = {
    "base": {"base"},
    "net": {"base", "net"},
    "mqtt": {"base", "net", "mqtt"},
    "aws": {"base", "net", "aws"},
    "store": {"base", "net", "store"},
}
PROGRAMS = ("plugin", "mqttsn", "websensor", "dashboard")

# foreign header -> files that may include it (regular expressions)
DOORS = {
    r"mosquitto\w*\.h": r"plugin/(plugin|properties|control\w*|downlink\w*)\.c",
    r"sqlite3\.h": r"common/store/.*",
    r"curl/.*": r"common/net/http_curl\w*\.[ch]",
    r"http_parser\.h": r"common/net/http_(reader|url)\.c",
    r"openssl/.*": r"common/net/(tls|dtls)\w*\.[ch]|common/aws/sigv4\w*\.c",
    r"uv\.h": r"(?!common/base/).*",
    r"microhttpd\.h": r"websensor/.*",
    r"fcgi\w*\.h": r"dashboard/.*",
}
# program -> the library that it does without (there are two HTTP clients)
FOREIGN = {"plugin": "libhttp_parser", "mqttsn": "libcurl|libhttp_parser", "websensor": "libcurl|libhttp_parser", "dashboard": "libcurl"}
EXPORTS = {"mosquitto_plugin_version", "mosquitto_plugin_init", "mosquitto_plugin_cleanup"}


def owner(path):
    """("common", "net"), ("plugin", None) ... or None for what the fences do not hold (tests, examples)."""
    parts = path.split("/")
    if parts[0] == "common" and len(parts) > 2:
        return "common", parts[1]
    return (parts[0], None) if parts[0] in PROGRAMS else None


def include_findings():
    for path in tree.files(".c", ".h"):
        who = owner(path)
        if not who:
            continue
        text = tree.without_comments(tree.read(path))
        for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^">]+)[">]', text, re.M):
            why = judge(path, who, match[1] == "<", match[2])
            if why:
                yield f"{path}:{tree.line_of(text, match.start())}: {why}"


def judge(path, who, foreign, name):
    for header, door in DOORS.items():
        if re.fullmatch(header, name) and not re.fullmatch(door, path):
            return f"{name} belongs behind {door}"
    if foreign:
        return None
    folder = name.split("/")[0] if "/" in name else None
    if ".." in name.split("/"):
        return f"{name}: write the path from the top"
    if folder is None:
        beside = (tree.TOP / path).parent / name
        return None if beside.exists() else f"{name} is not beside this file"
    if who[0] == "common":
        return None if folder in LAYERS.get(who[1], ()) else f"common/{who[1]} may not use {folder}"
    if folder in PROGRAMS and folder != who[0]:
        return f"{who[0]} may not use {folder}"
    return None


def cmake_commands(path):
    """(command, [words], line) of a CMake file."""
    text = re.sub(r"#[^\n]*", "", tree.read(path))
    for match in re.finditer(r"(\w+)\s*\(([^()]*)\)", text):
        yield match[1], match[2].split(), tree.line_of(text, match.start())


def link_findings():
    lists = [f for f in tree.files("CMakeLists.txt") if owner(f)]
    owners = {}
    for path in lists:
        for command, words, _ in cmake_commands(path):
            if command in ("add_library", "add_executable"):
                owners[words[0]] = owner(path)
    for path in lists:
        who = owner(path)
        for command, words, line in cmake_commands(path):
            if command != "target_link_libraries":
                continue
            for word in words[1:]:
                if "mosquitto" in word.lower() and word not in owners:
                    yield f"{path}:{line}: libmosquitto is linked nowhere"
                target = owners.get(word)
                if not target or target == who:
                    continue
                if target[0] != "common":
                    yield f"{path}:{line}: {who[0]} may not link {word} of {target[0]}"
                elif who[0] == "common" and target[1] not in LAYERS[who[1]]:
                    yield f"{path}:{line}: common/{who[1]} may not link {word}"


def output(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def built_findings(build):
    for folder in PROGRAMS:
        for path in sorted((build / folder).glob("*")):
            if not path.is_file() or path.open("rb").read(4) != b"\x7fELF" or path.suffix == ".o":
                continue
            name = f"{folder}/{path.name}"
            for library in re.findall(rf"NEEDED.*\[((?:libmosquitto|{FOREIGN[folder]})\.so\S*)\]", output("readelf", "-dW", path)):
                yield f"{name}: needs {library}"
            if path.suffix == ".so":
                symbols = output("nm", "-D", "--defined-only", path).split("\n")
                exports = {s.split()[-1] for s in symbols if s}
                for extra in sorted(exports - EXPORTS):
                    yield f"{name}: exports {extra}"
                for missing in sorted(EXPORTS - exports):
                    yield f"{name}: does not export {missing}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--built"]:
        tree.finish(list(built_findings(pathlib.Path(sys.argv[2]))), "built programs")
    tree.finish(list(include_findings()) + list(link_findings()), "includes and links")
