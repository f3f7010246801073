// Text as programs print it, and locations in it: pure functions of the panel's module.
import assert from "node:assert/strict";
import test from "node:test";
import { cellOf } from "../../dnworker/panel/static/base/place.js";
import { ansi, visible } from "../../dnworker/panel/static/base/text.js";

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

test("the cell of a location is found, and a location in a file has none", () => {
  assert.deepEqual(cellOf("cell [12], line 3"), { number: 12, line: 3 });
  assert.deepEqual(cellOf("cell [12]"), { number: 12, line: null });
  assert.equal(cellOf("worker.py, line 3"), null);
  assert.equal(cellOf(null), null);
});
