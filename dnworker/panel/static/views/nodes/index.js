// The view "Nodes", where the broker is shared: who is there, what each node holds, and who took what over.
import { html, useState } from "../../vendor/vendor.js";
import { count } from "../../base/format.js";
import { useSteadyLook, useStore } from "../../base/store.js";
import { Dot, Empty } from "../../base/ui.js";
import { Held, Timeline } from "./held.js";
import { NodesTable } from "./table.js";
import { headline, reason } from "./words.js";

function Fact({ value, name }) {
  return html`<div class="r fact"><div class="b">${value}</div><div class="s t3">${name}</div></div>`;
}

function Verdict({ found, width }) {
  const store = useStore();
  const isBad = found.failure !== null || found.lost.length > 0;
  return html`<div class="verdict">
    <div class="g sentence">
      <h1 class="row">${isBad && html`<${Dot} state="error" />`}${headline(found)}</h1>
      <div class=${`t2 why ${isBad ? "in" : ""}`}>${reason(found, store.now())}</div>
    </div>
    ${
      width !== "narrow" &&
      html`<${Fact} value=${count(found.held)} name="Workers" />
        <${Fact} value=${count(found.backlog)} name="Backlog" />
        <${Fact} value=${count(found.pending)} name="Pending" />`
    }
  </div>`;
}

export function NodesView() {
  const store = useStore();
  const [chosen, setChosen] = useState(null);
  const found = useSteadyLook("nodes", chosen === null ? {} : { node: chosen });
  const width = store.width.value;
  if (!found) return html`<section class="nodes" aria-label="Nodes" aria-busy="true"></section>`;
  if (!found.isShared)
    return html`<${Empty} title="This runtime shares its events with no other">
      <p>Several do: <span class="m">dnworker serve --broker nats://HOST --namespace NAME</span></p>
    <//>`;
  const choose = (name) => setChosen(name === chosen ? null : name);
  const timeline = html`<${Timeline} found=${found} />`;
  const isWide = width === "wide";
  return html`<section class="nodes" aria-label="Nodes" tabindex="-1">
    <${Verdict} found=${found} width=${width} />
    <div class=${isWide ? "cols" : "col"}>
      <div>
        <${NodesTable} found=${found} width=${width} onChoose=${choose} />
        <${Held} found=${found} width=${width} onClear=${() => setChosen(null)} />
        ${!isWide && timeline}
      </div>
      ${isWide && html`<aside class="aside" aria-label="Timeline of the nodes">${timeline}</aside>`}
    </div>
  </section>`;
}
