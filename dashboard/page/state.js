// What is shown, in the page's URL: ?sensor=a&sensor=b&metric=temperature&range=1h, or from= and to= in milliseconds, &zone=utc.

export const PRESETS = [["5m", 300e3], ["15m", 900e3], ["1h", 3600e3], ["6h", 6 * 3600e3], ["24h", 86400e3], ["7d", 7 * 86400e3], ["30d", 30 * 86400e3]];
export const DEFAULT_PRESET = "1h";
const TIME_MAX = 253402300799999;

function timeOf(text) {
    return text !== null && /^\d{1,15}$/.test(text) && Number(text) <= TIME_MAX ? Number(text) : null;
}

export function read(search) {
    const query = new URLSearchParams(search);
    const from = timeOf(query.get("from"));
    const to = timeOf(query.get("to"));
    const fixed = from !== null && to !== null && from < to;
    const named = PRESETS.some(([name]) => name === query.get("range"));
    return {
        sensors: [...new Set(query.getAll("sensor"))].slice(0, 8),
        metrics: [...new Set(query.getAll("metric"))],
        preset: fixed ? null : named ? query.get("range") : DEFAULT_PRESET,
        chosen: fixed || named, // a range was asked for
        from: fixed ? from : null,
        to: fixed ? to : null,
        utc: query.get("zone") === "utc",
    };
}

export function write(state) {
    const query = new URLSearchParams();
    state.sensors.forEach((s) => query.append("sensor", s));
    state.metrics.forEach((m) => query.append("metric", m));
    if (state.preset === null) {
        query.set("from", state.from);
        query.set("to", state.to);
    } else if (state.chosen) {
        query.set("range", state.preset);
    }
    if (state.utc) {
        query.set("zone", "utc");
    }
    const text = query.toString();
    return text ? `?${text}` : location.pathname;
}

/** Where nobody asked for a range: one that shows something, for a sensor that is new and for one that has been silent.
 *  `oldest` and `newest` are the times of the first value in the default range, and of the last one anywhere. */
export function fitting(oldest, newest) {
    const now = Date.now();
    const since = now - newest;
    const long = PRESETS.find(([name]) => name === DEFAULT_PRESET)[1];
    if (since >= long) {
        return (PRESETS.find(([, ms]) => ms > since) ?? PRESETS.at(-1))[0];
    }
    return oldest === null ? DEFAULT_PRESET : PRESETS.find(([name, ms]) => ms > now - oldest || name === DEFAULT_PRESET)[0];
}

/** [from, to] now. */
export function span(state) {
    if (state.preset === null) {
        return [state.from, state.to];
    }
    const now = Date.now();
    return [now - PRESETS.find(([name]) => name === state.preset)[1], now];
}

/** A fixed range around what is shown: scaled and moved by a part of its length. */
export function moved([from, to], scale, shift) {
    const length = Math.max(1000, Math.round((to - from) * scale));
    const middle = (from + to) / 2 + (to - from) * shift;
    const start = Math.min(Math.max(0, Math.round(middle - length / 2)), TIME_MAX - length);
    return [Math.max(0, start), Math.min(TIME_MAX, start + length)];
}
