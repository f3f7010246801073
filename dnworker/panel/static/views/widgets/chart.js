// The widget `Chart`: one of the charts of the overview, with a brush of its own.
import { html, useRef } from "../../vendor/vendor.js";
import { useLook, useStore } from "../../base/store.js";
import { Chart as OneChart, chartsOf, marksOf } from "../overview/charts.js";
import { useSpan } from "../overview/span.js";
import { setTraits, useTraits } from "./traits.js";

const TITLES = { throughput: "Throughput", errors: "Error rate", duration: "Duration", lag: "Loop lag" };

export function Chart({ model }) {
  const store = useStore();
  const { metric, worker } = useTraits(model, ["metric", "worker"]);
  const span = useSpan();
  const found = useLook("overview", worker ? { only: worker } : {});
  const kept = useRef(null); // until the next look is answered
  if (found) kept.current = found;
  const overview = kept.current;
  store.tick.value; // its edge is now
  const title = TITLES[metric];
  const data = overview && chartsOf(overview, store.now()).find((one) => one.title.startsWith(title));
  if (!data) return html`<p class="t3">${title}: nothing yet</p>`;
  const select = (brush, isMoving) => {
    const times = span.set(overview.series)(brush, isMoving);
    if (!isMoving) setTraits(model, { selected: times ? [times.since, times.until] : [] });
  };
  return html`<div class="charts">
    <${OneChart}
      data=${data}
      overview=${overview}
      brush=${span.inBuckets(overview.series)}
      setBrush=${select}
      marks=${worker ? [] : marksOf(overview)}
      onOpen=${() => {}}
    />
  </div>`;
}
