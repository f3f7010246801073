// The icons of the panel, 16 by 16: paths that take the colour of the text. Used by `ui.js`.
import { html } from "../vendor/vendor.js";

const circle = (cx, cy, r) => html`<circle cx=${cx} cy=${cy} r=${r} />`;
const path = (d) => html`<path d=${d} />`;
const box = (x, y, width, height, rx) =>
  html`<rect x=${x} y=${y} width=${width} height=${height} rx=${rx} />`;

const SHAPES = {
  search: () => [circle(7, 7, 4.25), path("M10.5 10.5 14 14")],
  check: () => path("m3 8.5 3.2 3.2L13 4.7"),
  cross: () => path("m4 4 8 8M12 4l-8 8"),
  play: () => path("M4.5 2.75v10.5L13 8z"),
  stop: () => box(3.75, 3.75, 8.5, 8.5, 1),
  pause: () => path("M5.5 3v10M10.5 3v10"),
  again: () => [path("M13 8a5 5 0 1 1-1.6-3.7"), path("M13.2 1.8v3.4H9.8")],
  back: () => [path("M3 8a5 5 0 1 0 1.6-3.7"), path("M2.8 1.8v3.4h3.4")],
  fire: () => path("M9 1.75 3.5 9H8l-1 5.25L12.5 7H8z"),
  up: () => path("m4 10 4-4 4 4"),
  down: () => path("m4 6 4 4 4-4"),
  right: () => path("m6 4 4 4-4 4"),
  left: () => path("m10 4-4 4 4 4"),
  more: () => [circle(3, 8, 0.6), circle(8, 8, 0.6), circle(13, 8, 0.6)],
  bug: () => [
    box(5, 5, 6, 8, 3),
    path("M8 8v5M5.5 5a2.5 2.5 0 0 1 5 0M2 6.5l3 1M14 6.5l-3 1M2 13l3-1.5M14 13l-3-1.5M2 9.8h3M11 9.8h3"),
  ],
  code: () => path("M5.5 4 2 8l3.5 4M10.5 4 14 8l-3.5 4"),
  python: () => path("M2.5 4.5h7a2 2 0 0 1 0 0M3 3.5h10v9H3zM5.5 6.5 7.5 8l-2 1.5M8.5 10h2.5"),
  inprocess: () => [circle(8, 8, 2.2), path("M8 1.75v2.5M8 11.75v2.5M1.75 8h2.5M11.75 8h2.5")],
  package: () => path("m8 1.75 5.5 3.1v6.3L8 14.25l-5.5-3.1v-6.3zM2.6 4.9 8 8l5.4-3.1M8 8v6.1"),
  program: () => [box(2, 3, 12, 10, 1.5), path("M2 6h12")],
  cell: () => [box(2, 3, 12, 10, 1.5), path("M5 6.5h6M5 9.5h4")],
  clock: () => [circle(8, 8, 5.75), path("M8 4.75V8l2.25 1.5")],
  unheard: () => path("M3 3l10 10M5.2 9.8A4 4 0 0 1 8 2.8a4 4 0 0 1 3.9 4.7M8 13.2a1.8 1.8 0 0 1-1.8-1.6"),
  edit: () => path("M2.75 13.25 3.4 10 10.6 2.8a1.2 1.2 0 0 1 1.7 0l.9.9a1.2 1.2 0 0 1 0 1.7L6 12.6z"),
  group: () => path("M2 4h12M5 8h9M5 12h9"),
  copy: () => [
    box(5.5, 5.5, 7.75, 7.75, 1.5),
    path("M3.75 10.5h-.5a1 1 0 0 1-1-1V3.25a1 1 0 0 1 1-1H9.5a1 1 0 0 1 1 1v.5"),
  ],
  sequence: () => path("M3.5 2v12M12.5 2v12M3.5 5.5h8M9.5 3.7l2 1.8-2 1.8M12.5 10.5h-8M6.5 8.7l-2 1.8 2 1.8"),
  waterfall: () => path("M2 4h6M5 8h6M9 12h5"),
  lanes: () => path("M2 4h12M5 8h9M5 12h9"),
  test: () => path("M6 2v4L2.8 12a1.3 1.3 0 0 0 1.1 2h8.2a1.3 1.3 0 0 0 1.1-2L10 6V2M5 2h6M4.6 9.5h6.8"),
  save: () => path("M3 2.5h8l2.5 2.5v8.5h-11v-11zM5 2.5v3.5h5v-3.5M5 13.5v-4h6v4"),
  filter: () => path("M2 3.5h12L9.5 8.8V13l-3-1.5V8.8z"),
  expand: () => path("M9.5 2.5h4v4M6.5 13.5h-4v-4M13.5 2.5 9 7M2.5 13.5 7 9"),
  download: () => path("M8 2.5v8M4.5 7.5 8 11l3.5-3.5M2.5 13.5h11"),
  flag: () => path("M4 14V2.5M4 3h8l-1.8 2.75L12 8.5H4"),
  warning: () => path("M8 2 1.75 13.5h12.5zM8 6.5v3.2M8 11.7v.1"),
};

/** The names that `Icon` knows. */
export const ICONS = Object.keys(SHAPES);

/** An icon by its name; it says nothing to a screen reader. */
export function Icon({ name, cls = "" }) {
  return html`<svg class=${`i ${cls}`} viewBox="0 0 16 16" aria-hidden="true">${SHAPES[name]()}</svg>`;
}

/** The mark of the project. */
export function Mark() {
  return html`<svg
    width="20"
    height="20"
    viewBox="0 0 20 20"
    fill="none"
    stroke="currentColor"
    stroke-width="1.6"
    aria-hidden="true"
  >
    <circle cx="4" cy="10" r="2.2" fill="currentColor" stroke="none" />
    <path d="M6 10h3c3 0 2-5.5 5-5.5M9 10c3 0 2 5.5 5 5.5" />
    <circle cx="16" cy="4.5" r="1.9" />
    <circle cx="16" cy="15.5" r="1.9" />
  </svg>`;
}
