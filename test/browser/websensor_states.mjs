// What the phone page says where it cannot work. Usage: node websensor_states.mjs HTTPS-URL HTTP-PORT
// Prints one JSON line: for each state the notice, the text of the button and the verdict, and the page's errors.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, httpPort] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "websensor-states-"));

const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  headless: true,
  ignoreHTTPSErrors: true,
  viewport: { width: 390, height: 844 },
  // A name that is not loopback makes plain HTTP an insecure context, as on a phone.
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP gateway.test 127.0.0.1"],
});

// visit(URL, script that runs before the page's own, whether to press Start, name of the phone) -> what the page says
async function visit(target, before, press, name) {
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (e) => errors.push(String(e)));
  if (before) await page.addInitScript(before);
  await page.goto(target);
  if (name) await page.fill("#device", name);
  if (press) await page.click("#start");
  await page.waitForSelector("#notice:not([hidden])", { timeout: 15000 }).catch(() => {});
  const says = {
    notice: await page.textContent("#notice"),
    kind: await page.getAttribute("#notice", "class"),
    button: await page.textContent("#start"),
    verdict: await page.textContent("#verdict"),
    sent: await page.textContent("#sent"),
    secure: await page.evaluate(() => window.isSecureContext),
    errors,
  };
  await page.close();
  return says;
}

const permission = (answer) => `window.DeviceMotionEvent.requestPermission = () => ${answer};`;
try {
  console.log(JSON.stringify({
    insecure: await visit(`http://gateway.test:${httpPort}/`, null, false),
    insecurePressed: await visit(`http://gateway.test:${httpPort}/`, null, true),
    denied: await visit(url, permission('Promise.resolve("denied")'), true),
    failed: await visit(url, permission('Promise.reject(new Error("no user gesture"))'), true),
    noApi: await visit(url, "delete window.DeviceMotionEvent;", true),
    noSensor: await visit(url, null, true),
    badName: await visit(url, null, true, "Müller's phone"),
  }));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
