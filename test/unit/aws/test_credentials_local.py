"""Container endpoint and instance metadata at their real link-local addresses, in a network namespace of the test's own."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

TOOL = os.environ.get("CREDENTIALS_TOOL")
SERVER = pathlib.Path(__file__).parents[2] / "fakes" / "credential_server.py"


def namespaces_work():
    try:
        return subprocess.run(["unshare", "-rn", "ip", "link", "set", "lo", "up"], capture_output=True, timeout=10).returncode == 0
    except OSError:
        return False


pytestmark = [
    pytest.mark.skipif(not TOOL, reason="CREDENTIALS_TOOL does not name the built credentials_tool"),
    pytest.mark.skipif(not namespaces_work(), reason="no network namespaces here (unshare -rn, ip)"),
]

# In the namespace: an address, the server on its port 80, then the tool.
INSIDE = """
import subprocess, sys, json
address, server, tool = sys.argv[1:4]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "addr", "add", address + "/32", "dev", "lo"], check=True)
p = subprocess.Popen([sys.executable, server, "--address", address, "--http-port", "80"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
p.stdout.readline()
r = subprocess.run([tool], capture_output=True, text=True, timeout=30)
p.stdin.close()
p.wait()
print(json.dumps(r.stdout))
"""


def ask(address, **environment):
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", **environment}
    run = subprocess.run(["unshare", "-rn", sys.executable, "-c", INSIDE, address, SERVER, TOOL], env=env, capture_output=True,
                         text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_container_relative_uri():
    said = ask("169.254.170.2", AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/container",
               AWS_CONTAINER_AUTHORIZATION_TOKEN="container-token")
    assert said.startswith("ready container ASIA"), said


def test_container_wrong_token():
    said = ask("169.254.170.2", AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/container", AWS_CONTAINER_AUTHORIZATION_TOKEN="wrong")
    assert "container: status 401: wrong token" in said


def test_instance_metadata():
    """A proxy in the environment must not be asked for link-local addresses."""
    said = ask("169.254.169.254", AWS_EC2_METADATA_DISABLED="", http_proxy="http://127.0.0.1:1")
    assert said.startswith("ready instance-metadata ASIA"), said


def test_nobody_there():
    """Neither network nor settings: every source says why, within seconds."""
    said = ask("169.254.170.2", AWS_EC2_METADATA_DISABLED="")
    assert said.startswith("failed iot-role-alias: aws_role_alias is not set; environment: AWS_ACCESS_KEY_ID is not set; shared-files: "), said
    assert "container: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set; instance-metadata: unreachable" in said
