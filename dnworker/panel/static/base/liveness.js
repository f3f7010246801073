/* Whether somebody answers: live, busy, or gone. `judge` is pure; `KernelWatch` reads what a notebook knows of it.
 *
 * A ping goes out once a second while the panel is visible and nothing else was heard. What answers is live. On the
 * page of a server an open socket without answers is a busy server, and a closed one is gone. In a notebook the
 * kernel's status tells the two apart, where the front end gives it (JupyterLab, Notebook 7): a kernel that is said to
 * be idle and does not answer is gone, one that is said to be busy is busy, and one that restarts has lost the runtime.
 * Where a kernel takes messages of widgets on a thread beside, its status says "idle" though a cell runs; that thread
 * tells that a request is queued, which is a sign of life. Without a status an unanswered kernel counts as busy, for as long as that lasts.
 */

export const BEAT = 250; // milliseconds between two looks
const BUSY_AFTER = 1000; // milliseconds for which a request waits
const GONE_AFTER = 1100; // the same, of a kernel that is idle: it would answer at once
const OVER = new Set(["dead", "terminating", "restarting", "autorestarting", "starting"]);

/**
 * The state by what is known: `isOpen` (the socket), `waits` (milliseconds for which the oldest request has waited),
 * `lifeless` (milliseconds since a sign that the process runs, such as a thread of it that takes requests), `kernel` (`{ status, isOver, isConnected }`, or null where nothing is known of it).
 */
export function judge({ isOpen, waits, lifeless = waits, kernel }) {
  if (!isOpen || kernel?.isOver) return "gone";
  const isSilent = Math.min(waits, lifeless) > GONE_AFTER;
  if (isSilent && kernel && (kernel.status === "idle" || !kernel.isConnected)) return "gone";
  return waits > BUSY_AFTER ? "busy" : "live";
}

/** The kernel of a widget's model, by the manager of its widgets; null where there is none to be seen. */
export function kernelOf(model) {
  const manager = model.widget_manager;
  return manager?.kernel ?? manager?.context?.sessionContext?.session?.kernel ?? null;
}

/** Remembers that the kernel was over since something was heard: the runtime does not come back with it. */
export class KernelWatch {
  constructor(model) {
    this.model = model;
    this.isOver = false;
    this.watched = null;
    this.note = (_, status) => {
      if (OVER.has(status)) this.isOver = true;
    };
  }

  /** What is known now; null where there is no kernel to be seen. */
  look() {
    const kernel = kernelOf(this.model);
    if (kernel !== this.watched) {
      this.close();
      this.watched = kernel;
      kernel?.statusChanged?.connect(this.note);
    }
    if (!kernel) return this.isOver ? { status: "unknown", isOver: true, isConnected: false } : null;
    const { status, connectionStatus = "connected" } = kernel;
    this.note(null, status);
    return { status, isOver: this.isOver, isConnected: connectionStatus === "connected" };
  }

  /** Something was heard: it is there. */
  heard() {
    this.isOver = false;
  }

  close() {
    this.watched?.statusChanged?.disconnect(this.note);
    this.watched = null;
  }
}
