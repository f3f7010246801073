// What is shown of what the kernel says: the pure functions of the panel's module.
import assert from "node:assert/strict";
import test from "node:test";
import {
  age,
  ansi,
  barExtent,
  cellOf,
  count,
  countdown,
  duration,
  jsonProblem,
  marked,
  mergeEvents,
  minuteColumns,
  pausedText,
  failures,
  visible,
} from "../../dnworker/panel/static/base/text.js";

const texts = (line) => ansi(line).map((piece) => piece.text);
const styleOf = (line) => ansi(line)[0].style;

test("colours of a line become pieces of one style each", () => {
  assert.deepEqual(texts("a\x1b[31mred\x1b[0mb"), ["a", "red", "b"]);
  assert.equal(styleOf("\x1b[31mx").fg, "red");
  assert.equal(styleOf("\x1b[1;92mx").fg, "bright-green");
  assert.equal(styleOf("\x1b[1mx").bold, true);
  assert.equal(styleOf("\x1b[44mx").bg, "blue");
  assert.equal(ansi("\x1b[31ma\x1b[mb")[1].style.fg, null);
});

test("the 256 colours and those of 24 bits become the nearest of the palette, which can be read", () => {
  assert.equal(styleOf("\x1b[38;5;9mx").fg, "bright-red");
  assert.equal(styleOf("\x1b[38;5;196mx").fg, "red");
  assert.equal(styleOf("\x1b[38;5;236mx").fg, "black");
  assert.equal(styleOf("\x1b[38;5;250mx").fg, "white");
  assert.equal(styleOf("\x1b[38;2;255;200;0mx").fg, "yellow");
  assert.equal(styleOf("\x1b[48;2;1;2;300mx").bg, "blue");
  assert.equal(styleOf("\x1b[38;2mx").fg, "black");
  assert.equal(styleOf("\x1b[38;5;999mx").fg, null);
});

test("other sequences are left out, and control characters are shown", () => {
  assert.deepEqual(texts("\x1b]0;title\x07a\x1b[2Kb\x1b[?25lc"), ["a", "b", "c"]);
  assert.equal(visible("a\rb\x00\x7f\tc"), "a␍b␀␡\tc");
  assert.deepEqual(texts("\x1b"), ["␛"]);
});

test("what is found is marked, in any case, as the text that it is", () => {
  const found = (...given) =>
    marked(...given)
      .filter((piece) => piece.mark)
      .map((piece) => piece.text);
  assert.deepEqual(found("Error: error", "error"), ["Error", "error"]);
  assert.deepEqual(found("a.b axb", "a.b"), ["a.b"]);
  assert.deepEqual(found("(a+)+$", "(a+)+$"), ["(a+)+$"]);
  const pieces = marked("one two", "two");
  assert.equal(pieces.map((piece) => piece.text).join(""), "one two");
});

test("marking loses no text, however much is found", () => {
  const line = "ab".repeat(500);
  assert.equal(
    marked(line, "a")
      .map((piece) => piece.text)
      .join(""),
    line,
  );
});

test("times are for people", () => {
  assert.equal(duration(0.123), "0.12 ms");
  assert.equal(duration(42), "42 ms");
  assert.equal(duration(1500), "1.5 s");
  assert.equal(duration(61_000), "1 min 1 s");
  assert.equal(duration(3_720_000), "1 h 2 min");
  assert.equal(duration(90_000_000), "1 d 1 h");
  assert.equal(duration(null), "");
  assert.equal(age(1999), "1 s");
  assert.equal(age(10), "0 s");
  assert.equal(countdown(5000, 1000), "in 4 s");
  assert.equal(countdown(5000, 1001), "in 4 s");
  assert.equal(countdown(1000, 5000), "due");
  assert.equal(count(1234567), "1,234,567");
});

test("events are merged newest first, each once, as they are now", () => {
  const kept = [
    { seq: 3, outcome: "running" },
    { seq: 1, outcome: "ok" },
  ];
  const rows = mergeEvents(kept, [{ seq: 4 }, { seq: 3, outcome: "ok" }], [1], 10);
  assert.deepEqual(rows, [{ seq: 4 }, { seq: 3, outcome: "ok" }]);
  assert.equal(mergeEvents(kept, [{ seq: 9 }], [], 2).length, 2);
});

test("a bar stays within its track and can always be seen", () => {
  assert.deepEqual(barExtent([0.25, 0.75]), { left: 25, width: 50 });
  assert.equal(barExtent([0.5, 0.5]).width, 1);
  assert.equal(barExtent([-1, 2]).left, 0);
});

test("the last minute moves on with the clock", () => {
  const minute = [
    [100, 5, 1],
    [101, 2, 0],
  ];
  assert.deepEqual(minuteColumns(minute, 101).slice(-2), [
    [5, 1],
    [2, 0],
  ]);
  assert.deepEqual(minuteColumns(minute, 103).slice(-4), [
    [5, 1],
    [2, 0],
    [0, 0],
    [0, 0],
  ]);
  assert.ok(minuteColumns(minute, 200).every(([ended]) => ended === 0));
});

test("only what runs on the held loop is paused", () => {
  assert.equal(pausedText({ inProcess: true, state: "running" }, "cell [3]"), "paused by cell [3]");
  assert.equal(pausedText({ inProcess: false, state: "running" }, "cell [3]"), "");
  assert.equal(pausedText({ inProcess: true, state: "stopped" }, "cell [3]"), "");
});

test("the cell of a location is found, and a location in a file has none", () => {
  assert.deepEqual(cellOf("cell [12], line 3"), { number: 12, line: 3 });
  assert.deepEqual(cellOf("cell [12]"), { number: 12, line: null });
  assert.equal(cellOf("worker.py, line 3"), null);
  assert.equal(cellOf(null), null);
});

test("what fails has its location and its event, and what was mended is left out", () => {
  const error = { text: "ValueError: no", location: "cell [1], line 2", event: "e1" };
  const workers = [
    {
      name: "a",
      state: "running",
      error: null,
      handlers: [
        { key: ["on_event", "k", "h"], errors: 2, failing: true, error },
        { key: ["on_event", "k", "mended"], errors: 1, failing: false, error },
        { key: ["task", "", "t"], errors: 0, error: null },
      ],
    },
    { name: "b", state: "error", error: "exited", handlers: [] },
  ];
  assert.deepEqual(
    failures(workers).map((one) => [one.worker, one.handler, one.event]),
    [
      ["a", "h", "e1"],
      ["b", null, null],
    ],
  );
});

test("an event storm stands with what failed, and says how much is held", () => {
  const storm = { text: "event storm: #1 a", held: 3, event: "e1" };
  const workers = [{ name: "a", state: "running", error: null, handlers: [], storm }];
  assert.deepEqual(
    failures(workers).map((one) => [one.worker, one.storm, one.held, one.event]),
    [["a", true, 3, "e1"]],
  );
});

test("what is wrong with a payload is told by line and column", () => {
  const cases = [
    ["", 1, 1, /payload is an object/],
    ["[1]", 1, 1, /payload is an object/],
    ['{"a": True}', 1, 7, /True is no JSON value; write true/],
    ['{"a": yes}', 1, 7, /text needs quotes/],
    ["{'a': 1}", 1, 2, /double quotes/],
    ["{\"a\": 'x'}", 1, 7, /double quotes/],
    ['{\n  "a": 1,\n}', 3, 1, /comma too many/],
    ['{\n  "a": 1\n  "b": 2\n}', 3, 3, /a comma or } is missing/],
    ['{"a" 1}', 1, 6, /a colon is missing/],
    ['{"a": "x', 1, 7, /no closing quote/],
    ['{"a": 01}', 1, 8, /no number/],
    ['{"a": "\\q"}', 1, 8, /no such escape/],
    ['{"a": [1, 2', 1, 7, /] is missing for the \[ here/],
    ['{"a": }', 1, 7, /a value is missing/],
    ['{"a": 1} x', 1, 10, /nothing may follow/],
  ];
  for (const [text, line, column, message] of cases) {
    const found = jsonProblem(text);
    assert.deepEqual([found?.line, found?.column], [line, column], text);
    assert.match(found.message, message, text);
  }
});

test("whatever JSON.parse takes as an object is no problem, and nothing else", () => {
  const parts = [
    '{"a":1}',
    '{"a":[true,false,null,-1.5e3,"\\u00e9\\n",{}]}',
    "{}",
    " {\t} ",
    '{"a":1,"a":2}',
    '{"a":1}}',
    '{"a":nul}',
    '{"a":1.}',
    '{"a":+1}',
    '{"a":"\t"}',
    '{"":{"":[[]]}}',
    "{,}",
    '{"a":[1,]}',
    '{"a":.5}',
    '{"a":1e}',
    '{"a":-}',
  ];
  for (const text of parts) {
    let isObject = true;
    try {
      JSON.parse(text);
    } catch {
      isObject = false;
    }
    assert.equal(jsonProblem(text) === null, isObject, text);
  }
  assert.match(jsonProblem(`{"a":${"[".repeat(100_000)}`).message, /nested too deeply|missing/);
});
