#!/usr/bin/python3
"""Each check finds what it is for: a small tree that passes, and mistakes planted in it one at a time."""

import os
import pathlib
import stat
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent

GOOD = {
    "common/base/CMakeLists.txt": "add_library(base STATIC a.c)\n",
    "common/net/CMakeLists.txt": "add_library(net STATIC b.c)\ntarget_link_libraries(net PUBLIC base)\n",
    "plugin/CMakeLists.txt": "add_library(plugin_core STATIC p.c)\ntarget_link_libraries(plugin_core PUBLIC net)\n",
    "mqttsn/CMakeLists.txt": "add_library(mqttsn STATIC m.c)\n",
    "common/base/a.h": "int a(void);\n",
    "common/base/a.c": '#include "base/a.h"\n\n#include <stdio.h>\n\nint a(void)\n{\n    return 1; /* sprintf( */\n}\n',
    "common/net/b.c": '#include "base/a.h"\n#include <uv.h>\nLOG_POINT(log_x, "net.x", LOG_ERROR, "x");\n',
    "plugin/p.c": '#include "net/b.h"\n#include "plugin/p.h"\nconst struct option_table p_table = {0};\n',
    "mqttsn/m.c": "int m;\n",
    "docs/log-ids.md": "| id | level | what |\n|---|---|---|\n| net.x | error | An x. |\n",
    "docs/p.5": ".Sh OPTIONS\n.Bl\n.It Cm size Ar SIZE\nSize.\nDefault:\n.Li 512k .\n.It Cm topic Ar T\nTopic.\n.El\n"
                ".Sh OTHER\n.It Cm sensor= Ar x\ny\n.It Cm pause\nz\n",
    "conf/p.conf": "# Comment.\n#opt_size 512k\nopt_topic a\n#opt_topic b c\nother 1\n",
    "test/checks/CMakeLists.txt": "option_table_check(p TABLE p_table)\n",
    "run": "#!/bin/sh\necho hello\n",
}
PROGRAM = """#!/bin/sh
[ $# -eq 0 ] && printf 'size\\t1\\t512k\\ntopic\\t0\\t\\n' && exit
[ "$2" != wrong ] || { echo "option $1: bad" >&2; exit 1; }
"""


class Checks(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.top = pathlib.Path(self.folder.name)
        for path, text in GOOD.items():
            self.write(path, text)
        self.program = self.top / "program"
        self.program.write_text(PROGRAM)
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)

    def tearDown(self):
        self.folder.cleanup()

    def write(self, path, text):
        (self.top / path).parent.mkdir(parents=True, exist_ok=True)
        (self.top / path).write_text(text)

    def run_check(self, name, *arguments):
        env = dict(os.environ, CHECK_TOP=str(self.top), GIT_CEILING_DIRECTORIES=str(self.top.parent))
        result = subprocess.run([HERE / name, *arguments], env=env, capture_output=True, text=True)
        self.assertEqual(result.stderr, "")
        return result.returncode, result.stdout

    def passes(self, name, *arguments):
        code, output = self.run_check(name, *arguments)
        self.assertEqual(code, 0, output)

    def finds(self, expected, path, text, name, *arguments):
        """With `text` in the place of the file the check fails and says `expected`."""
        before = GOOD.get(path)
        self.write(path, text)
        code, output = self.run_check(name, *arguments)
        self.assertIn(expected, output)
        self.assertEqual(code, 1, output)
        if before is None:
            (self.top / path).unlink()
        else:
            self.write(path, before)

    def test_fences(self):
        self.passes("fences.py")
        for path, line, why in (
                ("common/base/a.c", '#include "net/b.h"', "common/base may not use net"),
                ("common/base/a.c", "#include <uv.h>", "uv.h belongs behind"),
                ("common/net/b.c", '#include "mqtt/c.h"', "common/net may not use mqtt"),
                ("common/net/b.c", "#  include  <sqlite3.h>", "sqlite3.h belongs behind"),
                ("plugin/p.c", '#include "mqttsn/m.h"', "plugin may not use mqttsn"),
                ("plugin/p.c", "#include <mosquitto_broker.h>", "mosquitto_broker.h belongs behind"),
                ("plugin/p.c", "#include <openssl/ssl.h>", "openssl/ssl.h belongs behind"),
                ("plugin/p.c", '#include "../common/base/a.h"', "../common/base/a.h: write the path from the top"),
                ("plugin/p.c", '#include "q.h"', "q.h is not beside this file")):
            self.finds(f"{path}:1: {why}", path, line + "\n", "fences.py")
        self.finds("mqttsn may not link plugin_core of plugin", "mqttsn/CMakeLists.txt",
                   "target_link_libraries(mqttsn PRIVATE plugin_core)\n", "fences.py")
        self.finds("common/base may not link net", "common/base/CMakeLists.txt",
                   "add_library(base a.c)\ntarget_link_libraries(base net)\n", "fences.py")
        self.finds("libmosquitto is linked nowhere", "plugin/CMakeLists.txt",
                   "target_link_libraries(plugin_core PkgConfig::LIBMOSQUITTO)\n", "fences.py")

    def test_sizes(self):
        self.passes("sizes.py")
        body = "    a();\n" * 97
        self.finds("file has 801 lines", "common/base/a.c", "int a;\n" * 801, "sizes.py")
        self.write("common/base/a.c", "static int f(void)\n{\n" + body + "}\n")
        self.passes("sizes.py")
        self.finds("common/base/a.c:3: f has 101 lines", "common/base/a.c",
                   "int x;\n\nint f(int a,\n      int b)\n{\n" + body + "}\n", "sizes.py")

        self.finds("common/base/a.c:1: the brace belongs", "common/base/a.c", "int export(int a) {\n}\n", "sizes.py")

    def test_banned(self):
        self.passes("banned.py")
        for use in ("strcpy(a, b)", "x = atoi (s)", "localtime(&t)", "strtok(s, d)"):
            self.finds("common/base/a.c:2:", "common/base/a.c", f"int f(void);\n{use};\n", "banned.py")
        self.write("common/base/a.c", 'x = "gets(s)"; localtime_r(&t, &tm); my_rand(); p->time(1); p.exit(2);\n')
        self.passes("banned.py")

    def test_log_ids(self):
        self.passes("log_ids.py")
        self.finds("net.x is error here, notice at", "docs/log-ids.md", "| net.x | notice | An x. |\n", "log_ids.py")
        self.finds("net.x has no row", "docs/log-ids.md", "| id | level | what |\n", "log_ids.py")
        self.finds("no LOG_POINT has the id net.y", "docs/log-ids.md",
                   "| net.x | error | An x. |\n| net.y | error | A y. |\n", "log_ids.py")
        self.finds("not in alphabetical order", "docs/log-ids.md",
                   "| net.x | error | An x. |\n| net.a | error | An a. |\n", "log_ids.py")
        self.finds("net.x is also at", "common/base/a.c", 'LOG_POINT(b, "net.x", LOG_ERROR, "x");\n', "log_ids.py")
        self.finds("in lower case", "common/base/a.c", 'LOG_POINT(b, "x", LOG_ERROR, "x");\n', "log_ids.py")
        self.finds("write the id as a string", "common/base/a.c", 'LOG_POINT(b, ID, LOG_ERROR, "x");\n', "log_ids.py")

    def test_options(self):
        arguments = (self.program, "--man", "docs/p.5", "--conf", "conf/p.conf", "--prefix", "opt_")
        self.passes("options.py", *arguments)
        man, conf = GOOD["docs/p.5"], GOOD["conf/p.conf"]
        for why, text in (
                ("default of size is 1M here, 512k in the table", man.replace("512k", "1M")),
                ("default of size is missing here", man.replace("Default:\n", "")),
                ("there is no option bogus", man.replace(".It Cm topic", ".It Cm bogus")),
                ("topic is missing", man.replace(".It Cm topic", ".It Li topic")),
                ("topic is also at", man.replace(".El", ".It Cm topic\n.El", 1))):
            self.finds(why, "docs/p.5", text, "options.py", *arguments)
        for why, text in (
                ("size is shown with 1M, its default is 512k", conf.replace("512k", "1M")),
                ("there is no option bogus", conf + "#opt_bogus 1\n"),
                ("topic is missing", conf.replace("topic", "size")),
                ("option topic: bad", conf + "opt_topic wrong\n")):
            self.finds(why, "conf/p.conf", text, "options.py", *arguments)
        self.finds("there is no such file", "x", "", "options.py", self.program, "--man", "docs/q.5")
        self.passes("options.py", "--registered")
        self.finds("p_table has no option_table_check", "test/checks/CMakeLists.txt", "\n", "options.py", "--registered")

    def test_text(self):
        self.passes("text.py")
        self.finds("run:2: a path of this machine", "run", f"#!/bin/sh\ncd {self.top}/x\n", "text.py")
        self.finds("a tab", "common/base/a.c", "int\ta;\n", "text.py")
        self.finds("blanks at the end", "docs/log-ids.md", "a \nb\n", "text.py")
        self.finds("CR", "run", "#!/bin/sh\r\n", "text.py")
        self.finds("no newline", "run", "#!/bin/sh", "text.py")
        self.finds("a conflict marker", "run", "=" * 7 + "\n", "text.py")
        self.finds("a.md:2: b.md is not there", "a.md", "[c](docs/log-ids.md#x)\n[b](b.md)\n", "text.py")
        self.finds("the address of a registry", "package-lock.json", '{\n  "resolved"' + ': "https://example.org/x"\n}\n',
                   "text.py")

    def test_build_files(self):
        self.passes("build_files.py")
        self.finds("name the sources", "plugin/CMakeLists.txt", "file(GLOB sources *.c)\n", "build_files.py")


if __name__ == "__main__":
    unittest.main()
