// JSON text as it is: tokens, parts, places, problems; `base/json.js`.
import assert from "node:assert/strict";
import test from "node:test";
import {
  childrenOf,
  compact,
  countOf,
  find,
  nodeAt,
  pathText,
  pretty,
  problemOf,
  root,
  stringOf,
  tokens,
} from "../../dnworker/panel/static/base/json.js";

const kinds = (text) => tokens(text).map(({ kind, start, end }) => [kind, text.slice(start, end)]);

test("a key is told from a text, and every other token from each other", () => {
  assert.deepEqual(kinds('{"a" : ["a", -1.5e3, true]}'), [
    ["punctuation", "{"],
    ["key", '"a"'],
    ["punctuation", ":"],
    ["punctuation", "["],
    ["string", '"a"'],
    ["punctuation", ","],
    ["number", "-1.5e3"],
    ["punctuation", ","],
    ["word", "true"],
    ["punctuation", "]"],
    ["punctuation", "}"],
  ]);
});

test("what is no JSON is bad, and the rest keeps its tokens", () => {
  assert.deepEqual(kinds("{'a': 01, \"b\n"), [
    ["punctuation", "{"],
    ["bad", "'"],
    ["bad", "a"],
    ["bad", "'"],
    ["punctuation", ":"],
    ["bad", "01"],
    ["punctuation", ","],
    ["bad", '"b'],
  ]);
});

test("a problem says where it is and what is put there", () => {
  const of = (text) => {
    const { line, column, text: why } = problemOf(text);
    return `${line}:${column} ${why}`;
  };
  assert.equal(of(""), "1:1 expected a value");
  assert.equal(of("{"), "1:2 expected a key in double quotes or }");
  assert.equal(of('{"a": 1,\n}'), "2:1 expected a key in double quotes, not }");
  assert.equal(of('{"a" 1}'), "1:6 expected a colon, not 1");
  assert.equal(of('{"a": 1 "b": 2}'), '1:9 expected a comma, not "b"');
  assert.equal(of("{'a': 1}"), "1:2 texts are in double quotes");
  assert.equal(of("[1] 2"), "1:5 expected nothing more, not 2");
  assert.equal(of('["a]'), "1:2 this text has no end");
  assert.equal(of('["\\x"]'), "1:2 this text has a wrong escape");
  assert.equal(of("[True]"), "1:2 True is no value: texts are in double quotes");
});

test("it takes for JSON exactly what the browser does", () => {
  const texts = [
    "1", '"a"', "null", "[]", "{}", "[1,]", "[,1]", "{,}", '{"a":}', '{"a":1,}', '{"a":{"b":[1,2,{}]}}', "[1}",
    "01", "1.", ".5", "-", "-0", "1e5", "1e", "nul", "true false", '"\\u00e9"', '"\\u00e"', '"\t"', "[[]]", "[", "]",
    '{"a":1 ,\n "b" : [ ] }', "{1:2}", '["a":1]', '{"a":"b":"c"}', "NaN", "", " ", '{"a","b"}', "[1 2]", '[""""]',
  ]; // biome-ignore format: a list
  for (const text of texts) {
    let is = true;
    try {
      JSON.parse(text);
    } catch {
      is = false;
    }
    assert.equal(problemOf(text) === null, is, text);
  }
});

test("parts are read when they open, with numbers as they were written", () => {
  const text = ' { "id": 12345678901234567890, "rows": [ {"a": "x,]}"}, [], 1.50 ] , "e\\u00e9" : null }';
  const top = root(text);
  const { children } = childrenOf(text, top);
  assert.deepEqual(
    children.map((c) => [c.key, c.type, text.slice(c.start, c.end)]),
    [
      ["id", "number", "12345678901234567890"],
      ["rows", "array", '[ {"a": "x,]}"}, [], 1.50 ]'],
      ["eé", "null", "null"],
    ],
  );
  const rows = childrenOf(text, children[1]).children;
  assert.deepEqual(
    rows.map((c) => [c.key, c.type, text.slice(c.start, c.end)]),
    [
      [0, "object", '{"a": "x,]}"}'],
      [1, "array", "[]"],
      [2, "number", "1.50"],
    ],
  );
  assert.equal(stringOf(text, childrenOf(text, rows[0]).children[0]), "x,]}");
  assert.deepEqual([countOf(text, top), countOf(text, children[1]), countOf(text, rows[1])], [3, 3, 0]);
});

test("a long array opens a piece at a time, and counting ends where it is enough", () => {
  const text = JSON.stringify(Array.from({ length: 1000 }, (_, n) => ({ n, text: 'a\\"],{' })));
  const top = root(text);
  const first = childrenOf(text, top, null, 400);
  const second = childrenOf(text, top, first.next, 400);
  const third = childrenOf(text, top, second.next, 400);
  assert.deepEqual(
    [first, second, third].map((one) => one.children.length),
    [400, 400, 200],
  );
  assert.deepEqual([second.children[0].key, third.children.at(-1).key, third.next], [400, 999, null]);
  assert.deepEqual([countOf(text, top), countOf(text, top, 50)], [1000, 50]);
});

test("a search finds keys and values with their paths", () => {
  const text = '{"rows": [{"ean": "40"}, {"price": "12,50", "note": [1, 1250]}], "price": null}';
  assert.deepEqual(
    find(text, "PRICE").map(({ path }) => pathText(path)),
    ["rows[1].price", "price"],
  );
  assert.deepEqual(
    find(text, "125").map(({ path }) => pathText(path)),
    ["rows[1].note[1]"],
  );
  assert.deepEqual(
    find(text, "12,5").map(({ path }) => pathText(path)),
    ["rows[1].price"],
  );
  assert.equal(find(text, "r", 1).length, 1);
  assert.deepEqual(find(text, ""), []);
  const [{ path }] = find(text, "1250");
  const node = nodeAt(text, path);
  assert.equal(text.slice(node.start, node.end), "1250");
  assert.equal(nodeAt(text, ["rows", 7, "x"]), null);
});

test("a path names odd keys in quotes", () => {
  assert.equal(pathText(["a b", 0, "c", 'd"']), '["a b"][0].c["d\\""]');
});

test("laid out and back again, numbers stay as they were", () => {
  const text = '{"a":[1.10,{"b":{}}],"c":[],"d":1e400}';
  const laid = '{\n  "a": [\n    1.10,\n    {\n      "b": {}\n    }\n  ],\n  "c": [],\n  "d": 1e400\n}';
  assert.equal(pretty(text), laid);
  assert.equal(compact(laid), text);
  assert.deepEqual([pretty("{oops"), compact("{oops")], ["{oops", "{oops"]);
});

test("a payload of 1 MB, and one 5,000 levels deep, are read without recursion", () => {
  const deep = `${"[".repeat(5000)}${"]".repeat(5000)}`;
  assert.equal(problemOf(deep), null);
  assert.equal(countOf(deep, root(deep)), 1);
  const large = JSON.stringify({
    rows: Array.from({ length: 20_000 }, (_, n) => ({ ean: `${n}`, price: "12.50" })),
  });
  const rows = childrenOf(large, root(large)).children[0];
  assert.equal(countOf(large, rows), 20_000);
  assert.equal(find(large, "19999").length, 1);
});
