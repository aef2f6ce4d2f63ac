"""Fixtures of the integration tests. Run: pytest test/integration (MQA_BUILD names the build directory, default build/dev).

    def test_something(broker, far_side, client_id):
        b = broker(options=[*far_side.plugin_options(client_id), "topic sensors/# out 1"])
        seen = far_side.recorder("#")
        b.publish("sensors/1", b"21.5")
        assert seen.wait_messages(1)[0].payload == b"21.5"

    build       the build directory                    programs of the other parts: build / "mqttsn" / "mqttsn-gateway" ...
    plugin      the plugin's .so; a test that asks for it is skipped while there is none
    program     program(argv, name=...) -> harness.process.Process, started; ended with the test
    pki         the session's certificate authority (harness.pki.Pki)
    server_id   server identity for localhost          client_id   client identity "gateway"
    broker      broker(options=[...], **more) -> harness.broker.Broker with the plugin, started unless start=False
    plain_broker  a started mosquitto without the plugin
    far_side    a started mosquitto with require_certificate that stands in for IoT Core (harness.broker.FarSide)
    relay       relay(port) -> harness.relay.Relay in front of it
    dashboard   dashboard(options) -> harness.dashboard.Dashboard, dashboard.cgi under lighttpd
    gate        gate(**options) -> harness.gate.Gate, the stand-in that enforces IoT Core's limits and injects faults

Marks: `slow` tests run only with --long (the full figures of the issue), `timing` tests not with sanitizers. Everything a test
starts is ended with it, also when it fails; then the logs of all its programs are shown. A sanitizer report of any of them
fails the test.
"""

import os
import pathlib
import shutil
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness.broker import Broker, FarSide  # noqa: E402
from harness.pki import Pki  # noqa: E402
from harness.process import TOP, Process, Sanitizer  # noqa: E402
from harness.relay import Relay  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the tests marked slow")
    parser.addoption("--seed", type=int, help="the seed that a randomized test has printed, to run it again")
    parser.addoption("--uplink", action="append", default=[], metavar="FILE",
                     help="an uplink of The Things Stack that you recorded, for test_scenarios.py (may be given again)")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: minutes long; only with --long")
    config.addinivalue_line("markers", "timing: judges how long something takes; not with sanitizers")
    # What runs in the background of a shell ignores Ctrl-C, and so would all that it starts.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="only with --long"))


class Started:
    """Everything a test has started."""

    def __init__(self, directory, sanitizer):
        self.directory = directory
        self.sanitizer = sanitizer
        self.processes = []  # harness.process.Process
        self.others = []     # with a close()

    def finish(self):
        """Ends everything, latest first; what went wrong with that."""
        problems = []
        for other in reversed(self.others):
            other.close()
        for process in reversed(self.processes):
            try:
                code = process.stop()
                if code == 99:
                    problems.append(f"{process.name} ended by a sanitizer")
            except AssertionError as e:
                problems.append(str(e))
        return problems + self.sanitizer.reports()

    def logs(self):
        return "\n".join(f"--- {p.name} ({' '.join(p.argv)})\n{p.tail(60)}" for p in self.processes)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    item.failed = getattr(item, "failed", False) or report.failed
    started = item.funcargs.get("started") if hasattr(item, "funcargs") else None
    if report.failed and started:
        report.sections.append(("logs of what the test started", started.logs()))


@pytest.fixture(scope="session")
def build():
    return pathlib.Path(os.environ.get("MQA_BUILD", TOP / "build" / "dev")).resolve()


@pytest.fixture(scope="session")
def plugin(build):
    path = build / "plugin" / "mosquitto_aws.so"
    if not path.exists():
        pytest.skip(f"no plugin at {path}")
    return path


@pytest.fixture
def started(request, tmp_path, build):
    s = Started(tmp_path, Sanitizer(build, tmp_path))
    yield s
    problems = s.finish()
    if problems:
        pytest.fail("\n".join(problems))
    if not getattr(request.node, "failed", False):
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def program(started, tmp_path):
    """program(argv, name="x", instrumented=True, **Process options): started. instrumented: built by us (no preload needed)."""
    def start(argv, name=None, env=None, **options):
        name = name or pathlib.Path(str(argv[0])).name
        p = Process(name, argv, tmp_path, {**started.sanitizer.env(preload=False), **(env or {})}, **options)
        started.processes.append(p)
        return p.start()
    return start


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def server_id(pki):
    return pki.server()


@pytest.fixture(scope="session")
def client_id(pki):
    return pki.client("gateway")


@pytest.fixture
def broker(started, plugin, tmp_path):
    """broker(options=[...], conf=..., name=..., start=True, ...): see harness.broker.Broker."""
    def make(options=(), start=True, **more):
        b = Broker(more.pop("directory", tmp_path), plugin, options, sanitizer=started.sanitizer, **more)
        started.processes.append(b.process)
        return b.start() if start else b
    return make


@pytest.fixture
def plain_broker(started, tmp_path):
    """A mosquitto without the plugin; plain_broker(conf=..., name=...) makes one."""
    def make(**more):
        b = Broker(tmp_path, name=more.pop("name", "plain"), **more)
        started.processes.append(b.process)
        return b.start()
    return make


@pytest.fixture
def far_side(started, server_id, tmp_path):
    b = FarSide(tmp_path, server_id)
    started.processes.append(b.process)
    return b.start()


@pytest.fixture
def relay(started):
    def make(port, **options):
        r = Relay(port, **options)
        started.others.append(r)
        return r
    return make


@pytest.fixture
def gate(started, server_id, tmp_path):
    """gate(server=identity, **limits): see harness.gate.Gate."""
    from harness.gate import Gate

    def make(server=None, name="gate", **options):
        g = Gate(tmp_path, server or server_id, name, **options)
        started.processes.append(g.process)
        return g.start()
    return make


@pytest.fixture
def dashboard(started, build, tmp_path):
    """dashboard(options, kind="fastcgi" | "cgi", env={}): see harness.dashboard.Dashboard; started."""
    from harness.dashboard import Dashboard

    def make(options=(), kind="fastcgi", env=None, **more):
        d = Dashboard(tmp_path, build, options, kind, env={**started.sanitizer.env(preload=False), **(env or {})}, **more)
        started.processes.append(d.process)
        return d.start()
    return make
