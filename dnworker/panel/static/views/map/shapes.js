// Boxes, ribbons and bands of a flow map as SVG; `flow_map.js` puts them together. Places and texts are the kernel's.
import { html } from "../../vendor/vendor.js";

const TONES = ["run", "idle", "gated", "cycle", "bad"];

/** The ribbons in the order in which they are drawn: what fails lies on top. */
export function inOrder(edges) {
  const rank = (edge) => (edge.core ? 10 : 0) + TONES.indexOf(edge.tone);
  return [...edges].sort((one, other) => rank(one) - rank(other));
}

/**
 * The node that an arrow key leads to from another, null if none: up and down go through the column, left and right to
 * the nearest of the next column. So every box is reached from every other.
 */
export function nextNode(nodes, id, key) {
  const here = nodes.find((node) => node.id === id);
  if (!here) return nodes[0]?.id ?? null;
  const middle = (node) => node.y + node.height / 2;
  const step = { ArrowDown: 1, ArrowUp: -1 }[key];
  if (step) {
    const column = nodes.filter((node) => node.x === here.x).sort((one, other) => one.y - other.y);
    return column[column.indexOf(here) + step]?.id ?? null;
  }
  const side = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (!side) return null;
  const beyond = nodes.filter((node) => (node.x - here.x) * side > 0);
  const next = Math.min(...beyond.map((node) => (node.x - here.x) * side));
  const column = beyond.filter((node) => (node.x - here.x) * side === next);
  const far = (node) => Math.abs(middle(node) - middle(here));
  return column.sort((one, other) => far(one) - far(other))[0]?.id ?? null;
}

export function Band({ band }) {
  return html`<g>
    <rect class="band" x="8" y=${band.y} width="1180" height=${band.height} rx="6" />
    <text x="20" y=${band.y + 18}>${band.name}</text>
  </g>`;
}

export function Ribbon({ edge, dim }) {
  const { path, tone } = edge;
  return html`<g class=${dim ? "dim" : ""}>
    <title>${edge.told}</title>
    <path class=${`flow ${tone}`} d=${path} stroke-width=${edge.width} />
    ${edge.core ? html`<path class="core" d=${path} stroke-width=${edge.core} />` : null}
    ${edge.arrow ? html`<path class=${`head ${tone}`} d=${edge.arrow} />` : null}
  </g>`;
}

export function Pill({ label, dim }) {
  const { x, y, width, text, tone } = label;
  return html`<g class=${`pill ${tone} ${dim ? "dim" : ""}`}>
    <rect x=${x - width / 2} y=${y - 8} width=${width} height="16" rx="8" />
    <text x=${x} y=${y + 4} text-anchor="middle">${text}</text>
  </g>`;
}

/** One box. It is a button: a click or Enter chooses it, arrows lead to others. */
export function Box({ node, chosen, dim, tab, onChoose, onMove, onOpen }) {
  const { x, y, width, height, category } = node;
  const isKind = category === "kind";
  const said = [node.name, node.told, node.caption].filter(Boolean).join(", ");
  const key = (event) => {
    if (event.key === "Enter" || event.key === " ")
      (event.key === "Enter" && chosen ? onOpen : onChoose)(node);
    else if (event.key.startsWith("Arrow")) onMove(node, event.key);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<g
    class=${`node ${category} ${node.tone} ${node.mark} ${dim ? "dim" : ""} ${chosen ? "on" : ""}`}
    role="button"
    aria-pressed=${String(Boolean(chosen))}
    aria-label=${said}
    data-node=${node.id}
    tabindex=${tab ? 0 : -1}
    onClick=${() => onChoose(node)}
    onDblClick=${() => onOpen(node)}
    onKeyDown=${key}
  >
    <title>${said}</title>
    <rect class="ring" x=${x - 3} y=${y - 3} width=${width + 6} height=${height + 6} rx=${isKind ? 15 : 8} />
    <rect class="box" x=${x} y=${y} width=${width} height=${height} rx=${isKind ? 12 : 6} />
    ${isKind ? html`<${KindText} node=${node} />` : html`<${BoxText} node=${node} />`}
  </g>`;
}

function KindText({ node }) {
  const middle = node.x + node.width / 2;
  return html`<text class="label" x=${middle} y=${node.y + 16} text-anchor="middle">${node.label}</text>
    ${
      node.caption
        ? html`<text class="caption" x=${middle} y=${node.y + node.height + 14} text-anchor="middle">
            ${node.caption}
          </text>`
        : null
    }`;
}

function BoxText({ node }) {
  const hasDot = node.category === "worker" && node.state;
  const x = node.x + (hasDot ? 26 : 12);
  return html`${hasDot ? html`<${StateDot} state=${node.state} x=${node.x + 15} y=${node.y + 12} />` : null}
    <text class="name" x=${x} y=${node.y + 16}>${node.label}</text>
    <text class="detail" x=${x} y=${node.y + 30}>${node.detail}</text>`;
}

function StateDot({ state, x, y }) {
  if (state === "error")
    return html`<rect
      class="dot-mark error"
      x=${x - 4}
      y=${y - 4}
      width="7"
      height="7"
      rx="1"
      transform=${`rotate(45 ${x - 0.5} ${y - 0.5})`}
    />`;
  if (state === "running") return html`<circle class="dot-mark" cx=${x} cy=${y} r="4" />`;
  const look =
    { gated_off: "gated", loading: "starting", starting: "starting", stopping: "stopping" }[state] ?? "";
  return html`<circle class=${`dot-mark hollow ${look}`} cx=${x} cy=${y} r="3.3" />`;
}
