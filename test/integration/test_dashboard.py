"""The dashboard's requests, over lighttpd as CGI and as FastCGI, on SQLite."""

import json
import time

import pytest
from harness.dashboard import fill_sqlite

T0 = 1_700_000_000_000


@pytest.fixture(params=["fastcgi", "cgi"])
def station(request, dashboard, tmp_path):
    """100 readings of one sensor, one a second; some of others."""
    rows = [("station", T0 + i * 1000, {"temperature": i / 4, "windy": i >= 50}) for i in range(100)]
    rows += [("a/b", T0, {"value": 1}), ("/lead/", T0, {"value": 2}), ("50% +&?#", T0, {"value": 3}), ("ü", T0, {"value": 4})]
    fill_sqlite(tmp_path / "store.db", rows)
    return dashboard([f"sqlite_file {tmp_path}/store.db", "title Roof & <Garden>", "metric temperature unit=°C min=5 max=20"],
                     request.param)


def test_sensors(station):
    found = {s["sensor"]: s for s in station.json("/api/sensors")}
    assert list(found) == sorted(found, key=str.encode)
    assert found["station"] == {"sensor": "station", "last": T0 + 99000, "metrics": ["temperature", "windy"],
                                "values": {"temperature": 24.75, "windy": "true"}}
    assert [s["sensor"] for s in station.json(f"/api/sensors?since={T0}")] == ["station"]


def test_config(station):
    assert station.json("/api/config") == {"title": "Roof & <Garden>", "refresh": 10000, "points": 500,
                                           "metrics": {"temperature": {"unit": "°C", "min": 5, "max": 20}}}


@pytest.mark.parametrize("sensor,value", [("a/b", 1), ("/lead/", 2), ("50% +&?#", 3), ("ü", 4)])
def test_names(station, sensor, value):
    assert station.range(sensor, **{"from": T0, "to": T0})["value"]["avg"] == [value]


def test_range_of_all_measurements(station):
    found = station.range("station", **{"from": T0, "to": T0 + 99999, "points": 100})
    assert found["t"] == [T0 + i * 1000 for i in range(100)]
    assert found["temperature"]["min"] == found["temperature"]["avg"] == [i / 4 for i in range(100)]
    assert found["windy"]["state"] == ["false"] * 50 + ["true"] * 50
    assert sum(found["windy"]["changes"]) == 1
    assert found["meta"]["complete"] and found["meta"]["measurements"] == 100
    assert found["meta"]["last"]["temperature"] == 99 / 4 and "windy" not in found["meta"]["last"]


def test_range_is_brought_down(station):
    found = station.range("station", **{"from": T0, "to": T0 + 99999, "points": 10, "metric": "temperature"})
    assert set(found) == {"t", "meta", "temperature"}
    assert found["temperature"] == {"min": [i * 2.5 for i in range(10)], "max": [i * 2.5 + 2.25 for i in range(10)],
                                    "avg": [i * 2.5 + 1.125 for i in range(10)], "count": [10] * 10}


def test_since_gives_the_end_of_the_same(station):
    parameters = {"from": T0, "to": T0 + 99999, "points": 10}
    full = station.range("station", **parameters)
    part = station.range("station", **parameters, since=T0 + 85000)
    assert part["t"] == full["t"][8:]
    assert part["temperature"]["max"] == full["temperature"]["max"][8:]


def test_last(station):
    assert station.json("/api/sensors/station/last") == {"sensor": "station", "timestamp": T0 + 99000,
                                                         "message": {"temperature": 24.75, "windy": True}}
    for what in ("last", "export.csv"):
        assert station.json(f"/api/sensors/nobody/{what}", 404)["code"] == "no-measurements"
    assert station.range("nobody")["t"] == []  # columns for any name: a sensor that is about to send is no error


def test_etag(station):
    path = f"/api/sensors/station/range?from={T0}&to={T0 + 99999}"
    first = station.get(path)
    assert first.headers["Cache-Control"] == "private, no-cache"
    again = station.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    other = station.get(path + "&points=7", headers={"If-None-Match": first.headers["ETag"]})
    assert other.status == 200


def test_head(station):
    answer = station.get("/api/sensors", "HEAD")
    assert (answer.status, answer.body) == (200, b"")


def test_csv(station):
    answer = station.get(f"/api/sensors/station/export.csv?from={T0}&to={T0 + 1000}")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="station.csv"'
    assert answer.body.decode() == ('timestamp,time,"temperature","windy"\r\n'
                                    f'{T0},2023-11-14T22:13:20.000Z,0.0,"false"\r\n'
                                    f'{T0 + 1000},2023-11-14T22:13:21.000Z,0.25,"false"\r\n')
    one = station.get(f"/api/sensors/station/export.csv?from={T0}&to={T0}&metric=temperature")
    assert one.body.decode().splitlines()[0] == 'timestamp,time,"temperature"'


def test_the_original_urls(station):
    found = station.json("/station/")
    assert len(found) == 100
    clock = time.strftime("%H:%M:%S", time.localtime((T0 + 99000) / 1000))
    assert found[0] == {"temperature": "24.75", "windy": True, "timestamp": clock}
    assert station.json("/station/last") == found[0]


def test_page_and_its_files(station):
    page = station.get("/?sensor=station&from=1&to=2")
    assert page.status == 200 and page.headers["Content-Type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    links = [p.split('"')[0] for p in page.body.decode().replace('src="', 'href="').split('href="')[1:]]
    assert links and not any("//" in link for link in links)
    for link in links:
        if link.startswith("page/"):
            answer = station.get("/" + link)
            assert answer.status == 200, link
            assert "max-age" in answer.headers["Cache-Control"]
    assert json.dumps("<script") not in page.body.decode()
