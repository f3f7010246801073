// The way to the kernel: a view's name, answers by number, and everything anew when something was missed.

const PATIENCE = 300; // milliseconds without an acknowledgement, after which the kernel is called busy
const CHECK_AFTER = 30_000;
export const SILENT = CHECK_AFTER + 10_000; // so long without a word is an answer, too
const SEEN_AFTER = 4000; // the kernel forgets a view after 15 s without an answer

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
    this.seeing = null;
    this.heardAt = Date.now();
    this.closed = false;
    this.receive = (message) => this.take(message);
    model.on("msg:custom", this.receive);
  }

  tell(message) {
    if (this.closed) return;
    try {
      this.model.send({ ...message, view: this.view });
    } catch {
      this.heardAt = 0; // the way to the kernel is gone, and the panel says so
    }
  }

  /** Milliseconds since the kernel said anything. */
  get silence() {
    return Date.now() - this.heardAt;
  }

  /** Find out whether the kernel is there, once it has said nothing for long. */
  check() {
    if (
      this.silence > CHECK_AFTER &&
      this.isOpen &&
      ![...this.waiting.values()].some(({ asked }) => asked.type === "ping")
    ) {
      this.ask("the kernel", { type: "ping" }, null);
    }
  }

  hello() {
    this.seq = 0;
    this.tell({ type: "hello", ...this.greet() });
  }

  get isOpen() {
    return this.model.isOpen !== false && !this.closed;
  }

  /** Ask for something; gives the answer, or null when it was refused: then the reason was said. */
  ask(what, message, refused = (text) => this.said(text, true)) {
    if (!this.isOpen) {
      refused?.("not connected");
      return Promise.resolve(null);
    }
    this.number += 1;
    const asked = { ...message, id: this.number };
    return new Promise((resolve) => {
      const waiting = {
        what,
        asked,
        quiet: this.quiet.has(message.type),
        resolve,
        refused,
        acked: false,
        spoke: false,
        timer: null,
      };
      this.waiting.set(asked.id, waiting);
      if (asked.type !== "ping") this.later(waiting, `${what}: queued: kernel is busy`);
      this.tell(asked);
    });
  }

  /** Say something of a request, should it take longer. */
  later(waiting, text) {
    clearTimeout(waiting.timer);
    waiting.timer = setTimeout(() => {
      waiting.spoke = true;
      this.said(text);
    }, PATIENCE);
  }

  settle(id) {
    const waiting = this.waiting.get(id);
    clearTimeout(waiting?.timer);
    this.waiting.delete(id);
    return waiting ?? null;
  }

  /** The kernel forgot this view: it says who it is, and what it asked for that was not begun. */
  again() {
    this.hello();
    for (const waiting of this.waiting.values()) if (!waiting.acked) this.tell(waiting.asked);
  }

  take(message) {
    if (message.type === "paused") {
      this.told(message);
      return;
    }
    if (message.view !== this.view || this.closed) return;
    this.heardAt = Date.now();
    if (message.type === "who") this.again();
    else if (message.type === "queued") {
      const waiting = this.waiting.get(message.id);
      if (waiting && message.by) {
        waiting.spoke = true;
        this.said(`${waiting.what}: queued: kernel is busy (${message.by})`);
      }
    } else if (message.type === "ack") {
      const waiting = this.waiting.get(message.id);
      if (!waiting) return;
      waiting.acked = true;
      clearTimeout(waiting.timer);
      if (!waiting.quiet) this.later(waiting, `${waiting.what}: working…`);
    } else if (message.type === "done" || message.type === "failed") {
      const waiting = this.settle(message.id);
      if (!waiting) return;
      if (message.type === "done") {
        if (!waiting.quiet || waiting.spoke) this.said("");
        waiting.resolve(message);
      } else {
        waiting.refused?.(message.text);
        waiting.resolve(null);
      }
    } else if (message.type === "snapshot" || message.type === "update") {
      if (message.type === "update" && message.seq !== this.seq + 1) {
        if (this.seq) this.hello(); // one was lost on the way
        return;
      }
      this.seq = message.seq;
      // Not at once: an answer to every update would keep the kernel busy. But each is answered in the end.
      this.seeing ??= setTimeout(() => {
        this.seeing = null;
        this.tell({ type: "seen", seq: this.seq });
      }, SEEN_AFTER);
      this.told(message);
    }
  }

  /** The way is lost: what was asked for will not be answered. */
  lost() {
    for (const id of [...this.waiting.keys()]) this.settle(id).resolve(null);
    clearTimeout(this.seeing);
    this.seeing = null;
  }

  close() {
    this.tell({ type: "bye" });
    this.closed = true;
    this.lost();
    this.model.off("msg:custom", this.receive);
  }
}
