"""Programs under test: start, watch, end. Nothing here ends a process that it did not start."""

import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time

TOP = pathlib.Path(__file__).resolve().parents[3]


def wait_until(condition, timeout=10, what=None, every=0.02):
    """Calls condition() until it gives something true, which is returned. AssertionError after `timeout` seconds; `what`
    (text or function) says what was waited for."""
    end = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            text = what() if callable(what) else what
            raise AssertionError(f"not within {timeout} s: {text or condition}")
        time.sleep(every)


_given = set()


def free_port():
    """A port that is free for TCP and UDP on every address, below the range the kernel hands out by itself, and not given
    before in this process."""
    while True:
        port = random.SystemRandom().randrange(12000, 32000)
        if port in _given:
            continue
        try:
            for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(family, kind) as s:
                        if family == socket.AF_INET6:
                            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                        s.bind((address, port))
        except OSError:
            continue
        _given.add(port)
        return port


def accepts(port, host="127.0.0.1"):
    """Does somebody listen on this TCP port?"""
    try:
        socket.create_connection((host, port), 1).close()
        return True
    except OSError:
        return False


class Process:
    """A program whose output (standard output and error) goes to the file `log`, appended to by each start."""

    def __init__(self, name, argv, directory, env=None, cwd=None):
        self.name = name
        self.argv = [str(a) for a in argv]
        self.log = pathlib.Path(directory) / f"{name}.log"
        self.env = dict(os.environ, **(env or {}))
        self.cwd = cwd
        self.popen = None
        self.log_start = 0  # where the output of the latest start begins

    def start(self):
        assert not self.running(), f"{self.name} runs already"
        with open(self.log, "ab") as out:
            self.log_start = out.tell()
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env,
                                          cwd=self.cwd, start_new_session=True)
        return self

    @property
    def pid(self):
        return self.popen.pid

    def running(self):
        return self.popen is not None and self.popen.poll() is None

    def signal(self, number):
        assert self.running(), f"{self.name} does not run:\n{self.tail()}"
        self.popen.send_signal(number)

    def stop(self, timeout=20):
        """SIGTERM; the exit code. A program that does not end in time is killed, and that is an error."""
        if self.popen is None:
            return None
        if self.running():
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {timeout} s of SIGTERM:\n{self.tail()}") from None

    def kill(self):
        """kill -9."""
        if self.running():
            self.popen.send_signal(signal.SIGKILL)
        if self.popen is not None:
            self.popen.wait()

    def wait(self, timeout=20):
        """Waits for the program to end by itself; its exit code."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout} s:\n{self.tail()}") from None

    def text(self, everything=False):
        """Output since the latest start, or since the very first."""
        try:
            with open(self.log, "rb") as f:
                f.seek(0 if everything else self.log_start)
                return f.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def lines(self, pattern, everything=False):
        """Output lines that contain the regular expression."""
        return [line for line in self.text(everything).splitlines() if re.search(pattern, line)]

    def wait_log(self, pattern, timeout=10, count=1):
        """Waits until `count` lines contain the regular expression; the last of them."""
        def there():
            found = self.lines(pattern)
            if len(found) >= count:
                return found
            if not self.running():
                found = self.lines(pattern)
                assert len(found) >= count, f"{self.name} ended without a line like {pattern!r}:\n{self.tail()}"
            return len(found) >= count and found
        return wait_until(there, timeout, lambda: f"{self.name} wrote no line like {pattern!r}:\n{self.tail()}", 0.05)[-1]

    def tail(self, lines=40):
        return "\n".join(self.text(everything=True).splitlines()[-lines:])

    def cpu_seconds(self):
        """User and system time used so far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_kb(self, field="VmRSS"):
        """A line of /proc/PID/status (VmRSS, RssAnon, VmHWM ...) in KiB."""
        return int(re.search(rf"^{field}:\s+(\d+)", pathlib.Path(f"/proc/{self.pid}/status").read_text(), re.M)[1])

    def files(self, task=None):
        """Descriptors of a thread (the main one) and what they lead to: the plugin's threads have a table of their own."""
        found = {}
        for fd in pathlib.Path(f"/proc/{self.pid}/task/{task or self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found[int(fd.name)] = os.readlink(fd)
        return found

    def open_files(self):
        """Number of descriptors in all threads."""
        tasks = [t.name for t in pathlib.Path(f"/proc/{self.pid}/task").iterdir()]
        return len(set().union(*[self.files(t).items() for t in tasks]))

    def threads(self):
        """Names of the process's threads."""
        tasks = pathlib.Path(f"/proc/{self.pid}/task")
        return sorted((t / "comm").read_text().strip() for t in tasks.iterdir())


class Sanitizer:
    """Makes a program that is not instrumented (mosquitto) load a plugin that is, and finds the reports afterwards."""

    def __init__(self, build, directory):
        cache = pathlib.Path(build) / "CMakeCache.txt"
        found = re.search(r"^MQA_SANITIZE:\w+=(.*)$", cache.read_text(), re.M) if cache.exists() else None
        self.kinds = [k for k in (found[1] if found else "").split(",") if k]
        self.directory = pathlib.Path(directory)

    def env(self, preload=True):
        """Environment for a program; preload: the program itself is not instrumented."""
        if not self.kinds:
            return {}
        suppressions = TOP / "test" / "integration" / "harness"
        common = f"log_path={self.directory}/sanitizer:exitcode=99:handle_abort=1"
        env = {"ASAN_OPTIONS": f"{common}:detect_leaks=1:verify_asan_link_order=0",
               "LSAN_OPTIONS": f"suppressions={suppressions}/lsan.supp:print_suppressions=0",
               "TSAN_OPTIONS": f"{common}:suppressions={suppressions}/tsan.supp",
               "UBSAN_OPTIONS": f"log_path={self.directory}/sanitizer:print_stacktrace=1"}
        library = {"address": "libasan.so", "thread": "libtsan.so"}
        wanted = [library[k] for k in self.kinds if k in library]
        if preload and wanted:
            paths = [subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip() for name in wanted]
            env["LD_PRELOAD"] = " ".join(paths)
        return env

    def reports(self):
        """Text of every report written so far."""
        return [f"{p.name}:\n{p.read_text(errors='replace')}" for p in sorted(self.directory.glob("sanitizer*"))]
