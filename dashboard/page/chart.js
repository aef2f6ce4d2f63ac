// One card for each metric: chart (numbers) or state bands (anything else), legend, statistics and the same as a table.

import {chartRows, metricName, stateRuns, statistics} from "./data.js?v=@VERSION@";
import {average, decimals, duration, el, number, tick, time} from "./format.js?v=@VERSION@";

const SHARES_MAX = 8; // states that are listed

const colors = new Map(); // asking for one makes the browser bring all styles up to date

export const themeChanged = () => colors.clear();

function css(name) {
    if (!colors.has(name)) {
        colors.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
    }
    return colors.get(name);
}

export const color = (index) => css(`--c${index % 8}`);

/** The library's own legend writes inline styles, which the page's policy forbids; it is not shown anyway. */
function plugins(Dygraph) {
    return Dygraph.PLUGINS.filter((p) => p !== Dygraph.Plugins.Legend);
}

/** Drag to zoom; where fingers scroll the page, they keep doing so. */
function interaction(Dygraph) {
    const model = {...Dygraph.defaultInteractionModel};
    if (matchMedia("(pointer: coarse)").matches) {
        delete model.touchstart;
        delete model.touchmove;
        delete model.touchend;
    }
    return model;
}

const stateText = (state) => (state === "" ? "(empty)" : state);

/** How much of the time that is known each state took, the most frequent first. */
function shareList(shares, paint) {
    const known = [...shares.values()].reduce((a, b) => a + b, 0);
    const sorted = [...shares].sort((a, b) => b[1] - a[1]);
    const items = sorted.slice(0, SHARES_MAX).map(([state, ms]) => {
        const swatch = el("span", {class: "swatch", "aria-hidden": "true"});
        paint(swatch, state);
        return el("li", {}, swatch, stateText(state), el("span", {class: "hint"}, known > 0 ? `${Math.round(ms / known * 1000) / 10} %` : ""));
    });
    return el("ul", {class: "shares"}, ...items, sorted.length > SHARES_MAX ? el("li", {}, `and ${sorted.length - SHARES_MAX} more`) : null);
}

export class Card {
    /** owner: {onzoom(from, to), oncursor(ms | null), state(), setting(metric)} */
    constructor(key, owner) {
        this.key = key;
        this.name = metricName(key);
        this.owner = owner;
        this.graph = null;
        this.bands = [];
        this.heading = el("h3");
        this.legend = el("ul", {class: "legend"});
        this.plot = el("div", {class: "chart", role: "img"});
        this.bandList = el("div");
        this.stats = el("div", {class: "scroll stats", tabindex: "0", role: "region", "aria-label": `Statistics of ${this.name}`});
        this.table = el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": `Values of ${this.name}`});
        this.details = el("details", {ontoggle: () => this.fillTable()}, el("summary", {}, "Values as a table"), this.table);
        this.element = el("section", {class: "chart-card", "aria-label": this.name}, this.heading, this.legend, this.plot, this.bandList,
                          this.stats, this.details);
    }

    update(data, sensors, [from, to]) {
        this.data = data;
        this.range = [from, to];
        this.sensors = sensors.filter((s) => data.part(s)?.columns[this.key]);
        this.indexes = this.sensors.map((s) => sensors.indexOf(s));
        const setting = this.owner.setting(this.name);
        this.heading.replaceChildren(this.name, setting.unit ? el("small", {}, ` in ${setting.unit}`) : "");
        this.numeric = this.sensors.some((s) => data.part(s).columns[this.key].avg);
        this.plot.hidden = !this.numeric;
        if (this.numeric) {
            this.draw(setting);
        }
        this.fillLegend();
        this.fillBands();
        this.fillStatistics(setting);
        this.fillTable();
    }

    draw(setting) {
        const rows = chartRows(this.data, this.sensors, this.key);
        const {Dygraph} = window;
        this.plot.setAttribute("aria-label", `Chart of ${this.name} of ${this.sensors.join(", ")}. The values follow as a table.`);
        if (!Dygraph) {
            this.plot.replaceChildren(el("p", {class: "hint"}, "The chart library is missing on the gateway (package libjs-dygraphs)."));
            this.plot.classList.remove("chart");
            return;
        }
        const utc = this.owner.state().utc;
        const options = {
            file: rows.length ? rows : [[new Date(this.range[0]), ...this.sensors.map(() => null)]],
            labels: ["time", ...this.sensors.map((s, i) => `${i}`)],
            colors: this.indexes.map(color),
            dateWindow: this.range,
            labelsUTC: utc,
            axisLineColor: css("--line"),
            gridLineColor: css("--grid"),
            underlayCallback: (context, area, graph) => this.thresholds(context, area, graph, setting),
        };
        if (this.graph && this.count === this.sensors.length) {
            this.graph.updateOptions(options);
            return;
        }
        this.graph?.destroy();
        this.count = this.sensors.length;
        Dygraph.PLUGINS = plugins(Dygraph);
        this.graph = new Dygraph(this.plot, options.file, {
            ...options,
            file: undefined,
            customBars: true,
            connectSeparatedPoints: true,
            drawPoints: false,
            drawGapEdgePoints: true,
            strokeWidth: 1.8,
            fillAlpha: 0.18,
            legend: "never",
            highlightCircleSize: 4,
            xRangePad: 0,
            yRangePad: 8,
            interactionModel: interaction(Dygraph),
            animatedZooms: false,
            axes: {x: {axisLabelWidth: 72}, y: {axisLabelWidth: 56, axisLabelFormatter: tick, pixelsPerLabel: 36}},
            highlightCallback: (event, x) => this.owner.oncursor(x),
            unhighlightCallback: () => this.owner.oncursor(null),
            zoomCallback: (from, to) => this.zoomed(Math.round(from), Math.round(to)),
        });
    }

    /** Only a zoom in time asks for more detail; dragging upright stays in the chart. */
    zoomed(from, to) {
        if (from !== Math.round(this.range[0]) || to !== Math.round(this.range[1])) {
            this.owner.onzoom(from, to);
        }
    }

    thresholds(context, area, graph, setting) {
        for (const limit of [setting.min, setting.max]) {
            const y = limit === undefined ? NaN : graph.toDomYCoord(limit);
            if (y >= area.y && y <= area.y + area.h) {
                context.save();
                context.strokeStyle = css("--bad");
                context.setLineDash([6, 4]);
                context.beginPath();
                context.moveTo(area.x, y);
                context.lineTo(area.x + area.w, y);
                context.stroke();
                context.restore();
            }
        }
    }

    fillLegend() {
        this.outputs = new Map();
        this.legend.replaceChildren(...this.sensors.map((sensor, i) => {
            const swatch = el("span", {class: "swatch", "aria-hidden": "true"});
            swatch.style.background = color(this.indexes[i]);
            const output = el("output", {"aria-live": "off"});
            this.outputs.set(sensor, output);
            return el("li", {}, swatch, sensor, output);
        }));
    }

    fillBands() {
        this.bands = [];
        const states = [];
        const [from, to] = this.range;
        const paint = (element, state) => {
            if (state === "false") {
                element.classList.add("off");
            } else {
                element.style.background = color(states.indexOf(state));
            }
        };
        const rows = this.sensors.filter((s) => this.data.part(s).columns[this.key].state).flatMap((sensor) => {
            const runs = stateRuns(this.data.part(sensor), this.key, to);
            const band = el("div", {class: "band", role: "img",
                                    "aria-label": `${this.name} of ${sensor}: ${runs.length} states. The values follow as a table.`});
            const shares = new Map();
            for (const run of runs) {
                if (!states.includes(run.state)) {
                    states.push(run.state);
                }
                const length = Math.max(0, Math.min(run.to, to) - Math.max(run.from, from));
                const part = el("div", {class: length / (to - from) < 0.04 ? "band-part narrow" : "band-part",
                                        title: `${stateText(run.state)}, ${duration(run.to - run.from)}`}, stateText(run.state));
                part.style.left = `${(Math.max(run.from, from) - from) / (to - from) * 100}%`;
                part.style.width = `${length / (to - from) * 100}%`;
                paint(part, run.state);
                band.append(part);
                shares.set(run.state, (shares.get(run.state) ?? 0) + length);
            }
            this.bands.push(band);
            return [band, shareList(shares, paint)];
        });
        const utc = this.owner.state().utc;
        const axis = rows.length && !this.numeric
            ? el("div", {class: "band-axis"}, el("span", {}, time(from, utc)), el("span", {}, time(to, utc))) : "";
        this.bandList.replaceChildren(el("div", {class: rows.length ? "band-row" : ""}, ...rows, axis));
    }

    fillStatistics(setting) {
        const rows = this.sensors.filter((s) => this.data.part(s).columns[this.key].avg)
            .map((sensor) => [sensor, statistics(this.data.part(sensor), this.key)]).filter(([, s]) => s);
        const digits = this.digits();
        this.stats.hidden = rows.length === 0;
        const unit = setting.unit ? ` ${setting.unit}` : "";
        this.stats.replaceChildren(el("table", {},
            el("thead", {}, el("tr", {}, ...["In this window", "Minimum", "Average", "Maximum", "Last"].map((h) => el("th", {scope: "col"}, h)))),
            el("tbody", {}, ...rows.map(([sensor, s]) => el("tr", {}, el("th", {scope: "row"}, sensor),
                ...[number(s.min), average(s.avg, digits), number(s.max), number(s.last)].map((v) => el("td", {}, v + unit)))))));
    }

    /** Behind the point, of what was measured. */
    digits() {
        return decimals(this.sensors.flatMap((s) => {
            const {min, max} = this.data.part(s).columns[this.key];
            return [...min ?? [], ...max ?? []].filter((v) => v !== null);
        }));
    }

    /** Filled when it is open: the newest values first. */
    fillTable() {
        if (!this.details.open || !this.data) {
            return;
        }
        const utc = this.owner.state().utc;
        const digits = this.digits();
        const rows = [];
        this.sensors.forEach((sensor) => {
            const part = this.data.part(sensor);
            const c = part.columns[this.key];
            part.t.forEach((t, i) => {
                const value = c.avg?.[i] ?? null;
                const text = value === null ? c.state?.[i] ?? null
                    : c.min[i] === c.max[i] ? number(value) : `${average(value, digits)} (${number(c.min[i])} to ${number(c.max[i])})`;
                if (text !== null) {
                    rows.push([t, sensor, text]);
                }
            });
        });
        rows.sort((a, b) => b[0] - a[0]);
        this.table.replaceChildren(el("table", {}, el("caption", {}, `${rows.length} values, newest first; average (minimum to maximum)`),
            el("thead", {}, el("tr", {}, ...["Time", "Sensor", this.name].map((h) => el("th", {scope: "col"}, h)))),
            el("tbody", {}, ...rows.map(([t, sensor, text]) => el("tr", {}, el("th", {scope: "row"}, time(t, utc)), el("td", {}, sensor),
                                                                  el("td", {}, text))))));
    }

    /** The same moment in every card. */
    cursor(ms) {
        this.bands.forEach((band) => {
            band.querySelector(".band-cursor")?.remove();
            if (ms !== null && ms >= this.range[0] && ms <= this.range[1]) {
                const line = el("div", {class: "band-cursor"});
                line.style.left = `${(ms - this.range[0]) / (this.range[1] - this.range[0]) * 100}%`;
                band.append(line);
            }
        });
        if (this.graph && this.numeric) {
            if (ms === null) {
                this.graph.clearSelection();
            } else {
                this.select(ms);
            }
        }
        this.outputs?.forEach((output, sensor) => {
            output.textContent = ms === null ? "" : this.valueAt(sensor, ms);
        });
    }

    /** The row nearest to this time. */
    select(ms) {
        let low = 0;
        let high = this.graph.numRows() - 1;
        while (low < high) {
            const middle = (low + high) >> 1;
            if (this.graph.getValue(middle, 0) < ms) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low > 0 && ms - this.graph.getValue(low - 1, 0) < this.graph.getValue(low, 0) - ms) {
            low--;
        }
        this.graph.setSelection(low);
    }

    valueAt(sensor, ms) {
        const part = this.data.part(sensor);
        const c = part?.columns[this.key];
        let best = null;
        part?.t.forEach((t, i) => {
            const value = c.avg?.[i] ?? c.state?.[i] ?? null;
            if (value !== null && (best === null || Math.abs(t - ms) < Math.abs(best[0] - ms))) {
                best = [t, value];
            }
        });
        if (!best || Math.abs(best[0] - ms) > (this.range[1] - this.range[0]) / 20) {
            return "–";
        }
        return `${typeof best[1] === "number" ? average(best[1], this.digits()) : best[1]} at ${time(best[0], this.owner.state().utc)}`;
    }

    destroy() {
        this.graph?.destroy();
        this.element.remove();
    }
}
