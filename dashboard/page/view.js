// Tiles of the sensors, and what is said when there is nothing to show.

import {AHEAD_MS, age, el, number} from "./format.js?v=@VERSION@";
import {color} from "./chart.js?v=@VERSION@";

const TILE_VALUES = 6;
const TILES_MAX = 100;

/** Which side of its limits a value is on, as a word. */
export function outside(value, setting) {
    if (typeof value !== "number") {
        return null;
    }
    return setting.max !== undefined && value > setting.max ? "too high" : setting.min !== undefined && value < setting.min ? "too low" : null;
}

function valueElement(name, value, setting) {
    const flag = outside(value, setting);
    const text = typeof value === "number" ? number(value) : String(value);
    return el("span", {class: flag ? "value out-of-range" : "value"},
        el("span", {class: "value-number"}, text === "" ? "(empty)" : text, setting.unit ? el("small", {}, setting.unit) : null),
        el("span", {class: "value-name", title: name}, name, flag ? el("span", {class: "flag"}, ` ${flag}`) : null));
}

/** A sensor without news for longer than `limit` is stale; one with news from tomorrow has a wrong clock, or the gateway had. */
function ageElement(last, limit) {
    const since = Date.now() - last;
    const word = since < -AHEAD_MS ? "wrong clock?" : since > limit ? "stale," : "online,";
    return el("span", {class: "age", "data-state": word === "online," ? "online" : "stale"}, el("span", {class: "dot", "aria-hidden": "true"}),
              `${word} ${age(since)}`);
}

function tile(sensor, index, owner) {
    const names = sensor.metrics;
    const values = names.slice(0, TILE_VALUES).map((m) => valueElement(m, sensor.values[m], owner.setting(m)));
    const swatch = el("span", {class: "swatch", "aria-hidden": "true"});
    if (index >= 0) {
        swatch.style.background = color(index);
    } else {
        swatch.style.borderColor = "currentColor";
    }
    const more = names.length > TILE_VALUES ? el("span", {class: "value-name more"}, `and ${names.length - TILE_VALUES} more`) : null;
    return el("li", {}, el("button", {type: "button", class: "tile", "aria-pressed": String(index >= 0), "data-sensor": sensor.sensor,
                                      onclick: () => owner.ontoggle(sensor.sensor)},
        el("span", {class: "tile-name", title: sensor.sensor}, swatch, el("span", {}, sensor.sensor)),
        el("span", {class: "values"}, ...values, more), ageElement(sensor.last, owner.staleAfter(sensor.sensor))));
}

/** The sensors that get a tile: those that are chosen, and of the others whose name contains the text as many as a page can bear. */
export function found(sensors, chosen, text) {
    const wanted = text.trim().toLowerCase();
    const matches = sensors.filter((s) => s.sensor.toLowerCase().includes(wanted));
    const shown = new Set(matches.slice(0, TILES_MAX));
    return {matches: matches.length, shown: sensors.filter((s) => shown.has(s) || chosen.includes(s.sensor))};
}

/** owner: {setting(metric), ontoggle(sensor), staleAfter(sensor)} */
export function showTiles(list, sensors, chosen, owner) {
    const focused = document.activeElement?.dataset?.sensor;
    list.replaceChildren(...sensors.map((s) => tile(s, chosen.indexOf(s.sensor), owner)));
    list.setAttribute("aria-busy", "false");
    if (focused !== undefined) {
        [...list.querySelectorAll("button")].find((b) => b.dataset.sensor === focused)?.focus({preventScroll: true});
    }
}

export function showEmpty(element, text) {
    element.replaceChildren(
        el("h3", {}, "Nothing stored yet"), el("p", {}, text),
        el("p", {}, "For a first value, publish one that a store line of the plugin matches:"),
        el("code", {}, "mosquitto_pub -t sensors/kitchen -m '{\"temperature\": 21.5}'"),
        el("p", {class: "hint"}, "This page looks again by itself."));
    element.hidden = false;
}
