#!/usr/bin/python3
"""Makes docs/dashboard.png, the picture of the README: the real page in headless Chromium, over a store with a day of a greenhouse
that never was. Needs `npm ci` in test/, Chromium, lighttpd and pngquant.

    python3 test/browser/screenshot.py build/release
"""

import math
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "test/integration"))
from harness.dashboard import Dashboard, browse, fill_sqlite  # noqa: E402

OPTIONS = ["title Greenhouse", "metric temperature unit=°C min=8 max=32", "metric humidity unit=%", "metric soil_moisture unit=%",
           "metric battery unit=V min=3.3", "metric level unit=cm"]
DAY = 24 * 3600


def rows(end):
    """(sensor, ms, message): a reading of each sensor a minute until `end` (seconds)."""
    random.seed(7)
    noise = dict.fromkeys(("north", "south", "outside"), 0.0)
    for t in range(int(end) - DAY, int(end) + 1, 60):
        hours = t / 3600 + 1
        sun = max(0.0, math.sin((hours - 6) % 24 / 12 * math.pi)) if 6 < hours % 24 < 18 else 0.0
        for name in noise:
            noise[name] = 0.95 * noise[name] + random.gauss(0, 0.12)
        vent = "open" if sun > 0.55 else "closed"
        for name, warmer in (("north", 0.0), ("south", 2.1)):
            temperature = 16 + warmer + 11 * sun  + noise[name]
            yield f"greenhouse-{name}", t * 1000, {
                "temperature": round(temperature, 1), "humidity": round(84 - 26 * sun - warmer + 3 * noise[name], 1),
                "soil_moisture": round(38 - (hours + 4 * warmer) % 12 * 0.9 + 0.3 * noise[name], 1), "vent": vent}
        yield "outside", t * 1000, {"temperature": round(8 + 7 * sun + noise["outside"], 1), "humidity": round(88 - 30 * sun + 4 * noise["outside"], 1)}
        yield "rain-tank", t * 1000, {"level": round(112 - hours % 24 * 0.7 + noise["north"], 1), "battery": 3.62}


def main():
    build, picture = TOP / sys.argv[1], TOP / "docs/dashboard.png"
    work = pathlib.Path(tempfile.mkdtemp())
    fill_sqlite(work / "store.db", rows(time.time()))
    dashboard = Dashboard(work, build, [f"sqlite_file {work}/store.db", *OPTIONS]).start()
    try:
        browse(dashboard, work, "picture", "?sensor=greenhouse-south&sensor=outside&metric=temperature&metric=vent&range=24h")
    finally:
        dashboard.process.stop()
    subprocess.run(["pngquant", "--force", "--output", picture, "128", work / "picture.png"], check=True)
    shutil.rmtree(work)
    print(f"{picture}: {picture.stat().st_size} bytes")


if __name__ == "__main__":
    main()
