// Requests, and the measurements that are held: one entry a sensor, columns as the server gives them.

export class Problem extends Error {
    constructor(text, code, retryAfter) {
        super(text);
        this.code = code;
        this.retryAfter = retryAfter;
    }
}

export async function request(path, signal) {
    let response;
    try {
        response = await fetch(path, {signal, headers: {Accept: "application/json"}});
    } catch (e) {
        if (e.name === "AbortError") {
            throw e;
        }
        throw new Problem("The gateway does not answer.", "offline", 0);
    }
    const text = await response.text();
    let value = null;
    try {
        value = JSON.parse(text);
    } catch {
        // Not ours: a proxy's or the web server's own error page.
    }
    if (!response.ok || value === null) {
        throw new Problem(value?.error ?? `The web server answered with status ${response.status}.`, value?.code ?? "http",
                          Number(response.headers.get("Retry-After")) || 0);
    }
    return value;
}

function rangePath(sensor, from, to, points, since) {
    const end = since === null ? "" : `&since=${since}`;
    return `api/sensors/${encodeURIComponent(sensor)}/range?from=${from}&to=${to}&points=${points}${end}`;
}

export function csvPath(sensor, from, to) {
    return `api/sensors/${encodeURIComponent(sensor)}/export.csv?from=${from}&to=${to}`;
}

/** Name of a metric as it was sent: the server puts a dot before names of its own. */
export const metricName = (key) => (key === ".t" || key === ".meta" ? key.slice(1) : key);

function isGap(part, row) {
    return part.keys.every((k) => (part.columns[k].avg?.[row] ?? part.columns[k].state?.[row] ?? null) === null);
}

function fromAnswer(answer) {
    const {t, meta, ...columns} = answer;
    const part = {t, meta, columns, keys: Object.keys(columns)};
    part.gaps = t.map((_, row) => isGap(part, row));
    return part;
}

/** The usual one of some distances; null: there are too few to tell. */
function usual(steps) {
    steps.sort((a, b) => a - b);
    return steps.length > 1 ? steps[Math.floor((steps.length - 1) / 2)] : null;
}

/** Usual distance of two measurements. */
export function interval(part) {
    const steps = [];
    for (let i = 1; i < part.t.length; i++) {
        if (!part.gaps[i] && !part.gaps[i - 1]) {
            steps.push(part.t[i] - part.t[i - 1]);
        }
    }
    return usual(steps);
}

/** The time between two measurements, however coarse the chart is. */
export function pace(part) {
    const rows = part.t.filter((_, i) => !part.gaps[i]).length;
    const distance = interval(part);
    return distance === null ? null : distance / Math.max(1, part.meta.measurements / rows);
}

/** Distance from which on values are not connected: the server's rule for sensors. */
const gapLimit = (distance, width) => (distance === null ? Infinity : Math.max(3 * distance, 2 * width));

/** Times of the gaps of one metric, in the middle of each: it may be missing while its sensor sends others. */
function ownGaps(part, values) {
    const times = part.t.filter((_, i) => values[i] !== null && values[i] !== undefined);
    const limit = gapLimit(usual(times.slice(1).map((t, i) => t - times[i])), part.meta.width);
    return times.slice(1).map((t, i) => [times[i], t]).filter(([a, b]) => b - a > limit).map(([a, b]) => Math.round((a + b) / 2));
}

/** The rows of `old` in [from, cut), then those of `fresh`; a gap between them where there is one. */
function merge(old, fresh, from, cut) {
    const limit = gapLimit(interval(old), fresh.meta.width);
    const rows = [];
    old.t.forEach((t, i) => t >= from && t < cut && rows.push([old, i]));
    const last = rows.length ? rows[rows.length - 1][0].t[rows[rows.length - 1][1]] : null;
    if (last !== null && fresh.t.length && fresh.t[0] - last > limit) {
        rows.push([null, (last + fresh.t[0]) / 2]);
    }
    fresh.t.forEach((_, i) => rows.push([fresh, i]));
    const keys = [...new Set([...old.keys, ...fresh.keys])];
    const columns = {};
    for (const key of keys) {
        columns[key] = {};
        for (const kind of new Set([...Object.keys(old.columns[key] ?? {}), ...Object.keys(fresh.columns[key] ?? {})])) {
            columns[key][kind] = rows.map(([part, i]) => part?.columns[key]?.[kind]?.[i] ?? null);
        }
    }
    const meta = {...fresh.meta, last: {...old.meta.last, ...fresh.meta.last}};
    const part = {t: rows.map(([p, i]) => (p ? p.t[i] : i)), meta, columns, keys};
    part.gaps = part.t.map((_, row) => isGap(part, row));
    return part;
}

export class Data {
    constructor() {
        this.parts = new Map();
    }

    /** Reads a range, or what is new when it is the held one moved on (`live`). */
    async load(sensor, from, to, points, live, signal) {
        const held = this.parts.get(sensor);
        const moved = live && held && held.points === points && held.span === to - from && held.part.t.length > 0 && from < held.part.t.at(-1);
        const since = moved ? Math.floor(held.part.t.at(-1)) : null;
        let fresh = fromAnswer(await request(rangePath(sensor, from, to, points, since), signal));
        const same = moved && fresh.meta.width === held.part.meta.width;
        if (moved && !same) {
            fresh = fromAnswer(await request(rangePath(sensor, from, to, points, null), signal));
        }
        const part = same ? merge(held.part, fresh, from, Math.floor(since / fresh.meta.width) * fresh.meta.width) : fresh;
        this.parts.set(sensor, {part, points, span: to - from});
        return part;
    }

    part(sensor) {
        return this.parts.get(sensor)?.part ?? null;
    }

    keep(sensors) {
        for (const sensor of this.parts.keys()) {
            if (!sensors.includes(sensor)) {
                this.parts.delete(sensor);
            }
        }
    }
}

/** One metric of several sensors, rows merged by time: [Date, [min, avg, max] | null | NaN ...]. NaN breaks the line, null does not. */
export function chartRows(data, sensors, key) {
    const gap = [NaN, NaN, NaN];
    const rows = new Map();
    const put = (t, column, value) => {
        if (!rows.has(t)) {
            rows.set(t, new Array(sensors.length).fill(null));
        }
        rows.get(t)[column] ??= value;
    };
    sensors.forEach((sensor, column) => {
        const part = data.part(sensor);
        const values = part?.columns[key];
        if (!values?.avg) {
            return;
        }
        part.t.forEach((t, i) => {
            const value = part.gaps[i] ? gap : values.avg[i] === null ? null : [values.min[i], values.avg[i], values.max[i]];
            if (value !== null) {
                put(t, column, value);
            }
        });
        ownGaps(part, values.avg).forEach((t) => put(t, column, gap));
    });
    return [...rows].sort((a, b) => a[0] - b[0]).map(([t, values]) => [new Date(t), ...values]);
}

/** Runs of the same state: [{from, to, state, changes}]. A state holds until the next one, unless its sensor was silent between. */
export function stateRuns(part, key, to) {
    const values = part.columns[key];
    const runs = [];
    part.t.forEach((t, i) => {
        const state = values.state[i];
        const last = runs[runs.length - 1];
        if (part.gaps[i]) {
            if (last && last.open) {
                last.to = part.t[i - 1] ?? t;
                last.open = false;
            }
        } else if (state !== null) {
            if (last?.open && last.state === state) {
                last.to = t;
                last.changes += values.changes[i];
            } else {
                if (last?.open) {
                    last.to = t;
                    last.open = false;
                }
                runs.push({from: t, to: t, state, changes: values.changes[i], open: true});
            }
        }
    });
    const last = runs[runs.length - 1];
    if (last?.open) {
        last.to = Math.min(to, last.to + 2 * (interval(part) ?? 0));
    }
    return runs;
}

/** Statistics of the shown window; the average is that of the measurements, not of the points that are drawn. */
export function statistics(part, key) {
    const values = part.columns[key];
    const rows = values.avg.map((v, i) => i).filter((i) => values.avg[i] !== null);
    if (rows.length === 0) {
        return null;
    }
    const weight = (i) => values.count?.[i] ?? 1;
    return {
        min: rows.reduce((a, i) => Math.min(a, values.min[i]), Infinity),
        max: rows.reduce((a, i) => Math.max(a, values.max[i]), -Infinity),
        avg: rows.reduce((a, i) => a + values.avg[i] * weight(i), 0) / rows.reduce((a, i) => a + weight(i), 0),
        last: part.meta.last[key],
    };
}
