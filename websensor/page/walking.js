/* Walking or not: the same rule as walking.c (a test compares the two on recordings). Pure, without the page. */
"use strict";

const Walking = (() => {
  const RATE = 50; // Hz
  const WINDOW = 256; // samples: 5.12 s
  const SHORTEST = 128;
  const SMOOTH_HZ = 4;
  const LAGS = 80; // 1.6 s
  const PEAK_MIN = 0.35;
  const SD_MIN = 0.8;
  const SD_MAX = 4.5;
  const UNSMOOTHED_SD_MAX = 7.5;
  const RUN_MARGIN = 0.3;
  const STEP_SLOWEST = 1.4;
  const STEP_FASTEST = 2.3;
  const RUN_FASTEST = 3.6;

  function subtractMean(v) {
    let sum = 0;
    for (const x of v) sum += x;
    for (let i = 0; i < v.length; i++) v[i] -= sum / v.length;
  }

  function smooth(v) {
    const alpha = 1 - Math.exp((-2 * Math.PI * SMOOTH_HZ) / RATE);
    let first = 0;
    let second = 0;
    for (let i = 0; i < v.length; i++) {
      first += alpha * (v[i] - first);
      second += alpha * (first - second);
      v[i] = second;
    }
  }

  function variance(v) {
    let sum = 0;
    for (const x of v) sum += x * x;
    return sum / v.length;
  }

  // Unbiased autocorrelation, 1 at lag 0.
  function correlate(v, variance0) {
    const r = new Float64Array(LAGS + 1);
    for (let k = 0; k <= LAGS; k++) {
      let sum = 0;
      for (let i = 0; i + k < v.length; i++) sum += v[i] * v[i + k];
      r[k] = sum / (v.length - k) / variance0;
    }
    return r;
  }

  // The highest local peak with a lag from RATE/fast to RATE/slow.
  function bestPeak(r, fast, slow) {
    let best = { value: -1, lag: 0 };
    for (let k = Math.ceil(RATE / fast); k <= RATE / slow; k++) {
      if (r[k] > best.value && r[k] >= r[k - 1] && r[k] >= r[k + 1]) best = { value: r[k], lag: k };
    }
    return best;
  }

  function runPeak(r) {
    let best = -1;
    for (let k = Math.ceil(RATE / RUN_FASTEST); k < RATE / STEP_FASTEST; k++) best = Math.max(best, r[k]);
    return best;
  }

  // Judges magnitudes at RATE, the last WINDOW of them; null below SHORTEST.
  function judge(magnitudes) {
    if (magnitudes.length < SHORTEST) return null;
    const v = Float64Array.from(magnitudes.slice(-WINDOW));
    subtractMean(v);
    const unsmoothedSd = Math.sqrt(variance(v));
    smooth(v);
    subtractMean(v);
    const var0 = variance(v);
    const sd = Math.sqrt(var0);
    if (!(var0 > 0)) return { walking: false, cadence: 0, confidence: 1 };
    const r = correlate(v, var0);
    const step = bestPeak(r, STEP_FASTEST, STEP_SLOWEST);
    const stride = bestPeak(r, STEP_FASTEST / 2, STEP_SLOWEST / 2);
    const peak = Math.max(step.value, stride.value);
    const margin = Math.min(
      (peak - PEAK_MIN) / PEAK_MIN,
      (sd - SD_MIN) / SD_MIN,
      (SD_MAX - sd) / SD_MAX,
      (peak - RUN_MARGIN - runPeak(r)) / RUN_MARGIN,
      (UNSMOOTHED_SD_MAX - unsmoothedSd) / UNSMOOTHED_SD_MAX,
    );
    const walking = margin > 0;
    const hz = step.value >= stride.value ? RATE / step.lag : (2 * RATE) / stride.lag;
    return { walking, cadence: walking ? 60 * hz : 0, confidence: 0.5 + 0.5 * Math.min(Math.abs(margin), 1) };
  }

  // A stream of samples with their own times (ms), resampled to RATE. A gap of over 200 ms begins anew.
  class Stream {
    constructor() {
      this.reset();
    }

    reset() {
      this.magnitudes = [];
      this.last = null;
      this.next = 0;
    }

    add(t, x, y, z) {
      const sample = { t, v: [x, y, z] };
      if (this.last && (t <= this.last.t || t - this.last.t > 200)) this.reset();
      if (!this.last) {
        this.push(sample.v);
        this.next = t + 1000 / RATE;
      } else {
        for (; this.next <= t; this.next += 1000 / RATE) {
          const at = (this.next - this.last.t) / (t - this.last.t);
          this.push(this.last.v.map((from, axis) => from + at * (sample.v[axis] - from)));
        }
      }
      this.last = sample;
    }

    push(v) {
      this.magnitudes.push(Math.hypot(v[0], v[1], v[2]));
      if (this.magnitudes.length > WINDOW) this.magnitudes.shift();
    }

    judge() {
      return judge(this.magnitudes);
    }
  }

  return { RATE, WINDOW, SHORTEST, judge, Stream };
})();

if (typeof module !== "undefined") module.exports = Walking;
