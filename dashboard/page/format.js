// Numbers, ages and times as text; elements without HTML: what comes from data never becomes markup.

/** el("p", {class: "x", onclick: f}, "text", child): attributes by name, event handlers by their property. */
export function el(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
        if (name.startsWith("on")) {
            element.addEventListener(name.slice(2), value);
        } else if (value === true) {
            element.setAttribute(name, "");
        } else if (value !== false && value !== null && value !== undefined) {
            element.setAttribute(name, value);
        }
    }
    element.append(...children.filter((c) => c !== null && c !== undefined));
    return element;
}

export function number(value) {
    if (value === null || value === undefined || Number.isNaN(value)) {
        return "–";
    }
    const size = Math.abs(value);
    return size !== 0 && (size >= 1e9 || size < 1e-4) ? value.toExponential(3) : String(Number(value.toPrecision(6)));
}

/** For an axis, where room is scarce: no more digits than its steps need. */
export function tick(value) {
    const text = String(Number(value.toPrecision(5)));
    return text.length <= 8 ? text : Number(value.toPrecision(4)).toExponential().replace("e+", "e");
}

/** Digits behind the point that measured values come with. */
export function decimals(values) {
    return values.reduce((most, v) => {
        const text = number(v);
        return Math.max(most, text.includes("e") ? 20 : (text.split(".")[1] ?? "").length);
    }, 0);
}

/** An average, with one digit more than what was measured. */
export function average(value, digits) {
    return number(Number(value.toFixed(digits + 1)));
}

/** Clocks of gateway and browser may differ a little; a time further ahead is a wrong clock. */
export const AHEAD_MS = 60000;

export function age(ms) {
    const ahead = ms < -AHEAD_MS;
    const seconds = Math.max(0, Math.round((ahead ? -ms : ms) / 1000));
    const units = [[86400 * 2, 86400, "d"], [7200, 3600, "h"], [120, 60, "min"], [0, 1, "s"]];
    const [, size, name] = units.find(([from]) => seconds >= from);
    const text = `${Math.floor(seconds / size)} ${name}`;
    return ahead ? `${text} in the future` : `${text} ago`;
}

export function duration(ms) {
    const units = [[86400000, "d"], [3600000, "h"], [60000, "min"], [1000, "s"]];
    const [size, name] = units.find(([u]) => ms >= u) ?? [1, "ms"];
    return `${Math.round(ms / size * 10) / 10} ${name}`;
}

/** 2026-01-31 23:59:59. Made by hand: the first use of Intl takes a good part of what a page has until its first chart. */
export function time(ms, utc) {
    const shift = utc ? 0 : new Date(ms).getTimezoneOffset() * 60000;
    return new Date(ms - shift).toISOString().slice(0, 19).replace("T", " ");
}

/** For <input type=datetime-local>, and back. */
export function toInput(ms, utc) {
    return time(ms, utc).replace(" ", "T");
}

export function fromInput(text, utc) {
    return Date.parse(utc ? `${text}Z` : text);
}
