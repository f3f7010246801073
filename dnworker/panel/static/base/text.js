// Pure functions: what is shown of what the kernel sends. No DOM here; node's test runner tests them.

const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
const CSI = /\x1b\[([0-9;:?]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]/g;
const PLAIN = {
  bold: false,
  dim: false,
  italic: false,
  underline: false,
  inverse: false,
  fg: null,
  bg: null,
};
const MARKS_AT_MOST = 100;

/** A colour of the 256, by the nearest name of the palette: that can be read on every ground. */
function indexed(n) {
  if (n < 8) return COLOURS[n];
  if (n < 16) return `bright-${COLOURS[n - 8]}`;
  if (n >= 232) return nearest((n - 232) * 10 + 8, (n - 232) * 10 + 8, (n - 232) * 10 + 8);
  const step = (v) => (v ? v * 40 + 55 : 0);
  const cube = n - 16;
  return nearest(step(Math.floor(cube / 36)), step(Math.floor(cube / 6) % 6), step(cube % 6));
}

/** The name of the palette whose hue is nearest; of greys, by how light they are. */
function nearest(r, g, b) {
  const channels = [r, g, b].map((v) => Math.min(255, Math.max(0, v | 0)));
  const [low, high] = [Math.min(...channels), Math.max(...channels)];
  if (high - low < 40) return high > 127 ? "white" : "black";
  const lit = channels.map((v) => v > (low + high) / 2);
  return COLOURS[lit[0] * 1 + lit[1] * 2 + lit[2] * 4];
}

/** The style after one SGR sequence (ECMA-48, 8.3.117, and the 256 and 24-bit colours of xterm). */
function styled(before, parameters) {
  const codes = parameters.split(/[;:]/).map(Number);
  let style = { ...before };
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i];
    if (code === 0) style = { ...PLAIN };
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 3) style.italic = true;
    else if (code === 4) style.underline = true;
    else if (code === 7) style.inverse = true;
    else if (code === 22) style.bold = style.dim = false;
    else if (code === 23) style.italic = false;
    else if (code === 24) style.underline = false;
    else if (code === 27) style.inverse = false;
    else if (code >= 30 && code <= 37) style.fg = COLOURS[code - 30];
    else if (code >= 90 && code <= 97) style.fg = `bright-${COLOURS[code - 90]}`;
    else if (code >= 40 && code <= 47) style.bg = COLOURS[code - 40];
    else if (code >= 100 && code <= 107) style.bg = `bright-${COLOURS[code - 100]}`;
    else if (code === 39) style.fg = null;
    else if (code === 49) style.bg = null;
    else if (code === 38 || code === 48) {
      const side = code === 38 ? "fg" : "bg";
      if (codes[i + 1] === 5 && codes[i + 2] >= 0 && codes[i + 2] < 256) style[side] = indexed(codes[i + 2]);
      if (codes[i + 1] === 2) style[side] = nearest(codes[i + 2], codes[i + 3], codes[i + 4]);
      i += codes[i + 1] === 2 ? 4 : 2;
    }
  }
  return style;
}

/** Control characters as their pictures (U+2400...), so that nothing is hidden. */
export function visible(text) {
  return text.replace(/[\x00-\x08\x0a-\x1f\x7f]/g, (c) =>
    c === "\x7f" ? "␡" : String.fromCharCode(0x2400 + c.charCodeAt(0)),
  );
}

/** A line with escape sequences as pieces of one style each. */
export function ansi(text) {
  const pieces = [];
  let style = PLAIN;
  let from = 0;
  const add = (until) => {
    if (until > from) pieces.push({ text: visible(text.slice(from, until)), style });
  };
  for (const found of text.matchAll(CSI)) {
    add(found.index);
    from = found.index + found[0].length;
    if (found[2] === "m") style = styled(style, found[1] || "0");
  }
  add(text.length);
  return pieces;
}

/** The text as pieces; those that equal what is wanted are marked. No patterns: they may never end. */
export function marked(text, wanted) {
  if (!wanted) return [{ text, mark: false }];
  const pattern = new RegExp(wanted.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), "gi");
  const pieces = [];
  let from = 0;
  let times = 0;
  for (const found of text.matchAll(pattern)) {
    times += 1;
    if (times > MARKS_AT_MOST) break;
    if (found.index > from) pieces.push({ text: text.slice(from, found.index), mark: false });
    pieces.push({ text: found[0], mark: true });
    from = found.index + found[0].length;
  }
  if (from < text.length || !pieces.length) pieces.push({ text: text.slice(from), mark: false });
  return pieces;
}

/** Milliseconds for people. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long something lasts by now, in whole seconds, so that it does not flicker. */
export function age(ms) {
  return ms < 1000 ? "0 s" : duration(Math.floor(ms / 1000) * 1000).replace(".0 s", " s");
}

/** When a schedule runs, seen from now. */
export function countdown(due, now) {
  const left = due - now;
  return left <= 0 ? "due" : `in ${age(left + 999)}`;
}

/** The time of the day, to the millisecond. */
export function timeOfDay(ms) {
  const at = new Date(ms);
  const two = (n) => String(n).padStart(2, "0");
  const milliseconds = String(at.getMilliseconds()).padStart(3, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${milliseconds}`;
}

/** Whole numbers with a comma at the thousands. */
export function count(n) {
  return String(n).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** The rows of the timeline, newest first, each once, with what changed and without what is gone. */
export function mergeEvents(kept, rows, gone, limit) {
  const all = new Map(kept.map((row) => [row.seq, row]));
  for (const seq of gone) all.delete(seq);
  for (const row of rows) all.set(row.seq, row);
  return [...all.values()].sort((a, b) => b.seq - a.seq).slice(0, limit);
}

/** Where a bar begins and how long it is, in percent of the whole. */
export function barExtent([from, to]) {
  const left = Math.min(Math.max(from, 0), 1) * 100;
  return { left, width: Math.max(1, Math.min(to, 1) * 100 - left) };
}

/** The last minute as 60 columns, from `[second, ended, failed]` and the present second. */
export function minuteColumns(minute, second) {
  const columns = Array.from({ length: 60 }, () => [0, 0]);
  for (const [at, ended, failed] of minute) {
    const column = 59 - (second - at);
    if (column >= 0 && column < 60) columns[column] = [ended, failed];
  }
  return columns;
}

/** What replaces a worker's state while the loop is held up. */
export function pausedText(worker, paused) {
  return paused && worker.inProcess && worker.state === "running" ? `paused by ${paused}` : "";
}

/** The number and line of the cell that a location names, such as `cell [3], line 7`; null for a file. */
export function cellOf(location) {
  const found = /^cell \[(\d+)\](?:, line (\d+))?/.exec(location ?? "");
  return found ? { number: Number(found[1]), line: found[2] ? Number(found[2]) : null } : null;
}

/** The handlers whose last run failed, and the workers that are in error. */
export function failures(workers) {
  const found = [];
  for (const worker of workers) {
    if (worker.state === "error")
      found.push({
        worker: worker.name,
        handler: null,
        text: worker.error ?? "",
        count: 0,
        event: null,
        location: "",
      });
    if (worker.storm) {
      const { text, held, event } = worker.storm;
      found.push({
        worker: worker.name,
        handler: null,
        storm: true,
        text,
        held,
        count: 0,
        event,
        location: "",
      });
    }
    for (const handler of worker.handlers) {
      if (handler.failing && handler.error) {
        const { text, location, event, origin = [] } = handler.error;
        found.push({
          worker: worker.name,
          handler: handler.key[2],
          text,
          location,
          event,
          origin,
          count: handler.errors,
          endless: handler.key[0] === "task",
        });
      }
    }
  }
  return found;
}

const PYTHON_WORDS = { True: "write true", False: "write false", None: "write null" };

class JsonProblem extends Error {
  constructor(at, message) {
    super(message);
    this.at = at;
  }
}

/** Reads JSON text and throws a `JsonProblem` at the first place that is wrong. (RFC 8259.) */
class JsonReader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  get next() {
    return this.text[this.at];
  }

  fail(message, position = this.at) {
    throw new JsonProblem(position, message);
  }

  blank() {
    while (" \t\n\r".includes(this.next ?? "x")) this.at += 1;
  }

  payload() {
    this.blank();
    if (this.next !== "{") this.fail('a payload is an object, such as {"turn_id": "t1"}');
    this.value();
    this.blank();
    if (this.at < this.text.length) this.fail("nothing may follow the object");
  }

  value() {
    this.blank();
    const first = this.next;
    if (first === "{") this.items("}", () => this.member());
    else if (first === "[") this.items("]", () => this.value());
    else if (first === '"') this.string();
    else if (first === "'") this.fail("text stands in double quotes");
    else if (first === "-" || (first >= "0" && first <= "9")) this.number();
    else this.literal();
  }

  member() {
    this.blank();
    if (this.next === "'") this.fail("names stand in double quotes");
    if (this.next !== '"') this.fail("a name in double quotes is missing here");
    this.string();
    this.blank();
    if (this.next !== ":") this.fail("a colon is missing after the name");
    this.at += 1;
    this.value();
  }

  items(close, item) {
    const opened = this.at;
    this.at += 1;
    this.blank();
    while (this.next !== close) {
      item();
      this.blank();
      if (this.next === close) break;
      if (this.at >= this.text.length)
        this.fail(`${close} is missing for the ${this.text[opened]} here`, opened);
      if (this.next !== ",") this.fail(`a comma or ${close} is missing here`);
      this.at += 1;
      this.blank();
      if (this.next === close) this.fail("there is a comma too many before this");
    }
    this.at += 1;
  }

  string() {
    const start = this.at;
    this.at += 1;
    while (this.next !== '"') {
      if (this.at >= this.text.length || this.next === "\n")
        this.fail("this text has no closing quote", start);
      if (this.next === "\\") {
        const isEscape = /^\\(["\\/bfnrt]|u[0-9a-fA-F]{4})/.test(this.text.slice(this.at, this.at + 6));
        if (!isEscape) this.fail("there is no such escape; a backslash is written \\\\");
        this.at += 1;
      } else if (this.next < " ") this.fail("a control character must be escaped, as \\t is");
      this.at += 1;
    }
    this.at += 1;
  }

  number() {
    const found = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/.exec(this.text.slice(this.at));
    if (!found) this.fail("this is no number");
    this.at += found[0].length;
    if (/[\w.]/.test(this.next ?? "")) this.fail("this is no number");
  }

  literal() {
    const found = /^(true|false|null)(?![A-Za-z0-9_])/.exec(this.text.slice(this.at, this.at + 6));
    const word = /^[A-Za-z_]\w*/.exec(this.text.slice(this.at, this.at + 40))?.[0];
    if (!found && word) this.fail(`${word} is no JSON value; ${PYTHON_WORDS[word] ?? "text needs quotes"}`);
    if (!found) this.fail("a value is missing here");
    this.at += found[0].length;
  }
}

/** Where JSON text is wrong and why, by line and column from 1; null when it is an object. */
export function jsonProblem(text) {
  try {
    new JsonReader(text).payload();
    return null;
  } catch (problem) {
    if (problem instanceof RangeError) return { line: 1, column: 1, message: "this is nested too deeply" };
    if (!(problem instanceof JsonProblem)) throw problem;
    const before = text.slice(0, problem.at).split("\n");
    return { line: before.length, column: before.at(-1).length + 1, message: problem.message };
  }
}
