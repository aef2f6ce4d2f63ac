"""A container engine for a test: Debian's dockerd with a data folder and a socket of its own. It changes nothing on the machine: no
iptables rules (published ports go through docker-proxy), no default bridge, networks in a range of its own."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from .process import TOP, wait_until

BASE = "debian:bookworm-slim"
TARGETS = ("broker", "mqttsn-gateway", "websensor", "dashboard")


def why_not():
    """What is missing to run containers here, or None."""
    if os.geteuid() != 0:
        return "containers need root"
    for program in ("dockerd", "docker-compose", "debootstrap"):
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            return f"{program} is not installed (apt install docker.io docker-compose debootstrap)"
    if bridges_are_filtered():
        return "the firewall rules of another container engine would cut this one's networks (iptables -S FORWARD)"
    return None


def bridges_are_filtered():
    """Another engine on this machine drops what its own rules do not let through, also between our containers."""
    try:
        with open("/proc/sys/net/bridge/bridge-nf-call-iptables") as f:
            filtered = f.read().strip() == "1"
        policy = subprocess.run(["/usr/sbin/iptables", "-S", "FORWARD"], capture_output=True, text=True).stdout
    except OSError:
        return False
    return filtered and "-P FORWARD DROP" in policy


class Engine:
    """`why` says what went wrong if it does not run."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mqa-", dir="/var/tmp"))  # short: there are sockets in it
        self.data = self.folder / "data"
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{self.folder}/sock", "DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(self.folder)}
        self.env.pop("DOCKER_CONTEXT", None)
        self.log = open(self.folder / "log", "wb")
        self.daemon = subprocess.Popen(
            ["/usr/sbin/dockerd", "--data-root", self.data, "--exec-root", self.folder / "exec", "-H", self.env["DOCKER_HOST"], "--pidfile",
             self.folder / "pid", "--iptables=false", "--ip6tables=false", "--bridge=none", "--default-address-pool",
             "base=10.213.0.0/16,size=24"], stdout=self.log, stderr=self.log, start_new_session=True)
        self.why = None
        try:
            wait_until(lambda: self.daemon.poll() is not None or self.docker("info", check=False).returncode == 0, 30, "dockerd", 0.3)
        except AssertionError as e:
            self.why = str(e)
        if self.why or self.daemon.poll() is not None:
            last = (self.folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
            self.why = f"dockerd does not run here: {last}"

    def docker(self, *words, check=True, timeout=120, **more):
        p = subprocess.run(["/usr/bin/docker", *map(str, words)], env=self.env, capture_output=True, text=True, timeout=timeout, **more)
        assert not check or p.returncode == 0, f"docker {words}: {p.stdout}{p.stderr}"
        return p

    def inspect(self, what):
        return json.loads(self.docker("inspect", what).stdout)[0]

    def base(self, image=BASE):
        """The base image debian:CODENAME-slim: for BASE the archive that MQA_BASE names (a saved debootstrap, for repeated runs), or
        pulled, or made here."""
        if image == BASE and os.environ.get("MQA_BASE"):
            self.docker("import", os.environ["MQA_BASE"], image)
            return
        if self.docker("pull", "-q", image, check=False, timeout=180).returncode == 0:
            return
        root = self.folder / "base"
        codename = image.removeprefix("debian:").removesuffix("-slim")
        subprocess.run(["debootstrap", "--variant=minbase", codename, root], check=True, capture_output=True, timeout=600)
        shutil.rmtree(root / "var/cache/apt")
        shutil.rmtree(root / "var/lib/apt/lists")
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
            self.docker("import", "-", image, stdin=tar.stdout)
        shutil.rmtree(root)

    def build(self, target):
        self.docker("build", "-q", "--network", "host", "-f", TOP / "docker/Dockerfile", "--target", target,
                    "-t", f"mosquitto-aws-{target}:test", TOP, timeout=1200)

    def close(self):
        self.daemon.terminate()
        self.daemon.wait(60)
        self.log.close()
        mounts = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed([m for m in mounts if m.startswith(f"{self.folder}/")]):  # a network namespace stays mounted
            subprocess.run(["umount", mount], check=False)
        shutil.rmtree(self.folder)


class System:
    """docker/docker-compose.yml in a copy of the folder, so that a test may change its configuration."""

    def __init__(self, engine, folder, ports, **env):
        self.engine, self.folder, self.ports, self.project = engine, folder / "docker", ports, "system"
        shutil.copytree(TOP / "docker", self.folder, ignore=shutil.ignore_patterns(".env"))
        self.env = {**engine.env, "COMPOSE_PROJECT_NAME": self.project, "MQA_TAG": "test", "MQTT_PORT": ports[0], "MQTTSN_PORT": ports[1],
                    "HTTPS_PORT": ports[2], "DASHBOARD_PORT": ports[3], "DASHBOARD_AWS_PORT": ports[4], **env}

    def compose(self, *words, check=True, timeout=300):
        p = subprocess.run(["/usr/bin/docker-compose", *words], cwd=self.folder, env={k: str(v) for k, v in self.env.items()},
                           capture_output=True, text=True, timeout=timeout)
        assert not check or p.returncode == 0, p.stdout + p.stderr
        return p

    def container(self, service):
        return self.engine.inspect(f"{self.project}_{service}_1")

    def up(self, *words):
        self.compose("up", "-d", "--no-build", *words)
        self.wait_healthy()

    def health(self):
        """service -> "healthy", or its state without a health check"""
        states = {}
        for name in self.engine.docker("ps", "-a", "--filter", f"label=com.docker.compose.project={self.project}", "--format",
                                       '{{.Label "com.docker.compose.service"}}').stdout.split():
            state = self.container(name)["State"]
            states[name] = state.get("Health", {}).get("Status", state["Status"]) if state["Running"] else state["Status"]
        return states

    def wait_healthy(self, timeout=90):
        wait_until(lambda: set(self.health().values()) == {"healthy"}, timeout, lambda: f"{self.health()} {self.logs()}", 0.5)

    def kill9(self, service):
        """The program in the container dies as by a crash; the engine is to start it again."""
        os.kill(self.container(service)["State"]["Pid"], 9)

    def volume(self, name):
        return self.engine.data / "volumes" / f"{self.project}_{name}" / "_data"

    def logs(self):
        return self.compose("logs", "--no-color", "--tail", "40", check=False).stdout

    def down(self):
        self.compose("--profile", "aws", "down", "-v", "-t", "10", check=False)
