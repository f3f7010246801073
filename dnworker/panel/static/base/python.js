/* Python text in colours: a small tokenizer for code that is shown, not edited. It exports:
 *   linesOf(text)  -> one array of [kind, text] a line; kind is "keyword", "string", "number", "comment" or ""
 */

const KEYWORDS = new Set(
  (
    "False None True and as assert async await break case class continue def del elif else except finally for from " +
    "global if import in is lambda match nonlocal not or pass raise return try while with yield"
  ).split(" "),
);
const SOFT = new Set(["match", "case"]);
const TOKEN =
  /(?<comment>#.*)|(?<string>(?<prefix>[A-Za-z]{0,2})(?<quote>"""|'''|"|'))|(?<number>\b(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)?j?))|(?<name>[\p{L}_][\p{L}\p{N}_]*)|(?<other>[^\p{L}\p{N}_"'#]+)/uy;

/** The lines of a text; a string over several lines is one in each of them. */
export function linesOf(text) {
  const lines = [[]];
  const add = (kind, piece) => {
    piece.split("\n").forEach((part, n) => {
      if (n) lines.push([]);
      const line = lines.at(-1);
      if (!part) return;
      if (line.length && line.at(-1)[0] === kind) line.at(-1)[1] += part;
      else line.push([kind, part]);
    });
  };
  let at = 0;
  while (at < text.length) {
    TOKEN.lastIndex = at;
    const groups = TOKEN.exec(text)?.groups;
    let end = groups ? TOKEN.lastIndex : at + 1;
    let kind = "";
    if (groups?.comment) kind = "comment";
    else if (groups?.number) kind = "number";
    else if (groups?.name) kind = isKeyword(text, groups.name, at, end) ? "keyword" : "";
    else if (groups?.string && /^[rbuft]*$/i.test(groups.prefix)) {
      kind = "string";
      end = endOfString(text, end, groups.quote, /r/i.test(groups.prefix));
    } else if (groups?.string) end = at + groups.prefix.length;
    add(kind, text.slice(at, end));
    at = end;
  }
  return lines;
}

function isKeyword(text, name, at, end) {
  if (!KEYWORDS.has(name) || text[at - 1] === ".") return false;
  return !SOFT.has(name) || /^[ \t]+[^\s=.)\],:]/.test(text.slice(end, end + 80));
}

function endOfString(text, from, quote, isRaw) {
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === "\\" && !isRaw) at += 1;
    else if (text[at] === "\\" && text[at + 1] === quote[0]) at += 1;
    else if (text.startsWith(quote, at)) return at + quote.length;
    else if (quote.length === 1 && text[at] === "\n") return at;
  }
  return text.length;
}
