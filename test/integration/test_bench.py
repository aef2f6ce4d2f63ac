"""The benchmarks of the spine run and print their tables. Small sizes: what they say here means nothing."""

import subprocess

import pytest
from harness.process import TOP


def test_spine(build, plugin, started):
    if started.sanitizer.kinds:
        pytest.skip("not with sanitizers")
    p = subprocess.run([TOP / "test" / "bench" / "run", "--quick", "--build", build, "unmatched", "drain", "latency", "spool",
                        "sqlite"], capture_output=True, text=True, timeout=240)
    assert p.returncode == 0, p.stdout + p.stderr
    assert p.stdout.count("\n\n|") == 8
