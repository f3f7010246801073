// The way to the kernel, with a model that the tests speak for.
import assert from "node:assert/strict";
import test from "node:test";
import { Link } from "../../dnworker/panel/static/base/link.js";

/** A model that keeps what is sent, and lets the test speak as the kernel. */
function stage(more = {}) {
  const sent = [];
  const shown = [];
  const received = [];
  let hear = null;
  const model = {
    send: (message) => sent.push(message),
    on: (_, listener) => (hear = listener),
    off: () => (hear = null),
    ...more,
  };
  const link = new Link(model, {
    greet: () => ({ parts: [] }),
    receive: (message) => received.push(message),
    showStatus: (text) => shown.push(text),
    quiet: [],
  });
  const kernel = (message) => hear?.({ view: link.view, ...message });
  return { link, sent, shown, received, kernel };
}

test("an answer goes to who asked, and a refusal is shown", async () => {
  const { link, sent, shown, kernel } = stage();
  const asked = link.request("stop w", { type: "control" });
  kernel({ type: "ack", id: sent[0].id });
  kernel({ type: "done", id: sent[0].id, state: "stopped" });
  assert.equal((await asked).state, "stopped");
  const refused = link.request("stop w", { type: "control" });
  kernel({ type: "failed", id: sent[1].id, text: "it cannot" });
  assert.equal(await refused, null);
  assert.deepEqual(shown, ["", "it cannot"]);
});

test("what was asked of a kernel that forgot the view is asked again, once it knows the view", async () => {
  const { link, sent, kernel } = stage();
  const begun = link.request("a", { type: "control", verb: "stop" });
  kernel({ type: "ack", id: 1 });
  const lost = link.request("b", { type: "control", verb: "start" });
  kernel({ type: "who" });
  assert.deepEqual(
    sent.slice(2).map((message) => [message.type, message.id]),
    [
      ["hello", undefined],
      ["control", 2],
    ],
  );
  kernel({ type: "done", id: 2 });
  kernel({ type: "done", id: 1 });
  assert.equal((await begun).id + (await lost).id, 3);
});

test("where there is no way to the kernel an answer is not waited for", async () => {
  const { link, shown } = stage({ isOpen: false });
  assert.equal(await link.request("stop w", { type: "control" }), null);
  assert.deepEqual(shown, ["not connected"]);
});

test("every update is answered in the end, and many by one answer", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { sent, kernel, link } = stage();
  kernel({ type: "snapshot", seq: 1, now: 0 });
  kernel({ type: "update", seq: 2, now: 0 });
  context.mock.timers.tick(10_000);
  assert.deepEqual(
    sent.map((message) => [message.type, message.seq]),
    [["ack", 2]],
  );
  kernel({ type: "update", seq: 3, now: 0 });
  context.mock.timers.tick(10_000);
  assert.equal(sent.at(-1).seq, 3);
  link.close();
});

test("a quiet request clears only what it showed itself", async () => {
  const { link, sent, shown, kernel } = stage();
  link.quiet.add("lines");
  const asked = link.request("lines", { type: "lines" });
  kernel({ type: "ack", id: sent[0].id });
  kernel({ type: "done", id: sent[0].id });
  await asked;
  assert.deepEqual(shown, []);
});

test("a kernel that does not answer is called busy, with who holds it", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { link, sent, shown, kernel } = stage();
  link.request("stop w", { type: "control" });
  kernel({ type: "queued", id: sent[0].id, by: "cell [3]" });
  t.mock.timers.tick(10_000);
  assert.deepEqual(shown, ["stop w: waits for cell [3]"]);
  link.close();
});

test("a view that missed an update asks for everything again, once", () => {
  const { sent, received, kernel, link } = stage();
  kernel({ type: "snapshot", seq: 1, now: 0 });
  kernel({ type: "update", seq: 2, now: 0 });
  kernel({ type: "update", seq: 4, now: 0 });
  kernel({ type: "update", seq: 5, now: 0 });
  assert.deepEqual(
    received.map((message) => message.seq),
    [1, 2],
  );
  assert.equal(sent.filter((message) => message.type === "hello").length, 1);
  link.close();
});

test("what is meant for another view is not heard, and a forgotten view says hello", () => {
  const { sent, received, kernel, link } = stage();
  kernel({ view: "another", type: "snapshot", seq: 1 });
  assert.equal(received.length, 0);
  kernel({ type: "who" });
  assert.deepEqual(
    sent.map((message) => [message.type, message.view]),
    [["hello", link.view]],
  );
});

test("a closed view says so and hears nothing more", async () => {
  const { link, sent, received, kernel } = stage();
  const asked = link.request("x", { type: "control" });
  link.close();
  kernel({ type: "snapshot", seq: 1 });
  assert.equal(await asked, null);
  assert.equal(sent.at(-1).type, "bye");
  assert.equal(received.length, 0);
});

test("a ping goes out after a second of silence, and again while a thread beside the kernel's loop takes it", () => {
  const { link, sent, kernel } = stage();
  const pings = () => sent.filter((message) => message.type === "ping").length;
  link.check();
  assert.equal(pings(), 0);
  link.heardAt -= 1000;
  link.check();
  link.check();
  assert.equal(pings(), 1);
  kernel({ type: "queued", id: sent[0].id, by: "cell [3]" });
  assert.ok(link.silence >= 1000 && link.lifeless < 750);
  link.lifeAt -= 1000;
  link.check();
  assert.deepEqual([pings(), sent[0].id], [2, sent[1].id]);
  kernel({ type: "ack", id: sent[0].id });
  kernel({ type: "done", id: sent[0].id });
  assert.equal(link.waits, 0);
});

test("a command under way when the connection is lost says so, and a quiet request does not", async () => {
  const { link, shown } = stage();
  const asked = link.request("stop w", { type: "control" });
  link.quiet.add("lines");
  const quiet = link.request("lines", { type: "lines" });
  link.lost();
  assert.deepEqual([await asked, await quiet], [null, null]);
  assert.deepEqual(shown, ["the connection was lost; look whether it was done"]);
});

test("a view that is closed says nothing of what was under way", async () => {
  const { link, shown } = stage();
  const asked = link.request("stop w", { type: "control" });
  link.close();
  assert.deepEqual([await asked, shown], [null, []]);
});

/** A notebook as JupyterLab's widgets reach it. */
function notebook(sources) {
  const cells = Object.entries(sources).map(([id, source]) => ({ id, source, getSource: () => source }));
  const sharedModel = {
    cells,
    insertCell: (at, { id, source, metadata }) =>
      cells.splice(at, 0, { id, source, metadata, getSource: () => source }),
    deleteCell: (at) => cells.splice(at, 1),
  };
  return { cells, widget_manager: { context: { model: { sharedModel } } } };
}

const PUT = { type: "cell", op: "put", number: 7, id: "n", source: "%%worker w", by: "claude", below: ["a"] };

test("a view puts an agent's cell into the notebook, below that of its worker, and says so", () => {
  const { cells, widget_manager } = notebook({ a: "%%worker w", b: "1" });
  const { sent, kernel } = stage({ widget_manager });
  kernel(PUT);
  assert.deepEqual(
    cells.map((cell) => cell.id),
    ["a", "n", "b"],
  );
  assert.deepEqual(cells[1].metadata, { dnworker: { by: "claude" } });
  kernel(PUT); // another view of the same notebook
  assert.equal(cells.length, 3);
  assert.deepEqual(
    sent.map(({ number, is_done }) => [number, is_done]),
    [
      [7, true],
      [7, true],
    ],
  );
});

test("an agent's cell goes to the end where none of its worker is, and where nothing can be changed nobody answers", () => {
  const { cells, widget_manager } = notebook({ b: "1" });
  stage({ widget_manager }).kernel(PUT);
  assert.equal(cells.at(-1).id, "n");
  const { sent, kernel } = stage();
  kernel(PUT);
  assert.deepEqual(sent, []);
});

test("an agent's cell is taken out unless somebody has edited it", () => {
  const take = { ...PUT, op: "take_out" };
  const edited = notebook({ n: "%%worker w\n# mine" });
  const one = stage({ widget_manager: edited.widget_manager });
  one.kernel(take);
  assert.equal(edited.cells.length, 1);
  assert.deepEqual(one.sent, []);
  const same = notebook({ n: "%%worker w" });
  const two = stage({ widget_manager: same.widget_manager });
  two.kernel(take);
  assert.equal(same.cells.length, 0);
  assert.equal(two.sent.length, 1);
});
