"""A clean Debian 12 under systemd, booted in a container of systemd-nspawn with a network of its own (nothing but loopback)."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from .process import wait_until

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
ENV = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb"}


def why_not():
    if os.geteuid() != 0:
        return "a container needs root"
    for program in ("systemd-nspawn", "debootstrap"):
        if not shutil.which(program, path=PATH):
            return f"{program} is not installed (apt install systemd-container debootstrap)"
    return None


class Machine:
    """packages: installed before it boots, without being started; debs: files that are put into /root/debs, with everything that
    installing them needs in apt's cache. `why` says what went wrong if it does not boot."""

    def __init__(self, packages, debs):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mqa-", dir="/var/tmp"))
        self.root = self.folder / "root"
        self.nspawn = None
        self.leader = None
        self._make(packages, debs)
        self.why = self._boot()

    def _make(self, packages, debs):
        self.root.mkdir()
        if os.environ.get("MQA_BASE"):
            subprocess.run(["tar", "-C", self.root, "-xf", os.environ["MQA_BASE"]], check=True)
        else:
            subprocess.run(["debootstrap", "--variant=minbase", "bookworm", self.root], check=True, capture_output=True, timeout=900)
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (self.root / "root/debs").mkdir()
        for deb in debs:
            shutil.copy(deb, self.root / "root/debs")
        policy = self.root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        install = "apt-get install -y -qq --no-install-recommends"
        self._chroot(f"apt-get update -qq && {install} systemd systemd-sysv dbus {' '.join(packages)} && "
                     f"{install} --download-only /root/debs/*.deb")
        policy.unlink()

    def _chroot(self, script):
        p = subprocess.run(["chroot", self.root, "sh", "-c", script], env=ENV, capture_output=True, text=True, timeout=900)
        assert p.returncode == 0, p.stdout + p.stderr

    def _boot(self):
        with open(self.folder / "boot.log", "wb") as log:
            self.nspawn = subprocess.Popen(
                ["systemd-nspawn", "-b", "-D", self.root, f"--machine={self.folder.name.replace('_', '')}", "--register=no", "--keep-unit",
                 "--private-network"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(self._find_leader, 20, "the container", 0.2)
            wait_until(lambda: self.run("systemctl is-system-running").stdout.strip() in ("running", "degraded"), 60, "systemd", 0.5)
        except AssertionError as e:
            return f"no container boots here: {e}; {(self.folder / 'boot.log').read_text(errors='replace')[-300:]}"
        return None

    def _find_leader(self):
        if self.nspawn.poll() is not None:
            raise AssertionError("systemd-nspawn ended")
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        self.leader = children[0] if children else None
        return self.leader

    def run(self, script):
        """A shell script in the machine; the finished process."""
        return subprocess.run(["nsenter", "-t", self.leader, "-m", "-u", "-i", "-n", "-p", "-C", "sh", "-c", script], env=ENV,
                              capture_output=True, text=True, timeout=300)

    def sh(self, script):
        """One that must succeed; its output."""
        p = self.run(script)
        assert p.returncode == 0, f"{script}\n{p.stdout}{p.stderr}"
        return (p.stdout + p.stderr).strip()

    def close(self):
        if self.nspawn and self.nspawn.poll() is None:
            self.nspawn.send_signal(signal.SIGTERM)  # an orderly shutdown
            try:
                self.nspawn.wait(30)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
