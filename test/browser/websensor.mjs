// Drives the phone page in Debian's Chromium. Usage: node websensor.mjs URL SAMPLES.json SECONDS [offline-from offline-to]
// SAMPLES: [[x, y, z], ...] at 50 Hz with gravity, fed as the accelerometer and repeated. Prints one JSON line: verdicts seen, what
// the page says in the end, and its errors.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, samplesPath, seconds, offlineFrom, offlineTo] = process.argv.slice(2);
const samples = JSON.parse(readFileSync(samplesPath, "utf8"));
const profile = mkdtempSync(join(tmpdir(), "websensor-browser-"));
const errors = [];

const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  headless: true,
  ignoreHTTPSErrors: true,
  viewport: { width: 390, height: 844 },
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
try {
  const page = context.pages()[0] || (await context.newPage());
  page.on("pageerror", (e) => errors.push(String(e)));
  page.on("console", (m) => {
    if (m.type() === "error" && !/ERR_INTERNET_DISCONNECTED|Failed to load resource/.test(m.text())) errors.push(m.text());
  });
  const outside = [];
  page.on("request", (r) => {
    if (new URL(r.url()).origin !== new URL(url).origin && !r.url().startsWith("data:")) outside.push(r.url());
  });
  await page.goto(url);
  const cdp = await context.newCDPSession(page);
  for (const type of ["accelerometer", "linear-acceleration"]) {
    await cdp.send("Emulation.setSensorOverrideEnabled", { enabled: true, type });
  }
  await page.fill("#device", process.env.DEVICE || "browser");
  await page.selectOption("#mode", process.env.MODE || "raw");
  await page.click("#start");

  const began = Date.now();
  const seen = new Set();
  let offline = false;
  let wide = 0;
  for (let i = 0; Date.now() - began < seconds * 1000;) {
    const elapsed = (Date.now() - began) / 1000;
    const wanted = offlineFrom !== undefined && elapsed >= Number(offlineFrom) && elapsed < Number(offlineTo);
    if (wanted !== offline) {
      offline = wanted;
      await context.setOffline(offline);
    }
    i = Math.floor(elapsed * 50);
    const [x, y, z] = samples[i % samples.length];
    const reading = { xyz: { x, y, z } };
    await cdp.send("Emulation.setSensorOverrideReadings", { type: "accelerometer", reading });
    await cdp.send("Emulation.setSensorOverrideReadings", { type: "linear-acceleration", reading: { xyz: { x: 0, y: 0, z: 0 } } });
    if (i % 25 === 0) {
      seen.add(await page.textContent("#verdict"));
      wide = Math.max(wide, await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth));
    }
    await new Promise((done) => setTimeout(done, 10));
  }
  await page.click("#start");
  const number = async (id) => Number(await page.textContent(id));
  // Settled: nothing waits and nothing is sent for a second (the last batch is queued asynchronously).
  for (let i = 0, quiet = 0; i < 300 && quiet < 10; i++) {
    await new Promise((done) => setTimeout(done, 100));
    const busy = (await number("#waiting")) > 0 || (await page.textContent("#link")) !== "connected";
    quiet = busy ? 0 : quiet + 1;
  }
  console.log(JSON.stringify({
    verdicts: [...seen],
    sent: await number("#sent"),
    waiting: await number("#waiting"),
    link: await page.textContent("#link"),
    notice: await page.textContent("#notice"),
    wide,
    outside,
    errors,
  }));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
