// The way to the kernel: a view's name, answers by number, and everything anew when something was missed.

const PATIENCE = 300; // milliseconds without an acknowledgement, after which the kernel is called busy
const SEEN_EVERY = 5000;

export class Link {
  /** `model` sends and receives; `told` gets updates, `said` what is to be read in the status line. */
  constructor(model, { greet, told, said, quiet }) {
    this.model = model;
    this.view = Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");
    this.greet = greet;
    this.told = told;
    this.said = said;
    this.quiet = new Set(quiet);
    this.waiting = new Map();
    this.number = 0;
    this.seq = 0;
    this.seenAt = 0;
    this.closed = false;
    this.receive = (message) => this.take(message);
    model.on("msg:custom", this.receive);
  }

  tell(message) {
    if (!this.closed) this.model.send({ ...message, view: this.view });
  }

  hello() {
    this.seq = 0;
    this.tell({ type: "hello", ...this.greet() });
  }

  /** Ask for something; gives the answer, or null when it was refused: then the reason was said. */
  ask(what, message, refused = (text) => this.said(text, true)) {
    this.number += 1;
    const id = this.number;
    return new Promise((resolve) => {
      const quiet = this.quiet.has(message.type);
      const timer = setTimeout(() => this.said(`${what}: queued: kernel is busy`), PATIENCE);
      this.waiting.set(id, { what, quiet, timer, resolve, refused, working: null });
      this.tell({ ...message, id });
    });
  }

  settle(id) {
    const waiting = this.waiting.get(id);
    if (!waiting) return null;
    clearTimeout(waiting.timer);
    clearTimeout(waiting.working);
    return waiting;
  }

  take(message) {
    if (message.type === "paused") {
      this.told(message);
      return;
    }
    if (message.view !== this.view || this.closed) return;
    if (message.type === "who") this.hello();
    else if (message.type === "queued") {
      const waiting = this.waiting.get(message.id);
      if (waiting && message.by) this.said(`${waiting.what}: queued: kernel is busy (${message.by})`);
    }
    else if (message.type === "ack") {
      const waiting = this.settle(message.id);
      if (waiting && !waiting.quiet) waiting.working = setTimeout(() => this.said(`${waiting.what}: working…`), PATIENCE);
    } else if (message.type === "done" || message.type === "failed") {
      const waiting = this.settle(message.id);
      if (!waiting) return;
      this.waiting.delete(message.id);
      if (message.type === "done") {
        if (!waiting.quiet || this.waiting.size === 0) this.said("");
        waiting.resolve(message);
      } else {
        if (waiting.refused !== null) waiting.refused(message.text);
        waiting.resolve(null);
      }
    } else if (message.type === "snapshot" || message.type === "update") {
      if (message.type === "update" && message.seq !== this.seq + 1) {
        if (this.seq) this.hello(); // one was lost on the way
        return;
      }
      this.seq = message.seq;
      this.told(message);
      if (Date.now() - this.seenAt > SEEN_EVERY || message.type === "snapshot") {
        this.seenAt = Date.now();
        this.tell({ type: "seen", seq: message.seq });
      }
    }
  }

  /** The way is lost: what was asked for will not be answered. */
  lost() {
    for (const id of [...this.waiting.keys()]) {
      this.settle(id)?.resolve(null);
      this.waiting.delete(id);
    }
  }

  close() {
    this.tell({ type: "bye" });
    this.closed = true;
    this.lost();
    this.model.off("msg:custom", this.receive);
  }
}
