// Puts everything together: state in the URL, live updates, controls.

import {Card, themeChanged} from "./chart.js?v=@VERSION@";
import {csvPath, Data, metricName, pace, request} from "./data.js?v=@VERSION@";
import {duration, el, fromInput, time, toInput} from "./format.js?v=@VERSION@";
import {fitting, moved, PRESETS, read, span, write} from "./state.js?v=@VERSION@";
import {found, showEmpty, showTiles} from "./view.js?v=@VERSION@";

const RETRY_MAX_MS = 60000;
const HIDDEN_MAX_MS = 300000;
const STALE_MS = 300000;
const FILTER_FROM = 13; // sensors
const MANY_TILES = 24; // more of them scroll in a box of their own, so that the charts stay near
const THEMES = ["auto", "light", "dark"];

const $ = (id) => document.getElementById(id);

let config = {title: "Sensors", refresh: 10000, points: 500, metrics: {}};
let state = read(location.search);
let sensors = [];
let paused = false;
let timer = null;
let failures = 0;
let hiddenFor = 0;
let running = null;
let drawnOnce = false;
let fitted = false; // a range was found that shows something
const data = new Data();
const cards = new Map();

const setting = (metric) => config.metrics[metric] ?? {};
const lively = () => state.preset !== null && !paused;

// ---- state

function change(update, {push = true} = {}) {
    state = {...state, ...update};
    history[push ? "pushState" : "replaceState"](null, "", write(state));
    refresh(false);
}

function toggleSensor(sensor) {
    const chosen = state.sensors.includes(sensor) ? state.sensors.filter((s) => s !== sensor) : [...state.sensors, sensor].slice(-8);
    if (chosen.length > 0) {
        change({sensors: chosen});
    }
}

function toggleMetric(metric) {
    const all = metricNames();
    const shown = state.metrics.length ? state.metrics : all;
    const next = shown.includes(metric) ? shown.filter((m) => m !== metric) : [...shown, metric];
    change({metrics: next.length === all.length ? [] : next.length ? next : [metric]});
}

// ---- drawing

function metricKeys() {
    const keys = new Set();
    state.sensors.forEach((s) => data.part(s)?.keys.forEach((k) => keys.add(k)));
    return [...keys];
}

const metricNames = () => metricKeys().map(metricName);

function toggleButton(text, pressed, onclick, label) {
    return el("button", {type: "button", "aria-pressed": String(pressed), "aria-label": label, title: text, onclick}, el("span", {class: "name"}, text));
}

/** New buttons in place of old ones; the focus stays on the one with the same text. */
function replaceButtons(element, buttons) {
    const focused = element.contains(document.activeElement) ? document.activeElement.textContent : null;
    element.replaceChildren(...buttons);
    if (focused !== null) {
        buttons.find((b) => b.textContent === focused)?.focus();
    }
}

function drawControls() {
    const [from, to] = span(state);
    replaceButtons($("presets"), PRESETS.map(([name]) => toggleButton(name, state.preset === name,
                                                                     () => change({preset: name, chosen: true, from: null, to: null}), `Last ${name}`)));
    const shown = state.metrics.length ? state.metrics : metricNames();
    replaceButtons($("metrics"), metricNames().length > 1 ? metricNames().map((m) => toggleButton(m, shown.includes(m), () => toggleMetric(m))) : []);
    $("exports").replaceChildren(...state.sensors.filter((s) => data.part(s)).map((s) =>
        el("a", {class: "button", href: csvPath(s, Math.round(from), Math.round(to)), download: "", title: s}, el("span", {class: "name"}, `CSV ${s}`))),
        el("button", {type: "button", onclick: saveJson}, "JSON"));
    if (!$("custom").contains(document.activeElement)) {
        $("from").value = toInput(from, state.utc);
        $("to").value = toInput(to, state.utc);
    }
    const points = state.sensors.map((s) => data.part(s)?.meta.measurements ?? 0);
    const cut = state.sensors.some((s) => data.part(s)?.meta.complete === false);
    const newest = Math.max(...state.sensors.map((name) => sensors.find((s) => s.sensor === name)?.last ?? 0));
    const nothing = `: nothing was stored in this time${newest > 0 ? `, the newest is of ${time(newest, state.utc)}` : ""}`;
    $("span").textContent = `${time(from, state.utc)} to ${time(to, state.utc)} (${duration(to - from)}, ${state.utc ? "UTC" : "local time"})` +
        (points.every((p) => p === 0) ? nothing : "") +
        (cut ? ". The range holds more than can be read at once; its end is missing." : "");
    $("zone").setAttribute("aria-pressed", String(state.utc));
}

function drawCards() {
    const keys = metricKeys().filter((k) => state.metrics.length === 0 || state.metrics.includes(metricName(k)));
    for (const [key, card] of cards) {
        if (!keys.includes(key)) {
            card.destroy();
            cards.delete(key);
        }
    }
    for (const key of keys) {
        const card = cards.get(key) ?? new Card(key, {onzoom: zoomTo, oncursor: moveCursor, state: () => state, setting});
        if (!cards.has(key)) {
            cards.set(key, card);
            $("charts").append(card.element);
        }
        card.update(data, state.sensors, span(state));
        if (!drawnOnce) {
            drawnOnce = true;
            performance.mark("first-chart");
            setTimeout(drawCards); // the others once this one is on the screen
            return;
        }
    }
    if (cards.size > 0) {
        performance.mark("charts");
    }
}

function staleAfter(sensor) {
    const part = data.part(sensor);
    const usual = part ? pace(part) : null;
    return usual === null ? STALE_MS : Math.max(3 * usual, 60000);
}

function drawTiles() {
    const {matches, shown} = found(sensors, state.sensors, $("filter").value);
    showTiles($("tiles"), shown, state.sensors, {setting, ontoggle: toggleSensor, staleAfter});
    $("tiles").classList.toggle("many", shown.length > MANY_TILES);
    $("find").hidden = sensors.length < FILTER_FROM;
    $("found").textContent = `${matches} of ${sensors.length} sensors${matches > shown.length ? `, the first ${shown.length} are shown` : ""}`;
    $("sensors-hint").hidden = sensors.length < 2;
    $("controls").hidden = sensors.length === 0;
    $("empty").hidden = sensors.length > 0;
    if (sensors.length === 0) {
        showEmpty($("empty"), "The store is there, and it is empty.");
    }
}

let moving = false;

function moveCursor(ms) {
    if (!moving) {
        moving = true;
        cards.forEach((card) => card.cursor(ms));
        moving = false;
    }
}

function zoomTo(from, to) {
    change({preset: null, chosen: true, from: Math.max(0, Math.round(from)), to: Math.max(1000, Math.round(to))});
}

function saveJson() {
    const [from, to] = span(state).map(Math.round);
    const view = {from, to, sensors: {}};
    state.sensors.forEach((s) => {
        const part = data.part(s);
        view.sensors[s] = part ? {t: part.t, ...part.columns} : null;
    });
    const url = URL.createObjectURL(new Blob([JSON.stringify(view)], {type: "application/json"}));
    el("a", {href: url, download: "sensors.json"}).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// ---- requests

function showLive(kind, text) {
    $("live").dataset.state = kind;
    if ($("live-text").textContent !== text) {
        $("live-text").textContent = text;
    }
}

function showProblem(problem, retryMs) {
    const empty = problem.code === "store-empty" || problem.code === "store-missing";
    if (empty && sensors.length === 0) {
        showEmpty($("empty"), problem.message);
        $("tiles").replaceChildren();
        $("tiles").setAttribute("aria-busy", "false");
        $("problem").hidden = true;
        showLive("wait", "Waiting for data");
        return;
    }
    $("problem").replaceChildren(el("strong", {}, problem.message),
        el("p", {}, `Trying again in ${duration(retryMs)}.${sensors.length ? " What is shown may be old." : ""}`));
    $("problem").hidden = false;
    $("tiles").setAttribute("aria-busy", "false");
    showLive("error", "Not up to date");
}

async function all(promises) {
    const failed = (await Promise.allSettled(promises)).find((r) => r.status === "rejected");
    if (failed) {
        throw failed.reason;
    }
}

async function load(live, signal) {
    let [from, to] = span(state).map(Math.round);
    const ranges = () => state.sensors.map((s) => data.load(s, from, to, config.points, live, signal));
    const list = async () => {
        sensors = await request("api/sensors", signal);
    };
    await all([list(), ...ranges()]);
    if (state.sensors.length === 0 && sensors.length > 0) {
        state.sensors = [sensors[0].sensor];
        history.replaceState(null, "", write(state));
        await all(ranges());
    }
    if (fit()) {
        history.replaceState(null, "", write(state));
        [from, to] = span(state).map(Math.round);
        await all(ranges());
    }
}

/** Once, when the page is opened without a range. true: another one than the usual fits better. */
function fit() {
    if (fitted || sensors.length === 0) {
        return false;
    }
    fitted = true;
    const newest = Math.max(...sensors.filter((s) => state.sensors.includes(s.sensor)).map((s) => s.last));
    const firsts = state.sensors.map((s) => data.part(s)?.t[0] ?? null).filter((t) => t !== null);
    const preset = state.chosen || newest === -Infinity ? state.preset : fitting(firsts.length ? Math.min(...firsts) : null, newest);
    const better = preset !== state.preset;
    state = better ? {...state, preset, chosen: true} : state;
    return better;
}

/** live: only what is new is asked for. */
async function refresh(live) {
    clearTimeout(timer);
    running?.abort();
    const mine = new AbortController();
    running = mine;
    $("charts").classList.toggle("pending", !live);
    try {
        await load(live, mine.signal);
        if (running !== mine) {
            return;
        }
        failures = 0;
        $("problem").hidden = true;
        data.keep(state.sensors);
        drawTiles();
        drawControls();
        drawCards();
        showLive(lively() ? "live" : "paused", lively() ? "Live" : paused ? "Paused" : "Fixed time range");
    } catch (e) {
        if (running !== mine || e.name === "AbortError") {
            return;
        }
        failures++;
        if (e.code === undefined) {
            throw e;
        }
        showProblem(e, nextDelay(e.retryAfter * 1000));
        timer = setTimeout(() => refresh(true), nextDelay(e.retryAfter * 1000));
        return;
    } finally {
        if (running === mine) {
            $("charts").classList.remove("pending");
        }
    }
    plan();
}

function nextDelay(atLeast) {
    return Math.max(atLeast, Math.min(RETRY_MAX_MS, config.refresh * 2 ** Math.min(failures - 1, 6)));
}

/** The next live update: slower and slower while nobody looks. */
function plan() {
    clearTimeout(timer);
    if (lively() || sensors.length === 0) {
        hiddenFor = document.hidden ? Math.min(HIDDEN_MAX_MS, Math.max(config.refresh, hiddenFor * 2)) : 0;
        timer = setTimeout(() => refresh(true), hiddenFor || config.refresh);
    }
}

// ---- controls

function setTheme(theme) {
    if (theme === "auto") {
        delete document.documentElement.dataset.theme;
    } else {
        document.documentElement.dataset.theme = theme;
    }
    $("theme").textContent = `Theme: ${theme}`;
    try {
        localStorage.setItem("theme", theme);
    } catch {
        // Storage may be forbidden; the theme then lasts until the page is left.
    }
}

function storedTheme() {
    try {
        return THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto";
    } catch {
        return "auto";
    }
}

function redraw() {
    themeChanged();
    drawTiles();
    drawControls();
    drawCards();
}

function wire() {
    $("pause").addEventListener("click", () => {
        paused = !paused;
        $("pause").setAttribute("aria-pressed", String(paused));
        if (paused) {
            clearTimeout(timer);
            showLive("paused", "Paused");
        } else {
            refresh(true);
        }
    });
    $("zone").addEventListener("click", () => change({utc: !state.utc}, {push: false}));
    $("theme").addEventListener("click", () => {
        setTheme(THEMES[(THEMES.indexOf(storedTheme()) + 1) % THEMES.length]);
        redraw();
    });
    $("filter").addEventListener("input", drawTiles);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    for (const [id, scale, shift] of [["earlier", 1, -0.5], ["later", 1, 0.5], ["zoom-in", 0.5, 0], ["zoom-out", 2, 0]]) {
        $(id).addEventListener("click", () => zoomTo(...moved(span(state), scale, shift)));
    }
    $("custom").addEventListener("submit", (event) => {
        event.preventDefault();
        const from = fromInput($("from").value, state.utc);
        const to = fromInput($("to").value, state.utc);
        $("to").setCustomValidity(from < to ? "" : "This must be later than the beginning.");
        if ($("custom").reportValidity()) {
            zoomTo(from, to);
        }
    });
    $("to").addEventListener("input", () => $("to").setCustomValidity(""));
    addEventListener("popstate", () => {
        state = read(location.search);
        refresh(false);
    });
    document.addEventListener("visibilitychange", () => {
        if (!document.hidden && lively()) {
            hiddenFor = 0;
            refresh(true);
        }
    });
}

async function begin() {
    setTheme(storedTheme());
    wire();
    try {
        config = await request("api/config");
        document.title = config.title;
        $("title").textContent = config.title;
    } catch {
        // The first refresh says what is wrong.
    }
    refresh(false);
}

begin();
