// Python in colours: a line as pieces, each with its kind. Pure; node tests it.

const KEYWORDS = new Set(
  (
    "False None True and as assert async await break class continue def del elif else except finally for from " +
    "global if import in is lambda match nonlocal not or pass raise return try while with yield"
  ).split(" "),
);
const PIECE =
  /(#.*$)|((?:[rbfuRBFU]{0,2})(?:""".*?(?:"""|$)|'''.*?(?:'''|$)|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?))|(\b\d[\d_.]*(?:e[+-]?\d+)?\b)|([A-Za-z_]\w*)/g;

/** The pieces of one line: `[text, cls]`, where cls is `kw`, `js` (text), `jn` (number), `t3` (comment) or nothing. */
export function pieces(line) {
  const found = [];
  let end = 0;
  const add = (text, cls) => {
    const last = found.at(-1);
    if (last && last[1] === cls) last[0] += text;
    else if (text) found.push([text, cls]);
  };
  for (const match of line.matchAll(PIECE)) {
    const [text, comment, string, number, word] = match;
    const cls = comment ? "t3" : string ? "js" : number ? "jn" : KEYWORDS.has(word) ? "kw" : "";
    add(line.slice(end, match.index), "");
    add(text, cls);
    end = match.index + text.length;
  }
  add(line.slice(end), "");
  return found;
}
