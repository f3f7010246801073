// Text as programs print it, as pieces of one style each. No DOM here; node tests it.

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
