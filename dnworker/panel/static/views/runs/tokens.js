// The filter of runs as people write it: `kind:orders since:15m ada`, as tokens and words. Pure; node tests it.

const NAMES = ["kind", "worker", "session", "payload", "since", "until", "own"];
const ALIASES = { event: "kind", text: "payload" };
const UNITS = { s: 1, m: 60, min: 60, h: 3600, d: 86_400 };
const WRITTEN = /([a-z]+):("[^"]*"|\S+)/gi;

/** Seconds of `15m`, `30s`, `2h`, `1d`; null for other text. */
export function secondsOf(text) {
  const found = /^(\d+(?:\.\d+)?)(s|m|min|h|d)$/.exec(text);
  return found ? Number(found[1]) * UNITS[found[2]] : null;
}

/** Milliseconds since 1970 of `14:27`, `14:27:05` today, or of a whole date; null for other text. */
export function momentOf(text, now) {
  const time = /^(\d{1,2}):(\d{2})(?::(\d{2}))?$/.exec(text);
  if (time && Number(time[1]) < 24 && Number(time[2]) < 60) {
    const day = new Date(now);
    day.setHours(Number(time[1]), Number(time[2]), Number(time[3] ?? 0), 0);
    return day.getTime();
  }
  const date = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isFinite(date) ? date : null;
}

/** Whether a token can be understood: a name that is known, with a value that fits. */
function isToken(name, value, now) {
  if (!NAMES.includes(name) || !value) return false;
  if (name === "since") return secondsOf(value) !== null || momentOf(value, now) !== null;
  if (name === "until") return momentOf(value, now) !== null;
  return true;
}

/** Take the whole tokens out of a text: `{ tokens: [{ name, value }], rest }`. */
export function takeTokens(text, now) {
  const tokens = [];
  const rest = text.replace(WRITTEN, (whole, named, quoted) => {
    const name = ALIASES[named.toLowerCase()] ?? named.toLowerCase();
    const value = quoted.startsWith('"') ? quoted.slice(1, -1) : quoted;
    if (!isToken(name, value, now)) return whole;
    tokens.push({ name, value });
    return "";
  });
  return { tokens, rest: rest.replace(/\s+/g, " ").replace(/^ /, "") };
}

/** Add tokens to others; of each name the newest one stays. */
export function withTokens(tokens, more) {
  const names = new Set(more.map((token) => token.name));
  return [...tokens.filter((token) => !names.has(token.name)), ...more];
}

const two = (n) => String(n).padStart(2, "0");

function timeOf(at) {
  const day = new Date(at);
  return `${two(day.getHours())}:${two(day.getMinutes())}:${two(day.getSeconds())}`;
}

/** A token as it is written: `kind:orders.placed`. */
export function written({ name, value }) {
  const text = typeof value === "number" ? timeOf(value) : String(value);
  return `${name}:${/\s/.test(text) ? `"${text}"` : text}`;
}

/** The filter that tokens, words and a segment make, as the kernel reads it. */
export function filterOf({ tokens, text, outcome, order }, now) {
  const filter = { outcome, order };
  const found = takeTokens(text, now);
  for (const { name, value } of withTokens(tokens, found.tokens)) {
    if (name === "since") {
      const seconds = typeof value === "number" ? null : secondsOf(value);
      if (seconds !== null) filter.last = seconds;
      else filter.since = typeof value === "number" ? value : momentOf(value, now);
    } else if (name === "until") filter.until = typeof value === "number" ? value : momentOf(value, now);
    else if (name === "own") filter.own = !["no", "false", "0"].includes(value);
    else filter[name] = value;
  }
  const words = found.rest.split(" ").filter(Boolean);
  if (words.length) filter.words = words;
  return filter;
}

/** What a link to the runs asks for, as tokens, words and segment: a text, or an object of fields. */
export function stateOf(wanted, now) {
  const state = { tokens: [], text: "", outcome: "all", order: "newest" };
  if (!wanted) return state;
  if (typeof wanted === "string") {
    const { tokens, rest } = takeTokens(wanted, now);
    return { ...state, tokens, text: rest.trim() };
  }
  const tokens = NAMES.filter(
    (name) => wanted[name] !== undefined && wanted[name] !== null && wanted[name] !== false,
  ).map((name) => ({ name, value: wanted[name] === true ? "yes" : wanted[name] }));
  return {
    ...state,
    tokens,
    text: wanted.text ?? "",
    outcome: wanted.outcome ?? "all",
    order: wanted.order ?? "newest",
  };
}
