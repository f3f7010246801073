// The way to the kernel: a view's name, answers by number, and everything anew when an update was lost.

import { changeCell } from "./notebook.js";

const PATIENCE = 300; // milliseconds without an acknowledgement, after which the kernel is called busy
const CHECK_AFTER = 750; // milliseconds of silence, after which a ping asks whether somebody is there
const ACK_AFTER = 4000; // the kernel forgets a view after 15 s without an answer

export class Link {
  /**
   * `model` sends and receives messages. `greet` gives the fields of a hello, `receive` takes snapshots and
   * updates, `showStatus` a text for the status line; requests of a `quiet` type leave no text there.
   */
  constructor(model, { greet, receive, showStatus, quiet }) {
    this.model = model;
    this.view = Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");
    this.greet = greet;
    this.receive = receive;
    this.showStatus = showStatus;
    this.quiet = new Set(quiet);
    // requests, by number
    this.waiting = new Map();
    this.number = 0;
    // updates
    this.seq = 0;
    this.ackTimer = null;
    // the kernel
    this.heardAt = Date.now();
    this.lifeAt = Date.now(); // of any sign of life, such as that a request is queued
    this.isBroken = false;
    this.queuedBy = null; // what the kernel runs while requests wait
    this.closed = false;
    this.handlers = {
      who: () => this.reintroduce(),
      queued: (message) => this.noteQueued(message),
      ack: (message) => this.noteBegun(message),
      done: (message) => this.finish(message),
      failed: (message) => this.fail(message),
      snapshot: (message) => this.takeUpdate(message),
      update: (message) => this.takeNextUpdate(message),
    };
    this.listener = (message) => this.dispatch(message);
    model.on("msg:custom", this.listener);
  }

  get isOpen() {
    return this.model.isOpen !== false && !this.isBroken && !this.closed;
  }

  /** Milliseconds since the last message of the kernel. */
  get silence() {
    return Date.now() - this.heardAt;
  }

  /** Whether a request has waited for longer than this, in milliseconds, without being begun. */
  isLate(patience) {
    const now = Date.now();
    return [...this.waiting.values()].some(({ begun, since }) => !begun && now - since > patience);
  }

  /** Milliseconds since the last sign that its process runs, though nothing may be answered. */
  get lifeless() {
    return Date.now() - this.lifeAt;
  }

  /** For how long the oldest request waits without being begun, in milliseconds; 0 without any. */
  get waits() {
    const since = [...this.waiting.values()].filter(({ begun }) => !begun).map((waiting) => waiting.since);
    return since.length ? Date.now() - Math.min(...since) : 0;
  }

  /** Find out whether somebody is there, once nothing was heard for a second. */
  check() {
    if (!this.isOpen) return;
    const asked = [...this.waiting.values()].find(({ request }) => request.type === "ping");
    if (!asked) {
      if (this.silence > CHECK_AFTER) this.request("the kernel", { type: "ping" }, null);
    } else if (asked.isQueued && this.lifeless > CHECK_AFTER) {
      asked.isQueued = false; // it was taken by a thread beside: that tells again whether the process runs
      this.send(asked.request);
    }
  }

  /** What was requested will not be answered: the socket is another one now. */
  lost() {
    for (const id of [...this.waiting.keys()]) {
      const { isQuiet, refuse, resolve } = this.settle(id);
      if (!isQuiet && !this.closed) refuse?.("the connection was lost; look whether it was done");
      resolve(null);
    }
    clearTimeout(this.ackTimer);
    this.ackTimer = null;
  }

  close() {
    this.send({ type: "bye" });
    this.closed = true;
    this.lost();
    this.model.off("msg:custom", this.listener);
  }

  // -- what is sent --------------------------------------------------------------------------------------

  send(message) {
    if (this.closed) return;
    try {
      this.model.send({ ...message, view: this.view });
    } catch {
      this.isBroken = true; // there is no way to the kernel, and the panel shows that
    }
  }

  hello() {
    this.seq = 0;
    this.isBroken = false;
    this.send({ type: "hello", ...this.greet() });
  }

  /** Request something; gives the answer, or null when it was refused: then `refuse` gets the reason. */
  request(title, message, refuse = (text) => this.showStatus(text, true)) {
    if (!this.isOpen) {
      refuse?.("not connected");
      return Promise.resolve(null);
    }
    this.number += 1;
    const request = { ...message, id: this.number };
    const isQuiet = this.quiet.has(message.type);
    return new Promise((resolve) => {
      const waiting = {
        title,
        request,
        isQuiet,
        resolve,
        refuse,
        since: Date.now(),
        begun: false,
        shown: false,
        timer: null,
      };
      this.waiting.set(request.id, waiting);
      if (request.type !== "ping") this.showLater(waiting, `${title}: waits in line`);
      this.send(request);
    });
  }

  /** Show the status of a request, should it take longer. */
  showLater(waiting, text) {
    clearTimeout(waiting.timer);
    waiting.timer = setTimeout(() => {
      waiting.shown = true;
      this.showStatus(text);
    }, PATIENCE);
  }

  /** Acknowledge updates, not each at once: that would keep the kernel busy. But each is in the end. */
  ackLater() {
    this.ackTimer ??= setTimeout(() => {
      this.ackTimer = null;
      this.send({ type: "ack", seq: this.seq });
    }, ACK_AFTER);
  }

  // -- what arrives --------------------------------------------------------------------------------------

  dispatch(message) {
    if (message.type === "paused") {
      this.lifeAt = Date.now();
      this.receive(message); // for all views
      return;
    }
    if (message.type === "cell") {
      if (changeCell(this.model, message)) this.send({ type: "cell", number: message.number, is_done: true });
      return; // whichever view can do it
    }
    if (message.view !== this.view || this.closed) return;
    this.lifeAt = Date.now();
    if (message.type !== "queued") this.heardAt = this.lifeAt;
    this.onHeard?.();
    this.handlers[message.type]?.(message);
  }

  /** The kernel forgot this view: say hello, and request again what was not begun. */
  reintroduce() {
    this.hello();
    for (const waiting of this.waiting.values()) if (!waiting.begun) this.send(waiting.request);
  }

  noteQueued({ id, by }) {
    const waiting = this.waiting.get(id);
    if (!waiting) return;
    waiting.isQueued = true;
    if (!by) return;
    this.queuedBy = by;
    if (waiting.request.type === "ping") return;
    clearTimeout(waiting.timer); // what it waits for says more than that it waits
    waiting.shown = true;
    this.showStatus(`${waiting.title}: waits for ${by}`);
  }

  noteBegun({ id }) {
    const waiting = this.waiting.get(id);
    if (!waiting) return;
    waiting.begun = true;
    this.queuedBy = null;
    clearTimeout(waiting.timer);
    if (!waiting.isQuiet) this.showLater(waiting, `${waiting.title}: working…`);
  }

  finish(message) {
    const waiting = this.settle(message.id);
    if (!waiting) return;
    if (!waiting.isQuiet || waiting.shown) this.showStatus("");
    waiting.resolve(message);
  }

  fail({ id, text }) {
    const waiting = this.settle(id);
    if (!waiting) return;
    waiting.refuse?.(text);
    waiting.resolve(null);
  }

  settle(id) {
    const waiting = this.waiting.get(id);
    clearTimeout(waiting?.timer);
    this.waiting.delete(id);
    return waiting ?? null;
  }

  takeNextUpdate(message) {
    if (message.seq === this.seq + 1) this.takeUpdate(message);
    else if (this.seq) this.hello(); // one was lost on the way
  }

  takeUpdate(message) {
    this.seq = message.seq;
    this.ackLater();
    this.receive(message);
  }
}
