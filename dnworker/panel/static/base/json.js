/* JSON text as it is: tokens to colour, parts to unfold, numbers as they were written; no document needed.
 *
 * The payload tree, the differences and the JSON editor use it. A number of JSON may have more digits than a
 * browser keeps, so no text goes through JSON.parse except single strings. It exports:
 *   tokens(text, from, to)  -> [{ kind, start, end }]; kind is "key", "string", "number", "word",
 *                              "punctuation" or "bad"; blanks are between tokens. Any text has tokens.
 *   problemOf(text)         -> null where the text is JSON, else { at, line, column, text }; line and column from 1
 *   lineColumn(text, at)    -> { line, column } of a position
 *   root(text)              -> the node of a JSON text: { type, key, start, end }; null where it is none
 *   childrenOf(text, node, from, most)  -> { children, next }: parts of an object or array, read when it opens
 *   countOf(text, node, most)           -> how many parts it has, at most `most`
 *   stringOf(text, node)    -> the text that a string or key says
 *   find(text, words, most) -> [{ path, start, end }] of the keys and values in which words stand, in order
 *   pathText(path)          -> "rows[317].price", for a path of keys (text) and places (numbers)
 *   nodeAt(text, path)      -> the node at a path, or null
 *   pretty(text, indent)    -> the same JSON with a line for each part, numbers untouched
 *   compact(text)           -> the same JSON without blanks
 */

const TOKEN =
  /"(?:[^"\\\u0000-\u001f]|\\.)*"?|-?\d[\d.eE+-]*|[A-Za-z_$][\w$]*|[{}[\],:]|[^\s"{}[\],:A-Za-z_$\d-]+|-/g;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const STRING = /^"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\dA-Fa-f]{4}))*"$/;
const WORDS = new Set(["true", "false", "null"]);
const BLANK = /\s*/y;
const PLAIN_KEY = /^[A-Za-z_$][\w$]*$/;
const CLOSES = { "{": "}", "[": "]" };

/** The tokens of any text, from one position to another. */
export function tokens(text, from = 0, to = text.length) {
  const found = [];
  const pattern = new RegExp(TOKEN);
  pattern.lastIndex = from;
  for (let match = pattern.exec(text); match && match.index < to; match = pattern.exec(text)) {
    const end = match.index + match[0].length;
    found.push({ kind: kindOf(match[0], text, end), start: match.index, end });
  }
  return found;
}

function kindOf(token, text, end) {
  const first = token[0];
  if (first === '"') {
    return STRING.test(token) ? (charAfter(text, end) === ":" ? "key" : "string") : "bad";
  }
  if ("{}[],:".includes(first)) {
    return "punctuation";
  }
  if (WORDS.has(token)) {
    return "word";
  }
  return NUMBER.test(token) ? "number" : "bad";
}

const skipBlank = (text, at) => {
  BLANK.lastIndex = at;
  BLANK.exec(text);
  return BLANK.lastIndex;
};
const charAfter = (text, at) => text[skipBlank(text, at)];

/** The line and column of a position, both from 1. */
export function lineColumn(text, at) {
  const before = text.slice(0, at);
  const start = before.lastIndexOf("\n") + 1;
  return { line: before.split("\n").length, column: at - start + 1 };
}

/** Why a text is no JSON, and where; null where it is. */
export function problemOf(text) {
  const open = [];
  let wanted = "value";
  for (const token of tokens(text)) {
    const word = text.slice(token.start, token.end);
    const next = step(wanted, token.kind, word, open);
    if (next.text) {
      return { at: token.start, ...lineColumn(text, token.start), text: next.text };
    }
    wanted = next;
  }
  if (wanted === "end") {
    return null;
  }
  const at = text.trimEnd().length;
  const text_ = open.length ? `expected ${NAMES[wanted]} or ${CLOSES[open.at(-1)]}` : "expected a value";
  return { at, ...lineColumn(text, at), text: text_ };
}

const NAMES = {
  value: "a value",
  "value or ]": "a value",
  key: "a key in double quotes",
  "key or }": "a key in double quotes",
  colon: "a colon",
  comma: "a comma",
  end: "nothing more",
};

/** What may follow a token, or `{ text }` where the token is not what was wanted. */
function step(wanted, kind, word, open) {
  const after = () => (open.length ? "comma" : "end");
  if (kind === "bad") {
    return { text: badText(word) };
  }
  if (kind === "punctuation" && "}]".includes(word)) {
    const may = wanted === "comma" || wanted.endsWith(` or ${word}`);
    if (!may || CLOSES[open.at(-1)] !== word) {
      return { text: `expected ${NAMES[wanted]}, not ${word}` };
    }
    open.pop();
    return after();
  }
  if (wanted.startsWith("value") && (kind !== "punctuation" || word in CLOSES)) {
    if (word in CLOSES) {
      open.push(word);
      return word === "{" ? "key or }" : "value or ]";
    }
    return after();
  }
  if (wanted.startsWith("key") && (kind === "key" || kind === "string")) {
    return "colon";
  }
  if (wanted === "colon" && word === ":") {
    return "value";
  }
  if (wanted === "comma" && word === ",") {
    return open.at(-1) === "{" ? "key" : "value";
  }
  return { text: `expected ${NAMES[wanted]}, not ${word.slice(0, 20)}` };
}

function badText(word) {
  if (word[0] === '"') {
    return word.endsWith('"') && word.length > 1 ? "this text has a wrong escape" : "this text has no end";
  }
  if (word[0] === "'") {
    return "texts are in double quotes";
  }
  return `${word.slice(0, 20)} is no value: texts are in double quotes`;
}

// -- parts ------------------------------------------------------------------------------------------------

const TYPES = { "{": "object", "[": "array", '"': "string", t: "true", f: "false", n: "null" };
const STOP = /["{}[\],]/g;

/** The node of a JSON text; null where there is no value. */
export function root(text) {
  const start = skipBlank(text, 0);
  return start < text.length ? nodeFrom(text, start, null) : null;
}

function nodeFrom(text, start, key) {
  return { type: TYPES[text[start]] ?? "number", key, start, end: endOf(text, start) };
}

/** Where the value that begins at a position ends; nested ones are counted, not entered. */
function endOf(text, start) {
  if (text[start] === '"') {
    return endOfString(text, start);
  }
  let depth = 0;
  STOP.lastIndex = start;
  for (let match = STOP.exec(text); match; match = STOP.exec(text)) {
    const char = match[0];
    if (char === '"') {
      STOP.lastIndex = endOfString(text, match.index);
    } else if (char === "{" || char === "[") {
      depth += 1;
    } else if (depth === 0) {
      return text.slice(start, match.index).trimEnd().length + start;
    } else if (char !== ",") {
      depth -= 1;
      if (depth === 0) {
        return match.index + 1;
      }
    }
  }
  return text.trimEnd().length;
}

function endOfString(text, start) {
  let at = start + 1;
  for (;;) {
    at = text.indexOf('"', at);
    if (at < 0) {
      return text.length;
    }
    let slashes = 0;
    while (text[at - 1 - slashes] === "\\") {
      slashes += 1;
    }
    at += 1;
    if (slashes % 2 === 0) {
      return at;
    }
  }
}

/** Parts of an object or array: up to `most` from the position that `next` of an earlier call has. */
export function childrenOf(text, node, from = null, most = Number.POSITIVE_INFINITY) {
  const children = [];
  if (node.type !== "object" && node.type !== "array") {
    return { children, next: null };
  }
  let { at, number } = from ?? { at: skipBlank(text, node.start + 1), number: 0 };
  while (at < node.end - 1 && children.length < most) {
    let key = number;
    if (node.type === "object") {
      const end = endOfString(text, at);
      key = stringOf(text, { start: at, end });
      at = skipBlank(text, skipBlank(text, end) + 1);
    }
    const child = nodeFrom(text, at, key);
    if (child.end <= at) {
      break; // no JSON: what cannot be read is left out
    }
    children.push(child);
    at = skipBlank(text, child.end);
    at = text[at] === "," ? skipBlank(text, at + 1) : at;
    number += 1;
  }
  return { children, next: at < node.end - 1 && children.length ? { at, number } : null };
}

/** How many parts an object or array has; counting ends at `most`. */
export function countOf(text, node, most = Number.POSITIVE_INFINITY) {
  if (skipBlank(text, node.start + 1) >= node.end - 1) {
    return 0;
  }
  let [count, depth] = [1, 0];
  STOP.lastIndex = node.start + 1;
  for (let match = STOP.exec(text); match && match.index < node.end - 1; match = STOP.exec(text)) {
    const char = match[0];
    if (char === '"') {
      STOP.lastIndex = endOfString(text, match.index);
    } else if (char === ",") {
      count += depth === 0 ? 1 : 0;
    } else {
      depth += char === "{" || char === "[" ? 1 : -1;
    }
    if (count >= most) {
      break;
    }
  }
  return count;
}

/** The text that a string says; as it stands where its escapes are wrong. */
export function stringOf(text, node) {
  const raw = text.slice(node.start, node.end);
  try {
    return JSON.parse(raw);
  } catch {
    return raw;
  }
}

// -- search and paths -------------------------------------------------------------------------------------

/** Keys and values in which words stand, in order, whatever their case. */
export function find(text, words, most = 1000) {
  const wanted = words.toLowerCase();
  const found = [];
  const path = [];
  if (!wanted) {
    return found;
  }
  for (const { kind, start, end } of tokens(text)) {
    const word = text.slice(start, end);
    if (kind === "punctuation") {
      follow(path, word);
      continue;
    }
    const says = kind === "key" || kind === "string" ? stringOf(text, { start, end }) : word;
    if (kind === "key") {
      path[path.length - 1] = says;
    }
    if (says.toLowerCase().includes(wanted) && found.push({ path: [...path], start, end }) === most) {
      break;
    }
  }
  return found;
}

function follow(path, word) {
  if (word === "[") {
    path.push(0);
  } else if (word === "{") {
    path.push("");
  } else if (word === "," && typeof path.at(-1) === "number") {
    path[path.length - 1] += 1;
  } else if (word === "]" || word === "}") {
    path.pop();
  }
}

/** A path as text, such as `rows[317].price`. */
export function pathText(path) {
  return path.reduce((text, part) => {
    if (typeof part === "number") {
      return `${text}[${part}]`;
    }
    return PLAIN_KEY.test(part) ? `${text}${text && "."}${part}` : `${text}[${JSON.stringify(part)}]`;
  }, "");
}

/** The node at a path; null where there is none. */
export function nodeAt(text, path) {
  let node = root(text);
  for (const part of path) {
    if (!node) {
      return null;
    }
    const same = childrenOf(text, node).children.filter((child) => child.key === part);
    node = same.at(-1) ?? null;
  }
  return node;
}

// -- text -------------------------------------------------------------------------------------------------

/** The same JSON with a line for each part; what is no JSON stays as it is. */
export function pretty(text, indent = 2) {
  if (problemOf(text)) return text;
  const out = [];
  let depth = 0;
  const line = () => `\n${" ".repeat(indent * depth)}`;
  const all = tokens(text).map(({ start, end }) => text.slice(start, end));
  all.forEach((word, n) => {
    if (word in CLOSES) {
      depth += 1;
      out.push(word, all[n + 1] === CLOSES[word] ? "" : line());
    } else if (word === "}" || word === "]") {
      depth -= 1;
      out.push(all[n - 1] in CLOSES ? "" : line(), word);
    } else {
      out.push(word, word === "," ? line() : word === ":" ? " " : "");
    }
  });
  return out.join("");
}

/** The same JSON without blanks; what is no JSON stays as it is. */
export function compact(text) {
  const pieces = () => tokens(text).map(({ start, end }) => text.slice(start, end));
  return problemOf(text) ? text : pieces().join("");
}
