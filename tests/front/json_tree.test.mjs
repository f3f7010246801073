// A JSON text as rows of a tree: `base/json_tree.js`.
import assert from "node:assert/strict";
import test from "node:test";
import { idOf, openAtFirst, openTo, rowsOf, widened } from "../../dnworker/panel/static/base/json_tree.js";

const TEXT = '{"file": "a.csv", "rows": [{"ean": 1, "price": {"x": []}}, {"ean": 2}], "none": {}}';
const keys = (rows) =>
  rows.map((row) => (row.rest ? `+${row.rest}` : `${"  ".repeat(row.level - 1)}${row.key ?? ""}`));

test("only what is open has rows below it, each a level deeper", () => {
  assert.deepEqual(keys(rowsOf(TEXT, new Set())), [""]);
  const open = new Set([idOf([]), idOf(["rows"]), idOf(["rows", 1])]);
  const rows = rowsOf(TEXT, open);
  assert.deepEqual(keys(rows), ["", "  file", "  rows", "    0", "    1", "      ean", "  none"]);
  assert.deepEqual(
    rows.map((row) => row.isOpen),
    [true, null, true, false, true, null, null],
  );
  assert.deepEqual(
    rows.map((row) => row.count),
    [3, 0, 2, 2, 1, 0, 0],
  );
});

test("small payloads are open at first, of large ones the outermost part", () => {
  assert.equal(rowsOf(TEXT, openAtFirst(TEXT)).length, 10);
  const large = JSON.stringify({ rows: Array.from({ length: 400 }, () => ({ a: 1 })) });
  assert.deepEqual([...openAtFirst(large)], [idOf([])]);
});

test("a long list shows its first parts, and how many more there are", () => {
  const text = JSON.stringify(Array.from({ length: 4500 }, (_, n) => n));
  const open = new Set([idOf([])]);
  assert.equal(rowsOf(text, open).at(-1).rest, 3500);
  const limits = new Map([[idOf([]), { first: 0, most: 4000, from: null }]]);
  assert.equal(rowsOf(text, open, limits).at(-1).rest, 500);
});

test("what a search finds is opened down to its row", () => {
  const text = JSON.stringify({ rows: Array.from({ length: 4500 }, (_, n) => ({ n })) });
  const path = ["rows", 3170, "n"];
  const { open, limits } = openTo(path, new Set(), new Map());
  assert.ok(rowsOf(text, open, limits).some((row) => row.id === idOf(path)));
});

test("a payload 2,000 levels deep opens without recursion", () => {
  const text = `${"[".repeat(2000)}${"]".repeat(2000)}`;
  const path = Array(1999).fill(0);
  const { open } = openTo(path, new Set(), new Map());
  assert.equal(rowsOf(text, open).length, 2000);
});

test("a part far down is shown in a window, with a row for the rest before and after it", () => {
  const text = JSON.stringify(Array.from({ length: 50_000 }, (_, n) => n));
  const { open, limits } = openTo([40_000], new Set(), new Map());
  const rows = rowsOf(text, open, limits);
  assert.equal(rows.length, 1003);
  assert.deepEqual([rows[1].rest, rows.at(-1).rest], [39_500, 9_500]);
  assert.ok(
    rows.some((row) => row.id === idOf([40_000]) && text.slice(row.node.start, row.node.end) === "40000"),
  );
  const before = rowsOf(text, open, widened(limits, rows[1]));
  assert.deepEqual([before.length, before[1].rest, before[2].key], [2003, 38_500, 38_500]);
  const after = rowsOf(text, open, widened(limits, rows.at(-1)));
  assert.deepEqual([after.at(-1).rest, after.at(-2).key], [8_500, 41_499]);
  assert.equal(openTo([40_100], open, limits).limits.get(idOf([])).first, 39_500); // it stands in the window
});
