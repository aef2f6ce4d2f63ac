/* The phone page: permission, samples, trace, verdict, batches. */
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  const TRACE_S = 10;
  const stream = new Walking.Stream();
  const session = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2);
  const outbox = new Outbox(showOutbox);

  let running = false;
  let seq = 0;
  let batch = empty();
  let started = 0;
  let heard = false;
  let wakeLock = null;
  let ticker = 0;
  let graph = null;
  let trace = [];

  function empty() {
    return { t: [], x: [], y: [], z: [] };
  }

  function say(kind, text) {
    $("notice").className = kind;
    $("notice").textContent = text;
    $("notice").hidden = !text;
  }

  function showOutbox() {
    const words = { idle: "connected", sending: "sending", offline: "waiting for the gateway", refused: "refused" };
    $("link").textContent = words[outbox.state] + (outbox.reason ? `: ${outbox.reason}` : "");
    $("link").className = outbox.state;
    $("waiting").textContent = String(outbox.waiting);
    $("sent").textContent = String(outbox.sent);
    $("dropped").textContent = String(outbox.dropped);
    $("dropped-row").hidden = outbox.dropped === 0;
  }

  // ---- samples

  function onMotion(event) {
    const a = event.accelerationIncludingGravity;
    if (!a || a.x === null || a.y === null || a.z === null) return;
    heard = true;
    const t = event.timeStamp;
    stream.add(t, a.x, a.y, a.z);
    batch.t.push(t);
    batch.x.push(a.x);
    batch.y.push(a.y);
    batch.z.push(a.z);
    trace.push([t / 1000, a.x, a.y, a.z]);
  }

  function rateOf(times) {
    return times.length > 1 ? (1000 * (times.length - 1)) / (times[times.length - 1] - times[0]) : 0;
  }

  const round = (v) => Math.round(v * 1000) / 1000;

  let name = ""; // the last one that was right: the gateway refuses batches of any other

  // Whether the phone's name can be a thing's; says what is wrong with it.
  function checkName() {
    const typed = $("device").value.trim();
    const right = /^[A-Za-z0-9:_-]*$/.test(typed);
    if (right) name = typed;
    say(right ? "" : "problem", right ? "" : "The name of this phone takes letters, digits, colon, underscore and hyphen only.");
    return right;
  }

  function takeBatch() {
    const b = batch;
    const rate = rateOf(b.t);
    if (b.t.length < 2 || rate < 15) return null;
    batch = empty();
    const common = { session, seq: seq++, time: Date.now() };
    if (name) common.device = name;
    if ($("mode").value === "proc") {
      const v = stream.judge() || { walking: false, cadence: 0, confidence: 0 };
      return ["walk-sensor/proc", { ...common, ...v, cadence: round(v.cadence), confidence: round(v.confidence) }, rate];
    }
    return ["walk-sensor/raw", { ...common, rate: round(rate), x: b.x.map(round), y: b.y.map(round), z: b.z.map(round) },
      rate];
  }

  function showVerdict(rate) {
    const v = stream.judge();
    $("verdict").textContent = !v ? "listening" : v.walking ? "walking" : "not walking";
    $("verdict").className = v && v.walking ? "walking" : "";
    $("cadence").textContent = v && v.walking ? `${Math.round(v.cadence)} steps/min` : "–";
    $("rate").textContent = rate ? `${Math.round(rate)} Hz` : "–";
  }

  function showTrace() {
    const last = trace.length ? trace[trace.length - 1][0] : 0;
    trace = trace.filter((p) => p[0] > last - TRACE_S);
    if (trace.length < 2) return;
    if (graph) graph.updateOptions({ file: trace, dateWindow: [last - TRACE_S, last] });
  }

  function onTick() {
    const b = takeBatch();
    showTrace();
    if (b) {
      checkName();
      showVerdict(b[2]);
      outbox.add(b[0], JSON.stringify(b[1]));
    } else if (!heard && performance.now() - started > 3000) {
      say("problem", "This device does not report any motion: it has no accelerometer, or the browser keeps it from pages.");
    }
  }

  // What has not become a whole batch must leave with the page: into the queue, where it survives, and at once, because a
  // page that goes away may not get to its queue. The gateway takes the two for one.
  function flush() {
    const b = running ? takeBatch() : null;
    if (!b) return;
    const body = JSON.stringify(b[1]);
    outbox.parting(b[0], body);
    outbox.add(b[0], body);
  }

  // ---- starting and stopping

  async function lockScreen() {
    if (!running || document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
    try {
      wakeLock = await navigator.wakeLock.request("screen");
    } catch {
      wakeLock = null; // low battery: the page works without
    }
  }

  async function permitted() {
    if (!window.isSecureContext) {
      say("problem", "Browsers give motion sensors to pages over HTTPS only. Open this page with https://.");
      return false;
    }
    if (!("DeviceMotionEvent" in window)) {
      say("problem", "This browser has no motion sensors.");
      return false;
    }
    if (typeof DeviceMotionEvent.requestPermission === "function") {
      const answer = await DeviceMotionEvent.requestPermission().catch(() => "denied");
      if (answer !== "granted") {
        say("problem", "Access to motion sensors was denied. Allow it in the browser's settings for this site, and reload.");
        return false;
      }
    }
    return true;
  }

  async function start() {
    if (!checkName() || !(await permitted())) return;
    running = true;
    heard = false;
    started = performance.now();
    stream.reset();
    batch = empty();
    trace = [];
    window.addEventListener("devicemotion", onMotion);
    ticker = setInterval(onTick, 1000);
    $("start").textContent = "Stop";
    $("start").setAttribute("aria-pressed", "true");
    $("verdict").textContent = "listening";
    lockScreen();
  }

  function stop() {
    flush();
    running = false;
    window.removeEventListener("devicemotion", onMotion);
    clearInterval(ticker);
    if (wakeLock) wakeLock.release().catch(() => {});
    wakeLock = null;
    $("start").textContent = "Start";
    $("start").setAttribute("aria-pressed", "false");
    $("verdict").textContent = "stopped";
    $("verdict").className = "";
  }

  function onVisibility() {
    if (document.visibilityState === "hidden") {
      flush();
      return;
    }
    stream.reset(); // a hidden page gets no motion: there is a gap
    lockScreen();
    outbox.hurry();
  }

  // ---- the page

  function remember(id) {
    try {
      const kept = localStorage.getItem(id);
      if (kept !== null) $(id).value = kept;
      $(id).addEventListener("change", () => localStorage.setItem(id, $(id).value));
    } catch {
      // no storage in this window
    }
  }

  function readToken() {
    const token = decodeURIComponent(location.hash.slice(1));
    try {
      if (token) sessionStorage.setItem("token", token);
      outbox.token = token || sessionStorage.getItem("token") || "";
    } catch {
      outbox.token = token;
    }
    outbox.hurry();
  }

  function makeGraph() {
    // The legend is not shown, and writes style attributes, which the page's policy forbids.
    Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => plugin !== Dygraph.Plugins.Legend);
    graph = new Dygraph($("trace"), [[0, 0, 0, 0]], {
      labels: ["s", "x", "y", "z"],
      colors: ["#c2410c", "#15803d", "#1d4ed8"],
      drawPoints: false,
      valueRange: [-25, 25],
      interactionModel: {},
      axes: { x: { drawAxis: false, drawGrid: false }, y: { axisLabelWidth: 28 } },
    });
  }

  remember("device");
  $("device").addEventListener("change", checkName);
  remember("mode");
  makeGraph();
  showOutbox();
  $("start").addEventListener("click", () => (running ? stop() : start()));
  document.addEventListener("visibilitychange", onVisibility);
  window.addEventListener("pagehide", flush);
  window.addEventListener("online", () => outbox.hurry());
  window.addEventListener("hashchange", readToken);
  outbox.open().then(readToken);
  if (!window.isSecureContext) permitted();
})();
