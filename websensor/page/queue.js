/* What is to be sent: batches wait in IndexedDB until the gateway has taken them, in order and across reloads. Each carries the
 * page's session and a number, so that one that is sent again after a lost answer is published once. */
"use strict";

class Outbox {
  static MAX = 7200; // batches; beyond that the oldest is dropped and counted

  constructor(onChange) {
    this.onChange = onChange;
    this.waiting = 0;
    this.sent = 0;
    this.dropped = 0;
    this.state = "idle"; // idle, sending, offline, refused
    this.reason = "";
    this.token = "";
    this.failures = 0;
    this.timer = 0;
    this.busy = false;
    this.db = null;
    this.memory = []; // where IndexedDB is not to be had (private windows)
  }

  async open() {
    try {
      this.db = await new Promise((done, failed) => {
        const request = indexedDB.open("websensor", 1);
        request.onupgradeneeded = () => request.result.createObjectStore("batches", { autoIncrement: true });
        request.onsuccess = () => done(request.result);
        request.onerror = () => failed(request.error);
      });
    } catch {
      this.db = null;
    }
    this.waiting = await this.count();
    this.kick();
  }

  // One transaction on the store; what `use` returns (an IDBRequest) gives the result.
  access(mode, use) {
    return new Promise((done, failed) => {
      const transaction = this.db.transaction("batches", mode);
      const request = use(transaction.objectStore("batches"));
      transaction.oncomplete = () => done(request.result);
      transaction.onerror = transaction.onabort = () => failed(transaction.error);
    });
  }

  count() {
    return this.db ? this.access("readonly", (store) => store.count()) : Promise.resolve(this.memory.length);
  }

  async first() {
    if (!this.db) return this.memory.length ? { key: 0, item: this.memory[0] } : null;
    const cursor = await new Promise((done, failed) => {
      const request = this.db.transaction("batches").objectStore("batches").openCursor();
      request.onsuccess = () => done(request.result && { key: request.result.key, item: request.result.value });
      request.onerror = () => failed(request.error);
    });
    return cursor;
  }

  remove(key) {
    if (this.db) return this.access("readwrite", (store) => store.delete(key));
    this.memory.shift();
    return Promise.resolve();
  }

  async add(url, body) {
    const item = { url, body };
    if (this.waiting >= Outbox.MAX) {
      const oldest = await this.first();
      if (oldest) {
        await this.remove(oldest.key);
        this.dropped++;
        this.waiting--;
      }
    }
    if (this.db) await this.access("readwrite", (store) => store.add(item));
    else this.memory.push(item);
    this.waiting++;
    this.onChange();
    this.kick();
  }

  // Sends a last batch without waiting for the answer, unless others must go first (or it is over what browsers let outlive
  // a page, 64 KiB).
  parting(url, body) {
    if (this.waiting === 0 && body.length < 60000) {
      fetch(url, { method: "POST", headers: this.headers(), body, keepalive: true }).catch(() => {});
    }
  }

  // Sends on, unless something is under way or a pause is due.
  kick() {
    if (!this.busy && !this.timer) this.work();
  }

  async work() {
    this.busy = true;
    try {
      for (let next = await this.first(); next; next = await this.first()) {
        const pause = await this.send(next.item);
        if (pause !== 0) {
          this.wait(pause);
          break;
        }
        await this.remove(next.key);
        this.waiting = Math.max(0, this.waiting - 1);
        this.onChange();
      }
    } finally {
      this.busy = false;
    }
    if (this.state === "sending") this.set("idle", "");
  }

  headers() {
    const headers = { "Content-Type": "application/json" };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    return headers;
  }

  // 0: it is settled; otherwise the pause in ms before the next try.
  async send(item) {
    this.set("sending", "");
    let response;
    try {
      response = await fetch(item.url, {
        method: "POST",
        headers: this.headers(),
        body: item.body,
        signal: AbortSignal.timeout(15000),
      });
    } catch {
      this.set("offline", "the gateway cannot be reached");
      return this.backoff(0);
    }
    if (response.ok) {
      this.failures = 0;
      this.sent++;
      return 0;
    }
    const reason = await response.json().then((answer) => answer.error, () => response.statusText);
    if (response.status === 503 || response.status === 429 || response.status >= 500) {
      this.set("offline", reason);
      return this.backoff(Number(response.headers.get("Retry-After")) || 0);
    }
    this.set("refused", reason);
    if (response.status === 401 || response.status === 403) return this.backoff(30); // it may be allowed later
    this.dropped++; // a batch that will never be taken must not hold up the others
    return 0;
  }

  // Full jitter, and never sooner than the gateway asked for.
  backoff(retryAfter) {
    const most = Math.min(30000, 1000 * 2 ** Math.min(this.failures++, 5));
    return Math.max(retryAfter * 1000, 250 + Math.random() * most);
  }

  wait(ms) {
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.kick();
    }, ms);
  }

  // The network is back, or the page is: no need to wait any longer.
  hurry() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.kick();
  }

  set(state, reason) {
    this.state = state;
    this.reason = reason;
    this.onChange();
  }
}
