// What the log drawer knows: entries by position, where they are, what is marked.
import assert from "node:assert/strict";
import test from "node:test";
import { markedPieces } from "../../dnworker/panel/static/base/ansi.js";
import { Heights } from "../../dnworker/panel/static/views/log/heights.js";
import { LineCache, LogModel, missing } from "../../dnworker/panel/static/views/log/model.js";

const line = (position) => ({ position, number: position, text: `line ${position}` });
const lines = (from, until) => Array.from({ length: until - from }, (_, n) => line(from + n));

function made({ count = 100, height = 100, answers = {} } = {}) {
  const asked = [];
  const model = new LogModel({
    request: async (_, message) => {
      asked.push(message);
      return answers[message.type]?.(message) ?? null;
    },
    changed: () => {},
  });
  model.height = height;
  const take = (fields) =>
    model.take({
      window: "w",
      first: 1,
      dropped: 0,
      hits: null,
      problem: null,
      filter: {},
      lines: [],
      ...fields,
    });
  take({ end: count + 1, lines: lines(Math.max(1, count - 49), count + 1) });
  return { model, take, asked };
}

test("the cache of lines forgets those farthest from where people look", () => {
  const cache = new LineCache(4);
  cache.add(lines(1, 5), 2);
  cache.add([line(100)], 2);
  assert.deepEqual(
    [1, 2, 3, 4, 100].map((position) => Boolean(cache.get(position))),
    [true, true, true, false, false],
  );
});

test("the first line that is not known is asked for", () => {
  const cache = new LineCache();
  cache.add(lines(10, 12), 10);
  assert.equal(missing(cache, 10, 15), 12);
  assert.equal(missing(cache, 10, 12), null);
});

test("an entry begins below all before it, of which some are taller", () => {
  const heights = new Heights(20);
  heights.set(3, 120);
  heights.set(5, 40);
  assert.deepEqual(
    [1, 3, 4, 5, 6].map((position) => heights.top(1, position)),
    [0, 40, 160, 180, 220],
  );
  assert.deepEqual(
    [0, 39, 40, 159, 160, 219, 9999].map((y) => heights.at(1, 7, y)),
    [1, 2, 3, 3, 4, 5, 6],
  );
  assert.equal(heights.top(4, 6), 60);
});

test("what is folded again, or was dropped, takes no room", () => {
  const heights = new Heights(20);
  assert.equal(heights.set(3, 120), true);
  assert.equal(heights.set(3, 120), false);
  heights.set(3, 20);
  assert.equal(heights.top(1, 9), 160);
  heights.set(2, 60);
  heights.forget(3);
  assert.equal(heights.extra.size, 0);
});

test("the end is followed until people scroll, and news are counted from then on", () => {
  const { model, take } = made();
  assert.deepEqual([model.top, model.visible], [1904, [96, 101]]);
  model.scrolled(1000);
  take({ end: 131 });
  assert.deepEqual([model.following, model.top, model.news], [false, 1000, 30]);
  model.scrolled(model.total - model.height);
  assert.deepEqual([model.following, model.news], [true, 0]);
});

test("what people look at stays in its place while the oldest lines go", () => {
  const { model, take } = made();
  model.scrolled(1005);
  take({ first: 21, end: 131 });
  assert.equal(model.top, 605);
  take({ first: 90, end: 200 });
  assert.equal(model.top, 0);
});

test("an entry that opens above what people look at moves nothing", () => {
  const { model } = made();
  model.scrolled(1000);
  model.heights.set(2, 220);
  assert.equal(model.top, 1200);
});

test("a chosen entry is shown, and keys extend the selection", () => {
  const { model } = made();
  model.choose(10);
  assert.deepEqual([model.following, model.top, model.range], [false, 180, [10, 11]]);
  model.choose(12, { extend: true });
  assert.deepEqual(model.range, [10, 13]);
  model.choose(500);
  assert.deepEqual([model.current, model.range], [100, [100, 101]]);
});

test("the next match is asked of the kernel and chosen, in the middle", async () => {
  const { model, asked } = made({ answers: { find: () => ({ window: "w", position: 40 }) } });
  await model.find(false);
  assert.deepEqual(asked.at(-1), { type: "find", position: 95, backward: false });
  assert.deepEqual([model.current, model.top], [40, 740]);
});

test("visible lines that are not known are asked for, with those around", async () => {
  const lines_ = ({ position, count }) => ({ window: "w", lines: lines(position, position + count) });
  const { model, asked } = made({ count: 1000, answers: { lines: lines_ } });
  model.scrolled(2000);
  await model.fetch();
  assert.deepEqual(asked, [{ type: "lines", position: 51, count: 200 }]);
  assert.equal(missing(model.cache, ...model.visible), null);
});

test("lines that come in at the end push out nothing that people see", () => {
  const { model, take } = made({ count: 10_000 });
  model.scrolled(199_800 / 2);
  take({ end: 10_100, lines: lines(10_001, 10_100) });
  assert.equal(model.cache.get(10_050), undefined);
});

test("another filter shows the end, and forgets the lines of the one before", () => {
  const { model, take } = made();
  model.scrolled(100);
  take({ window: "x", end: 3, filter: { text: "a" }, lines: lines(1, 3) });
  assert.deepEqual([model.following, model.cache.lines.size, model.isFiltered], [true, 2, true]);
});

test("positions that moved under the same filter leave people where they are", () => {
  const { model, take } = made();
  model.scrolled(1000);
  take({ window: "x", end: 102, filter: {} });
  assert.deepEqual([model.following, model.top], [false, 1000]);
});

test("a filter that is wrong leaves the lines, and says why", async () => {
  const model = new LogModel({
    request: async (_title, _message, refuse) => {
      refuse("'(' is no regular expression");
      return null;
    },
    changed: () => {},
  });
  await model.narrow({ text: "(", regex: true });
  assert.match(model.problem, /no regular expression/);
});

test("an entry opens to all of it, and folds", async () => {
  const all = { number: 100, rows: [{ text: "a", marks: [] }] };
  const { model } = made({ answers: { line: () => ({ line: all }) } });
  model.toggle(100);
  await null;
  await null;
  assert.deepEqual(model.opened.get(100), all);
  model.toggle(100);
  assert.equal(model.opened.size, 0);
});

test("a file of the log is read in pieces, and not at all once the filter is another", async () => {
  const answer = ({ position, count }) => ({
    window: "w",
    text: `${position} `,
    next: position + Math.min(40, count),
  });
  const { model } = made({ answers: { lines: answer } });
  assert.equal(await model.text(1, 101), "1 41 81 ");
  model.window = "x";
  assert.equal(await model.text(1, 101), null);
});

test("marks are laid over the colours of a line", () => {
  const pieces = markedPieces("a\x1b[31mbcd\x1b[0me", [
    [0, 2],
    [3, 5],
  ]);
  assert.deepEqual(
    pieces.map(({ text, style, mark }) => [text, style.fg, mark]),
    [
      ["a", null, true],
      ["b", "red", true],
      ["c", "red", false],
      ["d", "red", true],
      ["e", null, true],
    ],
  );
});

test("marks beyond the end of a line that was cut are left out", () => {
  assert.deepEqual(
    markedPieces("ab", [
      [1, 9],
      [12, 14],
    ]).map(({ text, mark }) => [text, mark]),
    [
      ["a", false],
      ["b", true],
    ],
  );
});

test("what is opened at the lower edge comes into sight", () => {
  const { model } = made();
  model.scrolled(1000);
  model.toggle(54);
  model.heights.set(54, 80);
  model.reveal();
  assert.equal(model.top, 1040);
});

test("what others ask for is drawn before the kernel answers, so that a text that waits is dropped", async () => {
  const { model } = made();
  const drawn = [];
  model.changed = () => drawn.push([model.resets, model.filter.text]);
  await model.narrow({ text: "typed", level: "error" });
  assert.deepEqual(drawn, [[0, "typed"]]);
  const answered = model.reset({ worker: "w" });
  assert.deepEqual(drawn[1], [1, ""]);
  assert.equal(model.filter.level, null);
  await answered;
});
