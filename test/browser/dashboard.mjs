// Drives the dashboard's page in headless Chromium.
//
//   node dashboard.mjs URL DIRECTORY SCENE
//
// Prints one JSON line with what it saw; screenshots go to DIRECTORY. Scenes are below, one function each. A request to any other
// origin, an uncaught error and a violation of the page's policy end it with 1.

import {createRequire} from "node:module";
import fs from "node:fs";
import path from "node:path";
import {chromium} from "playwright-core";

const [url, directory, sceneName] = process.argv.slice(2);
const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync"];
const problems = [];
const expectedErrors = [];

async function open(context, query = "") {
    const page = await context.newPage();
    page.on("pageerror", (e) => problems.push(`error: ${e.message}`));
    page.on("console", (m) => {
        if (m.type() === "error" && !expectedErrors.some((e) => m.text().includes(e))) {
            problems.push(`console: ${m.text()}`);
        }
    });
    page.on("request", (r) => {
        if (!r.url().startsWith(url) && !r.url().startsWith("blob:") && !r.url().startsWith("data:")) {
            problems.push(`foreign request: ${r.url()}`);
        }
    });
    await page.goto(url + "/" + query);
    return page;
}

async function violations(page) {
    await page.evaluate(axe);
    const result = await page.evaluate(() => globalThis.axe.run(document, {resultTypes: ["violations"]}));
    return result.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`);
}

const shot = (page, name) => page.screenshot({path: path.join(directory, `${name}.png`), fullPage: true});
const ready = (page) => page.waitForFunction(() => performance.getEntriesByName("charts").length > 0, null, {timeout: 15000});
const texts = (page, selector) => page.locator(selector).allTextContents();

// How long the page waits between updates while it is hidden (`rounds` of them), and when it is seen again. Its timers of a second and
// more are run by hand: nothing here takes as long as it says.
async function waitsWhenHidden(browser, rounds) {
    const context = await browser.newContext();
    await context.addInitScript(() => {
        const start = globalThis.setTimeout;
        globalThis.waits = [];
        globalThis.hide = false;
        globalThis.setTimeout = (fn, ms, ...more) => {
            if (!(ms >= 1000)) {
                return start(fn, ms, ...more);
            }
            globalThis.waits.push(ms);
            globalThis.whenDue = fn;
            return 0;
        };
        Object.defineProperty(Document.prototype, "hidden", {get: () => globalThis.hide});
    });
    const page = await open(context, process.env.QUERY ?? "");
    const until = (count) => page.waitForFunction((n) => globalThis.waits.length >= n, count, {timeout: 10000});
    await until(1);
    await page.evaluate(() => globalThis.hide = true);
    for (let n = 2; n <= rounds + 1; n++) {
        await page.evaluate(() => globalThis.whenDue());
        await until(n);
    }
    await page.evaluate(() => {
        globalThis.hide = false;
        document.dispatchEvent(new Event("visibilitychange"));
    });
    await until(rounds + 2);
    const waits = await page.evaluate(() => globalThis.waits);
    await context.close();
    return waits;
}

const scenes = {
    // The page as it comes, on several screens, in both themes; the accessibility check on each.
    async look(browser) {
        const seen = {};
        for (const [name, options] of [["desktop", {viewport: {width: 1280, height: 900}}],
                                       ["dark", {viewport: {width: 1280, height: 900}, colorScheme: "dark"}],
                                       ["phone", {viewport: {width: 390, height: 844}, isMobile: true, hasTouch: true}]]) {
            const context = await browser.newContext(options);
            const page = await open(context, process.env.QUERY ?? "");
            await ready(page);
            await page.locator("details summary").first().click();
            await shot(page, name);
            seen[name] = {violations: await violations(page),
                          overflow: await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)};
            await context.close();
        }
        return seen;
    },

    // For the README (screenshot.py).
    async picture(browser) {
        const page = await open(await browser.newContext({viewport: {width: 1200, height: 900}}), process.env.QUERY ?? "");
        await ready(page);
        await shot(page, "picture");
        return {};
    },

    // Nothing but what it says when there is nothing, or no store.
    async trouble(browser) {
        expectedErrors.push("Failed to load resource");
        const page = await open(await browser.newContext({viewport: {width: 900, height: 600}}));
        await page.locator("#empty:not([hidden]), #problem:not([hidden])").first().waitFor();
        await shot(page, "trouble");
        return {empty: await page.locator("#empty").textContent(), problem: await page.locator("#problem").textContent(),
                live: await page.locator("#live-text").textContent(), violations: await violations(page)};
    },

    // The controls: choosing sensors and metrics, presets, zoom by keyboard and by dragging, UTC, the state in the URL.
    async controls(browser) {
        const page = await open(await browser.newContext({viewport: {width: 1280, height: 900}}), process.env.QUERY ?? "");
        await ready(page);
        const seen = {tiles: await texts(page, ".tile-name"), charts: await texts(page, ".chart-card h3")};
        await page.locator(".tile[aria-pressed=false]").first().click();
        await page.waitForFunction(() => document.querySelectorAll(".legend li").length > 1);
        seen.compared = await texts(page, ".legend li");
        seen.both = new URL(page.url()).searchParams.getAll("sensor");
        await page.getByRole("button", {name: "Last 15m"}).press("Enter");
        await page.waitForURL(/range=15m/);
        await page.getByRole("button", {name: "Zoom in"}).press("Enter");
        await page.waitForURL(/from=\d+&to=\d+/);
        await page.waitForFunction(() => document.getElementById("live-text").textContent === "Fixed time range");
        const before = new URL(page.url()).searchParams;
        const box = await page.locator(".chart").first().boundingBox();
        await page.mouse.move(box.x + box.width * 0.4, box.y + 60);
        await page.mouse.down();
        await page.mouse.move(box.x + box.width * 0.5, box.y + 62, {steps: 4});
        await page.mouse.move(box.x + box.width * 0.6, box.y + 64, {steps: 4});
        await page.mouse.up();
        await page.waitForFunction((old) => !location.search.includes(old), before.toString().match(/from=\d+/)[0]);
        const after = new URL(page.url()).searchParams;
        seen.zoomed = [before, after].map((q) => Number(q.get("to")) - Number(q.get("from")));
        await page.getByRole("button", {name: "UTC"}).click();
        await page.waitForURL(/zone=utc/);
        await page.goBack();
        seen.back = new URL(page.url()).search;
        return seen;
    },

    // One moment in every card, a line that ends where its metric does, the view as a file, statistics. The charts are the library's
    // canvas: what it was given tells what it draws.
    async details(browser) {
        const page = await open(await browser.newContext({viewport: {width: 1280, height: 900}, acceptDownloads: true}), process.env.QUERY ?? "");
        await page.addInitScript(() => {
            let real;
            globalThis.drawn = [];
            Object.defineProperty(globalThis, "Dygraph", {
                get: () => real,
                set: (library) => {
                    const init = library.prototype.__init__;
                    library.prototype.__init__ = function (...parameters) {
                        init.apply(this, parameters);
                        globalThis.drawn.push(this);
                    };
                    real = library;
                },
            });
        });
        await page.reload();
        await ready(page);
        const seen = {search: new URL(page.url()).search, ages: await texts(page, ".age")};
        seen.gaps = await page.evaluate(() => globalThis.drawn.map((chart) =>
            chart.rawData_.filter((row) => row.slice(1).some((v) => v !== null && Number.isNaN(v[0]))).length));
        const box = await page.locator(".chart").first().boundingBox();
        await page.mouse.move(box.x + box.width * 0.9, box.y + 60);
        await page.waitForFunction(() => [...document.querySelectorAll(".legend output")].every((o) => o.textContent !== ""));
        seen.cursor = await texts(page, ".legend output");
        await shot(page, "details");
        seen.statistics = await texts(page, ".stats tbody tr");
        const download = page.waitForEvent("download");
        await page.getByRole("button", {name: "JSON"}).click();
        seen.json = JSON.parse(fs.readFileSync(await (await download).path(), "utf8"));
        const csv = page.waitForEvent("download");
        await page.getByRole("link", {name: /^CSV/}).first().click();
        seen.csv = fs.readFileSync(await (await csv).path(), "utf8").split("\n").length;
        return seen;
    },

    // Many sensors: not all of them have a tile, and a name is found.
    async many(browser) {
        const page = await open(await browser.newContext({viewport: {width: 1280, height: 900}}), process.env.QUERY ?? "");
        await ready(page);
        const seen = {tiles: await page.locator(".tile").count(), found: await page.locator("#found").textContent()};
        await page.getByRole("searchbox").fill("Station-177");
        seen.filtered = await texts(page, ".tile-name");
        seen.foundThen = await page.locator("#found").textContent();
        await shot(page, "many");
        seen.violations = await violations(page);
        return seen;
    },

    // New measurements appear by themselves; not while it is paused, and seldom while it is hidden.
    async live(browser) {
        const page = await open(await browser.newContext(), process.env.QUERY ?? "");
        await ready(page);
        const value = () => page.locator(".tile .value-number").first().textContent();
        const first = await value();
        await page.waitForFunction((old) => document.querySelector(".tile .value-number").textContent !== old, first, {timeout: 20000});
        await page.locator("#pause").click();
        const paused = await value();
        await page.waitForTimeout(2500);
        return {first, second: paused, afterPause: await value(), live: await page.locator("#live-text").textContent(),
                hidden: await waitsWhenHidden(browser, 11)};
    },

    // Goes through an outage of the store: says so, then recovers. The caller ends it when the line `problem` appears.
    async recover(browser) {
        expectedErrors.push("Failed to load resource");
        const page = await open(await browser.newContext(), process.env.QUERY ?? "");
        await ready(page);
        console.log("ready");
        await page.locator("#problem:not([hidden])").waitFor({timeout: 30000});
        const problem = await page.locator("#problem").textContent();
        console.log("problem");
        await page.locator("#problem").waitFor({state: "hidden", timeout: 30000});
        return {problem, live: await page.locator("#live-text").textContent()};
    },

    // What data says is text, never markup.
    async text(browser) {
        const page = await open(await browser.newContext({viewport: {width: 1280, height: 900}}), process.env.QUERY ?? "");
        await ready(page);
        await page.locator("details summary").first().click();
        await page.locator(".chart").first().hover().catch(() => {});
        await shot(page, "text");
        return {ran: await page.evaluate(() => globalThis.ran ?? null), images: await page.locator("main img, main script, main b").count(),
                tiles: await texts(page, ".tile-name"), title: await page.title()};
    },

    // How long until the first chart, and how much is loaded.
    async speed(browser) {
        const figures = [];
        for (let i = 0; i < 5; i++) {
            const context = await browser.newContext();
            const client = await context.newPage();
            const cdp = await context.newCDPSession(client);
            let bytes = 0;
            await cdp.send("Network.enable");
            cdp.on("Network.loadingFinished", (e) => (bytes += e.encodedDataLength));
            await client.goto(url + "/" + (process.env.QUERY ?? ""));
            await ready(client);
            figures.push({ms: Math.round(await client.evaluate(() => performance.getEntriesByName("first-chart")[0].startTime)), bytes});
            await context.close();
        }
        return figures;
    },
};

const browser = await chromium.launch({executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS, headless: true});
let failed = false;
try {
    const seen = await scenes[sceneName](browser);
    console.log(JSON.stringify(seen));
} catch (e) {
    failed = true;
    console.error(e.stack);
} finally {
    await browser.close();
}
problems.forEach((p) => console.error(p));
process.exit(failed || problems.length > 0 ? 1 : 0);
