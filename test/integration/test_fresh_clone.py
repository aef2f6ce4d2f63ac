"""The README's two commands as a newcomer runs them: a clean Debian in a container, a fresh clone of what is committed, nothing
installed but git. Half an hour for each release: --long. The transcripts are build/test-results/fresh-clone-*.log."""

import pathlib
import re
import subprocess

import pytest
from harness.engine import BASE, Engine, why_not
from harness.process import TOP

pytestmark = [pytest.mark.slow, pytest.mark.timing, pytest.mark.timeout(5400)]

CERTIFICATES = pathlib.Path("/usr/local/share/ca-certificates")  # of a company's proxy, for example: npm must know them, too
COMMANDS = """
export DEBIAN_FRONTEND=noninteractive
mirror=$(awk '$1 == "deb" { print $2; exit }' /etc/apt/sources.list 2>/dev/null)  # as debootstrap leaves it: without updates
if [ -n "$mirror" ]; then
    . /etc/os-release
    echo "deb $mirror $VERSION_CODENAME-updates main" >>/etc/apt/sources.list
    echo "deb $mirror-security $VERSION_CODENAME-security main" >>/etc/apt/sources.list
fi
apt-get update -qq && apt-get install -y -qq --no-install-recommends git ca-certificates >/dev/null || exit 1
cp -r /certificates /usr/local/share/ca-certificates && update-ca-certificates >/dev/null 2>&1
export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt NPM_CONFIG_CAFILE=/etc/ssl/certs/ca-certificates.crt
git config --global --add safe.directory '*'
git clone -q /source mosquitto-aws && cd mosquitto-aws && git log --oneline -1
run() { echo "$ $*"; time "$@"; echo "exit $?"; }
run ./quickstart --demo --for 60
run ./test/run $1
"""


@pytest.fixture
def engine():
    if why_not():
        pytest.skip(why_not())
    e = Engine()
    try:
        if e.why:
            pytest.skip(e.why)
        yield e
    finally:
        e.close()


@pytest.mark.parametrize("image, options", [
    (BASE, ""),
    ("debian:trixie-slim", "--preset dev"),  # with ASan, its mosquitto leaks where it refuses a configuration
])
def test_the_two_commands(engine, tmp_path, image, options):
    engine.base(image)
    subprocess.run(["git", "clone", "-q", "--bare", TOP, tmp_path / "source"], check=True)
    CERTIFICATES.mkdir(parents=True, exist_ok=True)
    transcript = TOP / f"build/test-results/fresh-clone-{image.partition(':')[2]}.log"
    transcript.parent.mkdir(parents=True, exist_ok=True)
    rights = [w for c in ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE") for w in ("--cap-add", c)]  # small disks, network namespaces, sanitizers
    rights += ["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]
    with open(transcript, "wb") as out:
        subprocess.run(["/usr/bin/docker", "run", "--rm", *rights, "--network", "host", "-v", f"{tmp_path / 'source'}:/source:ro",
                        "-v", f"{CERTIFICATES}:/certificates:ro", image, "bash", "-c", COMMANDS, "-", options],
                       env=engine.env, stdout=out, stderr=subprocess.STDOUT, check=True)
    text = transcript.read_text(errors="replace")
    assert re.findall(r"^exit (\d+)$", text, re.M) == ["0", "0"], text[-4000:]
    assert int(re.search(r"(\d+) rows in SQLite", text)[1]) > 0
    assert re.search(r"^[1-9]\d* passed, 0 failed$", text, re.M)
