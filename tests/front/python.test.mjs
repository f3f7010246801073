// Python text in colours: `base/python.js`.
import assert from "node:assert/strict";
import test from "node:test";
import { linesOf } from "../../dnworker/panel/static/base/python.js";

const shown = (text) =>
  linesOf(text).map((line) => line.map(([kind, part]) => (kind ? `<${kind}>${part}</>` : part)).join(""));

test("keywords, texts, numbers and comments are told from the rest", () => {
  assert.deepEqual(shown('async def on_rows(event, client):  # go\n    return float(row["price"]) + 1.5e3'), [
    "<keyword>async</> <keyword>def</> on_rows(event, client):  <comment># go</>",
    '    <keyword>return</> float(row[<string>"price"</>]) + <number>1.5e3</>',
  ]);
});

test("a text over several lines is one in each of them, and what follows is not", () => {
  assert.deepEqual(shown('x = """a\n\nb""" if y else r"\\"'), [
    'x = <string>"""a</>',
    "",
    '<string>b"""</> <keyword>if</> y <keyword>else</> <string>r"\\"</>',
  ]);
});

test("an escaped quote does not end a text, the end of a line does", () => {
  assert.deepEqual(shown("a = 'it\\'s' + 'open\nfor"), [
    "a = <string>'it\\'s'</> + <string>'open</>",
    "<keyword>for</>",
  ]);
});

test("a name that is a keyword elsewhere is none", () => {
  assert.deepEqual(shown("match = re.match(x)\nself.import_\nob.class\nmatch x:\n    case 1:"), [
    "match = re.match(x)",
    "self.import_",
    "ob.class",
    "<keyword>match</> x:",
    "    <keyword>case</> <number>1</>:",
  ]);
});

test("f-strings, names in other scripts and any character keep the text as it is", () => {
  const text = "naïve = f\"{x!r}\" ; ё = b'\\x00' ? $ \u202e 🙂\tlambda: 0x1F";
  assert.equal(
    linesOf(text)[0]
      .map(([, part]) => part)
      .join(""),
    text,
  );
});

test("10,000 lines take no recursion", () => {
  assert.equal(linesOf("x = 1\n".repeat(10_000)).length, 10_001);
});
