"""The DynamoDB sink in the test host (test/host), where sanitizers see all of the plugin, its threads included. Run by ctest as
host/dynamodb."""

import subprocess

import pytest
from harness import dynamodb

pytestmark = pytest.mark.skipif(not dynamodb.dynalite_is_there(), reason="no dynalite: npm ci in test/")


@pytest.fixture
def dynamo(started):
    d = dynamodb.Dynamo()
    started.others.append(d)
    d.create_table()
    return d


@pytest.fixture
def host(build, plugin, started, tmp_path, dynamo):
    """host(options, *commands): runs the commands; output lines by their first word."""
    def run(options, *commands, env=None):
        lines = [f"option {o}" for o in [*dynamo.options(), f"spool_dir {tmp_path}/spool", "sys_interval 100ms", "store a/+", *options]]
        environment = dynamodb.environment(dynamodb.aws_identity.issue(3600)) if env is None else env
        p = subprocess.run([build / "test" / "host" / "plugin_host", plugin], input="\n".join(lines + list(commands)) + "\n",
                           text=True, capture_output=True, timeout=120,
                           env={"PATH": "/usr/bin:/bin", **environment, **started.sanitizer.env(preload=False)})
        reports = "\n".join(started.sanitizer.reports())
        assert p.returncode == 0, f"exit {p.returncode}\n{p.stdout[-4000:]}\n{p.stderr[-4000:]}\n{reports}"
        found = {}
        for line in p.stdout.splitlines():
            word, _, rest = line.partition(" ")
            found.setdefault(word, []).append(rest)
        assert found["init"] == ["0"] and found["cleanup"] == ["0"], p.stdout[-2000:]
        return found
    return run


def test_stored_with_faults(host, dynamo):
    """Faults, a reload in the middle, and a stop while requests are on their way; then the rest."""
    dynamo.control(rules=[{"fault": "unprocessed", "fraction": 0.2}, {"fault": "error", "share": 0.1}, {"fault": "reset", "share": 0.1},
                          {"fault": "throttle", "share": 0.05}])
    host([], "init", "burst 1500 1 a/one", "tick 300", "reload", "tick 300", "cleanup")
    dynamo.control(rules=[])
    host([], "init", "tick 4000", "cleanup")
    assert dynamo.count() == 1500


def test_stop_at_any_time(host, dynamo):
    dynamo.control(rules=[{"fault": "slow", "delay": 0.2}])
    for milliseconds in (0, 10, 50, 150):
        host([], "init", "burst 200 1 a/one", f"tick {milliseconds}", "cleanup")
    host([], "init", "burst 10 1 a/one", "tick 50", "cleanup", env=dynamodb.environment())  # no credentials
    dynamo.stop_proxy()
    host([], "init", "burst 10 1 a/one", "tick 200", "cleanup")


def test_credentials_from_everywhere(host, dynamo, started, server_id, client_id):
    """Short-lived credentials that are renewed, a provider that goes away, a stop while it is asked."""
    provider = dynamodb.CredentialServer(server_id)
    started.others.append(provider)
    provider.control(lifetime=3)
    alias = ["aws_role_alias gateway", f"aws_credentials_endpoint localhost:{provider.https}", f"iot_certfile {client_id.cert}",
             f"iot_keyfile {client_id.key}", f"iot_cafile {client_id.ca}"]
    host(alias, "init", "burst 100 1 a/one", "tick 3000", "burst 100 1 a/two", "reload", "tick 2000", "cleanup", env=dynamodb.environment())
    assert dynamo.count() == 200 and len(dynamo.control()["access_keys"]) >= 2
    provider.close()
    host(alias, "init", "burst 10 1 a/one", "tick 100", "cleanup", env=dynamodb.environment())
