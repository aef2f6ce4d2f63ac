"""conf/nginx-dashboard.conf as it is delivered, under a real nginx."""

import gzip
import pathlib

import pytest
from harness.dashboard import NGINX, NginxDashboard, fill_sqlite

T0 = 1_700_000_000_000
pytestmark = pytest.mark.skipif(not pathlib.Path(NGINX).exists(), reason="no nginx")


@pytest.fixture
def nginx(started, build, tmp_path):
    fill_sqlite(tmp_path / "store.db", [("station", T0 + i * 1000, {"temperature": i / 4}) for i in range(1000)]
                + [("a/b", T0, {"value": 1})])
    d = NginxDashboard(tmp_path, build, [f"sqlite_file {tmp_path}/store.db"], started.sanitizer.env(preload=False))
    started.processes += [d.process, d.program]
    return d.start()


def test_nginx(nginx):
    page = nginx.get("/?sensor=station")
    assert page.status == 200 and "script-src 'self'" in page.headers["Content-Security-Policy"]
    links = [p.split('"')[0] for p in page.body.decode().replace('src="', 'href="').split('href="')[1:]]
    files = [link for link in links if link.startswith("page/")]
    assert len(files) > 5
    for link in files:
        answer = nginx.get("/" + link)
        assert answer.status == 200 and "max-age" in answer.headers["Cache-Control"], link
    assert nginx.get("/page/../../../etc/passwd").status in (400, 404)
    assert nginx.range("station", **{"from": T0, "to": T0 + 99999, "points": 10})["temperature"]["max"][9] == 99 / 4
    assert nginx.range("a/b", **{"from": T0, "to": T0})["value"]["avg"] == [1]
    first = nginx.get("/api/sensors/station/last")
    assert nginx.get("/api/sensors/station/last", headers={"If-None-Match": first.headers["ETag"]}).status == 304
    csv = nginx.get("/api/sensors/station/export.csv?from=0", headers={"Accept-Encoding": "gzip"})
    assert csv.headers["Content-Encoding"] == "gzip" and gzip.decompress(csv.body).count(b"\n") == 1001
    assert len(nginx.json("/station/")) == 100
    assert nginx.get("/api/sensors", "POST", body="x").status == 405
    assert nginx.get("/api/sensors", "POST", body="x" * 100000).status == 413
