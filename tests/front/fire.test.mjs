// What keys do in the JSON editor. `|` is the caret, `<` and `>` are the ends of a selection.
import assert from "node:assert/strict";
import test from "node:test";
import {
  backspace,
  complete,
  indent,
  keyAt,
  keysFor,
  newline,
  partners,
  typed,
} from "../../dnworker/panel/static/views/fire/editing.js";

function read(marked) {
  const start = marked.search(/[|<]/);
  const text = marked.replace(/[|<>]/g, "");
  return [text, start, marked.includes(">") ? marked.indexOf(">") - 1 : start];
}

function edited(marked, edit, ...rest) {
  const [text, start, end] = read(marked);
  const made = edit(text, start, end, ...rest);
  if (!made) return null;
  const result = text.slice(0, made.from) + made.insert + text.slice(made.to);
  if (made.start === made.end) return `${result.slice(0, made.start)}|${result.slice(made.start)}`;
  return `${result.slice(0, made.start)}<${result.slice(made.start, made.end)}>${result.slice(made.end)}`;
}

test("a tab indents at the caret, or the lines of the selection; with shift less", () => {
  assert.equal(edited("{|}", indent, false), "{  |}");
  assert.equal(edited("{\n<a\nb>\n}", indent, false), "{\n  <a\n  b>\n}");
  assert.equal(edited("{\n  <a\n    b>\n}", indent, true), "{\n<a\n  b>\n}");
  assert.equal(edited("{\n  a|\n}", indent, true), "{\na|\n}");
  assert.equal(edited("{|}", indent, true), null);
});

test("a new line keeps the indent, and between brackets each has its own", () => {
  assert.equal(edited("{|}", newline), "{\n  |\n}");
  assert.equal(edited('{\n  "a": [|]\n}', newline), '{\n  "a": [\n    |\n  ]\n}');
  assert.equal(edited('{\n  "a": 1,|\n}', newline), '{\n  "a": 1,\n  |\n}');
  assert.equal(edited('{\n  "a": {|\n}', newline), '{\n  "a": {\n    |\n}');
});

test("brackets and quotes come as pairs, and the closing one is stepped over", () => {
  assert.equal(edited("|", typed, "{"), "{|}");
  assert.equal(edited("{|}", typed, '"'), '{"|"}');
  assert.equal(edited('{"a|"}', typed, '"'), '{"a"|}');
  assert.equal(edited("{|}", typed, "}"), "{}|");
  assert.equal(edited('{"a": <1>}', typed, "["), '{"a": [<1>]}');
  assert.equal(edited('{"a": "it {|"}', typed, "{"), null);
  assert.equal(edited('{"a": |1}', typed, "["), null);
  assert.equal(edited("|", typed, "x"), null);
});

test("a backspace between a pair takes both", () => {
  assert.equal(edited("{|}", backspace), "|");
  assert.equal(edited('{"|"}', backspace), "{|}");
  assert.equal(edited("{a|}", backspace), null);
});

test("the partner of the bracket at the caret is found, not one within a text", () => {
  assert.deepEqual(partners('{"a": ["}"]}', 1), [0, 11]);
  assert.deepEqual(partners('{"a": ["}"]}', 11), [6, 10]);
  assert.equal(partners('{"a": ["}"]}', 3), null);
  assert.equal(partners("{]", 1), null);
});

const at = (marked) => {
  const [text, start] = read(marked);
  return keyAt(text, start);
};

test("the object in which a key is written is known, with the keys that it has", () => {
  assert.deepEqual(at('{"a": 1, "|"}'), { path: [], prefix: "", from: 9, to: 11, taken: ["a"] });
  assert.deepEqual(at('{"rows": [{}, {"pr|"}], "z": 1}'), {
    path: ["rows", 1],
    prefix: "pr",
    from: 15,
    to: 19,
    taken: [],
  });
  assert.deepEqual(at('{"pr|ice": 2, "b": 1}'), { path: [], prefix: "price", from: 1, to: 8, taken: ["b"] });
  assert.deepEqual(at("{|}"), { path: [], prefix: "", from: 1, to: 1, taken: [] });
  assert.deepEqual(at('{"a": 1,\n  |\n}'), { path: [], prefix: "", from: 11, to: 11, taken: ["a"] });
});

test("where a value belongs no key is offered", () => {
  for (const marked of ['{"a": "|"}', '{"a": |}', "|", "[|]", '{"a": 1|}', '{"a": 1} |'])
    assert.equal(at(marked), null);
});

test("the keys that handlers read are offered, with numbers as they were written", () => {
  const reads = '{"file": "a", "rows": {"price": 12345678901234567890.10}, "n": 1}';
  const offered = (marked) => keysFor(at(marked), reads);
  assert.deepEqual(
    offered('{"n": 2, "|"}').map(({ key }) => key),
    ["file", "rows"],
  );
  assert.deepEqual(offered('{"rows": {"P|"}}'), [{ key: "price", value: "12345678901234567890.10" }]);
  assert.deepEqual(offered('{"file": {"|"}}'), []);
  assert.deepEqual(keysFor(at('{"|"}'), null), []);
});

test("a key that is chosen brings its value, unless there is one", () => {
  const chosen = (marked, offer) => {
    const [text, start] = read(marked);
    const made = complete(text, keyAt(text, start), offer);
    return [text.slice(0, made.from) + made.insert + text.slice(made.to), made.start, made.end];
  };
  assert.deepEqual(chosen('{"fi|"}', { key: "file", value: '"a"' }), ['{"file": "a"}', 10, 11]);
  assert.deepEqual(chosen("{|}", { key: "n", value: "1" }), ['{"n": 1}', 6, 7]);
  assert.deepEqual(chosen('{"fi|": 3}', { key: "file", value: '"a"' }), ['{"file": 3}', 7, 7]);
});
