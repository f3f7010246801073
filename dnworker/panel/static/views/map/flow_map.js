// `FlowMap`: what flows where, as the map view, the overview (`busiest`) and a widget show it.
import { html, useEffect, useRef, useState } from "../../vendor/vendor.js";
import { useSteadyLook, useStore } from "../../base/store.js";
import { Button } from "../../base/ui.js";
import { Band, Box, Pill, Ribbon, inOrder, nextNode } from "./shapes.js";

const SMALLEST = 0.8; // of its size: below, texts are too small to be read, and the map scrolls
const LARGEST = 2;
const LEAST = 720; // pixels of a small map, below which it scrolls

/**
 * A drawing that the kernel made, with boxes to choose.
 *
 * @param drawing   the value of the part `map`, or its field `map`
 * @param chosen    the id of the chosen node, or null
 * @param marked    { nodes: Set, edges: Set of "source target" } that stay bright, or null for all
 * @param onChoose  called with a node that is clicked
 * @param onOpen    called with one that is clicked twice, or chosen and Enter is pressed
 */
export function Drawing({
  drawing,
  chosen = null,
  marked = null,
  onChoose,
  onOpen = onChoose,
  zoom = 1,
  label,
}) {
  const root = useRef(null);
  const { nodes, edges, width, height } = drawing;
  const isDim = (id) => marked !== null && !marked.nodes.has(id);
  const isDimEdge = ({ source, target }) =>
    marked !== null &&
    !marked.edges.has(`${source} ${target}`) &&
    !(marked.nodes.has(source) && marked.nodes.has(target));
  const first = nodes.some((node) => node.id === chosen) ? chosen : nodes[0]?.id;
  const move = (node, key) => {
    const next = nextNode(nodes, node.id, key);
    const found = [...root.current.querySelectorAll("[data-node]")].find((one) => one.dataset.node === next);
    found?.focus();
  };
  const ribbons = inOrder(edges);
  return html`<svg
    ref=${root}
    class="flowmap"
    width=${Math.round(width * zoom)}
    height=${Math.round(height * zoom)}
    viewBox=${`0 0 ${width} ${height}`}
    role="group"
    aria-label=${label ?? "What flows where"}
  >
    ${drawing.bands.map((band) => html`<${Band} key=${band.name} band=${band} />`)}
    ${ribbons.map((edge) => html`<${Ribbon} key=${`${edge.source} ${edge.target}`} edge=${edge} dim=${isDimEdge(edge)} />`)}
    ${nodes.map(
      (node) => html`<${Box}
        key=${node.id}
        node=${node}
        chosen=${node.id === chosen}
        dim=${isDim(node.id)}
        tab=${node.id === first}
        onChoose=${onChoose}
        onOpen=${onOpen}
        onMove=${move}
      />`,
    )}
    ${ribbons
      .filter((edge) => edge.label)
      .map(
        (edge) =>
          html`<${Pill} key=${`${edge.source} ${edge.target}`} label=${edge.label} dim=${isDimEdge(edge)} />`,
      )}
  </svg>`;
}

/** A drawing in a field of its own that scrolls, is dragged, and zooms by Ctrl+wheel, + and -. */
export function Canvas({ drawing, reveal, ...rest }) {
  const root = useRef(null);
  const [zoom, setZoom] = useState(null); // null fits the width
  const [room, setRoom] = useState(drawing.width);
  useEffect(() => {
    const sized = new ResizeObserver(() => setRoom(root.current?.clientWidth || drawing.width));
    sized.observe(root.current);
    return () => sized.disconnect();
  }, []);
  const fit = Math.min(1.25, Math.max(SMALLEST, room / drawing.width));
  const scale = zoom ?? fit;
  const by = (factor) => setZoom(Math.min(LARGEST, Math.max(0.4, scale * factor)));
  useEffect(() => {
    const wheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      by(event.deltaY < 0 ? 1.1 : 1 / 1.1);
    };
    const element = root.current;
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  });
  useEffect(() => {
    if (!reveal) return;
    const found = [...root.current.querySelectorAll("[data-node]")].find(
      (one) => one.dataset.node === reveal,
    );
    found?.scrollIntoView?.({ block: "nearest", inline: "nearest" });
  }, [reveal]);
  const key = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") by(1.2);
    else if (event.key === "-") by(1 / 1.2);
    else if (event.key === "0") setZoom(null);
    else return;
    event.preventDefault();
  };
  return html`<div class="map-canvas">
    <div class="map-scroll" ref=${root} onKeyDown=${key} onPointerDown=${drag}>
      <${Drawing} drawing=${drawing} zoom=${scale} ...${rest} />
    </div>
    ${
      zoom !== null || drawing.height * scale > 1600
        ? html`<div class="map-zoom">
            <${Button} small label="Smaller" title="Smaller (-)" onClick=${() => by(1 / 1.2)}>−<//>
            <${Button} small label="Larger" title="Larger (+)" onClick=${() => by(1.2)}>+<//>
            <${Button} small onClick=${() => setZoom(null)}>Fit<//>
          </div>`
        : null
    }
  </div>`;
}

/** Scroll by dragging what lies beside the boxes. */
function drag(event) {
  if (event.button !== 0 || event.target.closest("[data-node]")) return;
  const root = event.currentTarget;
  const [x, y, left, top] = [event.clientX, event.clientY, root.scrollLeft, root.scrollTop];
  const move = (moved) => {
    root.scrollLeft = left + x - moved.clientX;
    root.scrollTop = top + y - moved.clientY;
  };
  const end = () => {
    window.removeEventListener("pointermove", move);
    window.removeEventListener("pointerup", end);
    window.removeEventListener("pointercancel", end);
  };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", end);
  window.addEventListener("pointercancel", end);
}

/** Where a node leads to: a worker to its page, anything else to the map. */
export function open(store, node) {
  if (node.category === "worker") store.go("workers", { worker: node.name });
  else store.go("map", { node: node.id });
}

/** Rows of the busiest kinds: who hears them, how often; a narrow panel shows these in place of a map. */
export function FlowList({ rows, onChoose }) {
  const most = Math.max(...rows.map((row) => row.rate), 0);
  return html`<ul class="flow-list" aria-label="Busiest flows">
    ${rows.map((row) => {
      const hearers = row.workers.join(", ") + (row.more ? ` and ${row.more} more` : "");
      return html`<li key=${row.id}>
        <button type="button" data-flow=${row.id} onClick=${() => onChoose(row)}>
          <span class="m el">${row.kind}</span>
          <span class=${`hearers el ${row.bad ? "bad" : row.workers.length ? "" : "warn"}`}>
            ${row.workers.length ? html`<span class="t3">→ </span>${hearers}` : "Nobody listens"}
          </span>
          <span aria-hidden="true"><${Bar} row=${row} most=${most} /></span>
          <span class="s t2 r">${row.text}</span>
        </button>
      </li>`;
    })}
  </ul>`;
}

function Bar({ row, most }) {
  const share = most && row.rate ? Math.max(0.09, Math.min(1, row.rate / most)) : 0;
  return html`<i class=${row.bad ? "bar bad" : "bar"} style=${{ width: `${Math.round(share * 100)}%` }}></i>`;
}

/**
 * The whole map live, or with `busiest` the flows with the most events: a small map, rows where it is narrow.
 * `selected` is the name of the box that is chosen; `onSelect(node)` is called with another one, or null.
 */
export function FlowMap({ busiest = 0, window = "live", hide = [], selected, onSelect }) {
  const store = useStore();
  const [own, setOwn] = useState(null);
  const part = busiest ? "map#busiest" : "map#alone";
  const value = useSteadyLook(part, busiest ? { window, hide, busiest } : { window, hide });
  if (!value) return html`<p class="t3">Looking at what flows …</p>`;
  if (!busiest) {
    const chosen = onSelect ? (value.nodes.find((node) => node.name === selected)?.id ?? null) : own;
    const choose = (node) => {
      const next = node.id === chosen ? null : node;
      if (onSelect) onSelect(next);
      else setOwn(next?.id ?? null);
    };
    return html`<${Canvas} drawing=${value} chosen=${chosen} onChoose=${choose} onOpen=${(node) => open(store, node)} />`;
  }
  if (!value.rows.length) return html`<p class="t3">Nothing was published yet, and no handler listens.</p>`;
  if (store.width.value === "narrow")
    return html`<${FlowList} rows=${value.rows} onChoose=${(row) => store.go("map", { node: row.id })} />`;
  const least = `${Math.min(LEAST, value.map.width)}px`;
  return html`<div class="flow-small" style=${{ "--dn-least": least }}>
    <${Drawing}
      drawing=${value.map}
      label="Busiest flows"
      onChoose=${(node) => store.go("map", { node: node.id })}
      onOpen=${(node) => open(store, node)}
    />
  </div>`;
}
