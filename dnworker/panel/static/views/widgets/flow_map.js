// The widget `FlowMap`: the map of what flows where; what is chosen in it is a trait.
import { html } from "../../vendor/vendor.js";
import { FlowMap as WholeMap } from "../map/flow_map.js";
import { setTraits, useTraits } from "./traits.js";

export function FlowMap({ model }) {
  const { selected } = useTraits(model, ["selected"]);
  const select = (node) => setTraits(model, { selected: node?.name ?? null });
  return html`<div class="wmap"><${WholeMap} selected=${selected} onSelect=${select} /></div>`;
}
