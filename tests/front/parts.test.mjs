// Parts of the panel that decide: the machine's lines, the cache of lines, answers, the way to the kernel.
import assert from "node:assert/strict";
import test from "node:test";
import { LineCache, missing } from "../../dnworker/panel/static/log.js";
import { linePlace, spoken, stepsTaken } from "../../dnworker/panel/static/machine.js";
import { answersOf } from "../../dnworker/panel/static/sessions.js";
import { Link } from "../../dnworker/panel/static/link.js";

const moves = (...states) => states.map((state, n) => ({ state, at: n }));

test("the steps that were taken are those between the states", () => {
  assert.deepEqual(
    [...stepsTaken(moves("loading", "starting", "error"))],
    ["loading>starting", "starting>error"],
  );
  assert.equal(stepsTaken(moves("loading")).size, 0);
});

test("a line goes from edge to edge of the two states", () => {
  const [x1, y1, x2, y2] = linePlace("starting", "running");
  assert.ok(x1 < x2);
  assert.equal(y1, y2);
});

test("who does not see the machine is told the state and the way", () => {
  assert.equal(
    spoken({ state: "error", moves: moves("loading", "error") }),
    "state machine: error; the way since it was loaded: loading, error",
  );
});

test("the cache of lines forgets those farthest from where people look", () => {
  const cache = new LineCache(4);
  cache.add(
    [1, 2, 3, 4].map((place) => ({ place })),
    2,
  );
  cache.add([{ place: 100 }], 2);
  assert.deepEqual(
    [1, 2, 3, 4, 100].map((place) => Boolean(cache.get(place))),
    [true, true, true, false, false],
  );
});

test("the first line that is not known is asked for", () => {
  const cache = new LineCache();
  cache.add([{ place: 10 }, { place: 11 }], 10);
  assert.equal(missing(cache, 10, 15), 12);
  assert.equal(missing(cache, 10, 12), null);
});

test("answers are of the question's form, and an empty one is none", () => {
  const form = (picked, text) => ({ picked: () => picked, text: () => text });
  const choice = { kind: "choice" };
  assert.deepEqual(answersOf([choice], form(["red"], "")), [{ selected_labels: ["red"] }]);
  assert.deepEqual(answersOf([choice], form([], " green ")), [
    { custom_text: "green", was_custom: true, selected_labels: [] },
  ]);
  assert.deepEqual(answersOf([{ kind: "input" }], form([], "hello")), [{ text: "hello" }]);
  assert.equal(answersOf([choice, { kind: "input" }], form([], "")), null);
});

/** A model that keeps what is sent, and lets the test speak as the kernel. */
function stage(more = {}) {
  const sent = [];
  const said = [];
  const told = [];
  let hear = null;
  const model = {
    send: (message) => sent.push(message),
    on: (_, listener) => (hear = listener),
    off: () => (hear = null),
    ...more,
  };
  const link = new Link(model, {
    greet: () => ({ parts: [] }),
    told: (message) => told.push(message),
    said: (text) => said.push(text),
    quiet: [],
  });
  const kernel = (message) => hear?.({ view: link.view, ...message });
  return { link, sent, said, told, kernel };
}

test("an answer goes to who asked, and a refusal is said", async () => {
  const { link, sent, said, kernel } = stage();
  const asked = link.ask("stop w", { type: "drive" });
  kernel({ type: "ack", id: sent[0].id });
  kernel({ type: "done", id: sent[0].id, state: "stopped" });
  assert.equal((await asked).state, "stopped");
  const refused = link.ask("stop w", { type: "drive" });
  kernel({ type: "failed", id: sent[1].id, text: "it cannot" });
  assert.equal(await refused, null);
  assert.deepEqual(said, ["", "it cannot"]);
});

test("what was asked of a kernel that forgot the view is asked again, once it knows the view", async () => {
  const { link, sent, kernel } = stage();
  const begun = link.ask("a", { type: "drive", verb: "stop" });
  kernel({ type: "ack", id: 1 });
  const lost = link.ask("b", { type: "drive", verb: "start" });
  kernel({ type: "who" });
  assert.deepEqual(
    sent.slice(2).map((message) => [message.type, message.id]),
    [
      ["hello", undefined],
      ["drive", 2],
    ],
  );
  kernel({ type: "done", id: 2 });
  kernel({ type: "done", id: 1 });
  assert.equal((await begun).id + (await lost).id, 3);
});

test("where there is no way to the kernel an answer is not waited for", async () => {
  const { link, said } = stage({ isOpen: false });
  assert.equal(await link.ask("stop w", { type: "drive" }), null);
  assert.deepEqual(said, ["not connected"]);
});

test("every update is answered in the end, and many by one answer", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { sent, kernel, link } = stage();
  kernel({ type: "snapshot", seq: 1, now: 0 });
  kernel({ type: "update", seq: 2, now: 0 });
  context.mock.timers.tick(10_000);
  assert.deepEqual(
    sent.map((message) => [message.type, message.seq]),
    [["seen", 2]],
  );
  kernel({ type: "update", seq: 3, now: 0 });
  context.mock.timers.tick(10_000);
  assert.equal(sent.at(-1).seq, 3);
  link.close();
});

test("a quiet request clears only what it said itself", async () => {
  const { link, sent, said, kernel } = stage();
  link.quiet.add("lines");
  const asked = link.ask("lines", { type: "lines" });
  kernel({ type: "ack", id: sent[0].id });
  kernel({ type: "done", id: sent[0].id });
  await asked;
  assert.deepEqual(said, []);
});

test("a kernel that does not answer is called busy, with who holds it", async () => {
  const { link, sent, said, kernel } = stage();
  link.ask("stop w", { type: "drive" });
  kernel({ type: "queued", id: sent[0].id, by: "cell [3]" });
  assert.deepEqual(said, ["stop w: queued: kernel is busy (cell [3])"]);
  link.close();
});

test("a view that missed an update asks for everything again, once", () => {
  const { sent, told, kernel, link } = stage();
  kernel({ type: "snapshot", seq: 1, now: 0 });
  kernel({ type: "update", seq: 2, now: 0 });
  kernel({ type: "update", seq: 4, now: 0 });
  kernel({ type: "update", seq: 5, now: 0 });
  assert.deepEqual(
    told.map((message) => message.seq),
    [1, 2],
  );
  assert.equal(sent.filter((message) => message.type === "hello").length, 1);
  link.close();
});

test("what is meant for another view is not heard, and a forgotten view says hello", () => {
  const { sent, told, kernel, link } = stage();
  kernel({ view: "another", type: "snapshot", seq: 1 });
  assert.equal(told.length, 0);
  kernel({ type: "who" });
  assert.deepEqual(
    sent.map((message) => [message.type, message.view]),
    [["hello", link.view]],
  );
});

test("a closed view says so and hears nothing more", async () => {
  const { link, sent, told, kernel } = stage();
  const asked = link.ask("x", { type: "drive" });
  link.close();
  kernel({ type: "snapshot", seq: 1 });
  assert.equal(await asked, null);
  assert.equal(sent.at(-1).type, "bye");
  assert.equal(told.length, 0);
});
