// Whether somebody answers, by what is known of the socket, of requests and of the kernel.
import assert from "node:assert/strict";
import test from "node:test";
import { judge, KernelWatch } from "../../dnworker/panel/static/base/liveness.js";

const idle = { status: "idle", isOver: false, isConnected: true };

test("who answers is live, and a short wait is none", () => {
  assert.equal(judge({ isOpen: true, waits: 0, kernel: null }), "live");
  assert.equal(judge({ isOpen: true, waits: 900, kernel: idle }), "live");
});

test("a closed socket is gone, and an open one without answers is busy for as long as that lasts", () => {
  assert.equal(judge({ isOpen: false, waits: 0, kernel: null }), "gone");
  assert.equal(judge({ isOpen: true, waits: 4000, kernel: null }), "busy");
  assert.equal(judge({ isOpen: true, waits: 3_600_000, kernel: null }), "busy");
});

test("a kernel that is busy is busy, and one that is idle and does not answer is gone", () => {
  assert.equal(judge({ isOpen: true, waits: 60_000, kernel: { ...idle, status: "busy" } }), "busy");
  assert.equal(judge({ isOpen: true, waits: 1_300, kernel: idle }), "gone");
  assert.equal(
    judge({ isOpen: true, waits: 1_300, kernel: { ...idle, status: "busy", isConnected: false } }),
    "gone",
  );
});

test("a kernel that takes requests on a thread beside shows life, and is busy though it is said to be idle", () => {
  assert.equal(judge({ isOpen: true, waits: 60_000, lifeless: 900, kernel: idle }), "busy");
  assert.equal(judge({ isOpen: true, waits: 60_000, lifeless: 1_300, kernel: idle }), "gone");
});

/** A kernel whose status the test sets. */
function kernel() {
  const listeners = new Set();
  return {
    status: "idle",
    connectionStatus: "connected",
    listeners,
    statusChanged: {
      connect: (listener) => listeners.add(listener),
      disconnect: (listener) => listeners.delete(listener),
    },
    set(status) {
      this.status = status;
      for (const listener of listeners) listener(this, status);
    },
  };
}

test("a kernel that was restarted has lost the runtime, until something is heard again", () => {
  const one = kernel();
  const watch = new KernelWatch({ widget_manager: { kernel: one } });
  assert.equal(watch.look().isOver, false);
  one.set("autorestarting");
  one.set("idle"); // between two looks
  assert.equal(judge({ isOpen: true, waits: 0, kernel: watch.look() }), "gone");
  watch.heard();
  assert.equal(judge({ isOpen: true, waits: 0, kernel: watch.look() }), "live");
  watch.close();
  assert.equal(one.listeners.size, 0);
});

test("a notebook that tells nothing of its kernel has none to be seen", () => {
  assert.equal(new KernelWatch({}).look(), null);
  const { session } = { session: { kernel: kernel() } };
  const nested = new KernelWatch({ widget_manager: { context: { sessionContext: { session } } } });
  assert.equal(nested.look().status, "idle");
  assert.equal(nested.look().isConnected, true);
});
