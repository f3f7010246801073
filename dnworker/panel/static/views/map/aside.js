// Beside the map: what the chosen box hears and publishes, with its last 15 minutes; and the findings.
import { html } from "../../vendor/vendor.js";
import { useStore } from "../../base/store.js";
import { clock, rate } from "../../base/format.js";
import { Button, Dot, Icon, Spark } from "../../base/ui.js";

const ICONS = {
  failing: ["cross", "bad"],
  down: ["cross", "bad"],
  cycle: ["again", "warn"],
  unheard: ["unheard", "warn"],
  unpublished: ["clock", "t3"],
  gate: ["flag", "t3"],
};
const NAMED = 4;
const FOLDED_FROM = 40; // boxes, as the kernel folds

/** In words, what leads to and from a node: `Hears csvdrop.rows, 10/min`. */
export function sentences({ nodes, edges, minutes }, id) {
  const named = new Map(nodes.map((node) => [node.id, node]));
  const node = named.get(id);
  const verbs = {
    worker: ["Hears", "Publishes"],
    kind: ["Published by", "Heard by"],
    source: ["", "Publishes"],
    fold: ["Hears", "Publishes"],
  }[node.category];
  const side = (verb, ends, other) => {
    if (!verb || !ends.length) return [];
    const words = ends.slice(0, NAMED).map((edge) => {
      const often = minutes ? rate(edge.rate / 60) : "";
      return `${named.get(edge[other]).name}${often ? `, ${often}` : ""}`;
    });
    if (ends.length > NAMED) words.push(`${ends.length - NAMED} more`);
    return [`${verb} ${words.join("; ")}`];
  };
  const found = [
    ...side(
      verbs[0],
      edges.filter((edge) => edge.target === id),
      "source",
    ),
    ...side(
      verbs[1],
      edges.filter((edge) => edge.source === id),
      "target",
    ),
  ];
  if (node.caption) found.push(node.caption);
  return found;
}

export function Selected({ value, mine, unfold }) {
  const store = useStore();
  const id = mine.chosen.value;
  const node = value.nodes.find((one) => one.id === id);
  if (!node)
    return html`<section class="sec" aria-label="Selected">
      <div class="hd"><h2>Selected</h2></div>
      <p class="s t2">
        ${id ? "What was selected is not on the map now." : "Select a box to see what it hears and publishes. Arrows move, Enter opens."}
      </p>
    </section>`;
  return html`<section class="sec" aria-label="Selected">
    <div class="hd"><h2>Selected</h2></div>
    <div class="row">
      ${node.category === "worker" ? html`<${Dot} state=${node.state || "stopped"} label=${node.state} />` : null}
      <span class=${`b el ${node.category === "kind" ? "m" : ""}`} title=${node.name}>${node.name}</span>
    </div>
    <div class=${`s t2 map-said ${node.category === "worker" ? "dotted" : ""}`}>
      ${sentences(value, id).map((text) => html`<div key=${text}>${text}</div>`)}
      ${node.told && node.category === "worker" ? html`<div class=${node.tone === "bad" || node.tone === "failing" ? "bad" : ""}>${node.told}</div>` : null}
    </div>
    <${Series} selected=${value.selected} id=${id} node=${node} now=${store.now()} />
    <div class="row map-does"><${Does} node=${node} mine=${mine} unfold=${unfold} value=${value} /></div>
  </section>`;
}

function Series({ selected, id, node, now }) {
  if (selected?.id !== id || !selected.series) return null;
  const { series, seconds } = selected;
  const total = series.reduce((sum, [calls]) => sum + calls, 0);
  const failed = series.reduce((sum, [, bad]) => sum + bad, 0);
  const noun = node.category === "worker" ? "calls" : "events";
  const label = `${total} ${noun} in 15 minutes${failed ? `, ${failed} failed` : ""}`;
  return html`<div class="map-spark">
    <${Spark} buckets=${series} width=${264} height=${36} label=${label} />
    <div class="row s t3"><span>${clock(now - series.length * seconds * 1000)}</span><span class="g"></span><span>Now</span></div>
  </div>`;
}

/** What can be done with the chosen box. */
function Does({ node, mine, unfold, value }) {
  const store = useStore();
  const runs = (filter) => html`<${Button} ghost onClick=${() => store.go("runs", { filter })}>Show runs<//>`;
  const hide = (name) =>
    html`<${Button}
      ghost
      onClick=${() => {
        mine.hide.value = [...mine.hide.value, name];
        mine.chosen.value = null;
      }}
      >Hide<//
    >`;
  const fold =
    value.whole > FOLDED_FROM && node.band && node.category !== "fold"
      ? html`<${Button}
          ghost
          title=${`Show ${node.band} as one box`}
          onClick=${() => {
            mine.open.value = mine.open.value.filter((one) => one !== node.band);
            mine.fold.value = [...mine.fold.value, node.band];
          }}
          >Fold<//
        >`
      : null;
  if (node.category === "fold")
    return node.id === "rest" || node.id.startsWith("alike/")
      ? html`<span class="s t2">Find a worker by its name in the view Workers.</span>
          <${Button} onClick=${() => store.go("workers", {})}>Open workers<//>`
      : html`<${Button} onClick=${() => unfold(node)}>Unfold<//>${hide(node.band)}`;
  if (node.category === "worker")
    return html`<${Button} onClick=${() => store.go("workers", { worker: node.name })}>Open worker<//>${runs(node.name)}${hide(node.name)}${fold}`;
  if (node.category === "kind" && node.id.startsWith("kind/"))
    return html`<${Button}
        why=${store.disabled.value}
        onClick=${() => store.openFire({ kind: node.name })}
        >Fire<//
      >${runs(node.name)}${hide(node.name)}${fold}`;
  return fold;
}

export function Findings({ value, chosen, onChoose }) {
  const { findings } = value;
  return html`<section class="sec map-findings" aria-label="Findings">
    <div class="hd"><h2>Findings</h2><span class="t3">${findings.length || ""}</span></div>
    ${findings.length ? null : html`<p class="s t2">Every kind is published and heard, and nothing fails.</p>`}
    <ul>
      ${findings.map((one) => {
        const [icon, cls] = ICONS[one.category];
        return html`<li key=${one.title}>
          <button type="button" aria-pressed=${String(one.title === chosen)} onClick=${() => onChoose(one.title)}>
            <span class=${cls}><${Icon} name=${icon} /></span>
            <span class="g"><span>${one.title}</span><span class="s t2">${one.text}</span></span>
          </button>
        </li>`;
      })}
    </ul>
  </section>`;
}
