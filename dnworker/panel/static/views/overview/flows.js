// Where the overview shows the busiest flows of the map.
import { html } from "../../vendor/vendor.js";
import { useStore } from "../../base/store.js";
import { Link } from "../../base/ui.js";
import { FlowMap } from "../map/flow_map.js";

const FLOWS_SHOWN = { wide: 4, medium: 2, narrow: 4 };

export function BusiestFlows({ width }) {
  const store = useStore();
  return html`<section class="sec flows" aria-label="Busiest flows">
    ${
      width !== "medium" &&
      html`<div class="hd">
        <h2>Busiest flows</h2>
        <span class="g"></span>
        <${Link} cls="s" onClick=${() => store.go("map")}>Open map<//>
      </div>`
    }
    <${FlowMap} busiest=${FLOWS_SHOWN[width]} />
  </section>`;
}
