// The view "Overview": what is wrong, the last 15 minutes, what fails, what is due, what has changed.
import { html, useRef } from "../../vendor/vendor.js";
import { clockSeconds, count, span } from "../../base/format.js";
import { useLook, useStore } from "../../base/store.js";
import { Dot, Kbd, Link } from "../../base/ui.js";
import { Charts, Numbers } from "./charts.js";
import { DeadLetters } from "./dead.js";
import { Changed, Due } from "./due.js";
import { NoWorkers } from "./empty.js";
import { Failures } from "./failures.js";
import { BusiestFlows } from "./flows.js";
import { beginOf, between, spanText } from "./numbers.js";
import { useSpan } from "./span.js";
import { headline, reason, stateCounts } from "./words.js";

function Piece({ piece }) {
  const store = useStore();
  if (typeof piece === "string") return piece;
  if (piece.error) return html`<span class="m">${piece.error}</span>`;
  const { worker, n } = piece.generation;
  return html`<${Link} onClick=${() => store.go("workers", { worker })}>generation ${n} of ${worker}<//>`;
}

/** Workers by state: in words, and as a strip. */
function States({ workers }) {
  const counts = stateCounts(workers);
  const words = counts.map(([n, text]) => `${count(n)} ${text}`);
  return html`<div class="states">
    <div class="row s t2">
      ${counts.map(([, , , bad], n) => html`<span class=${`nw ${bad ? "bad" : ""}`}>${words[n]}</span>`)}
    </div>
    <div class="stack" role="img" aria-label=${words.join(", ")}>
      ${counts.map(([n, , fill]) => html`<i style=${{ flex: n, background: fill }}></i>`)}
    </div>
  </div>`;
}

function Fact({ value, name }) {
  return html`<div class="r fact"><div class="b">${value}</div><div class="s t3">${name}</div></div>`;
}

function Verdict({ overview, width }) {
  const store = useStore();
  store.tick.value; // ages grow
  const liveness = store.liveness.value;
  const isFailing = overview.failures.handlers > 0 && liveness.state !== "gone";
  const options = { who: store.who, isShort: width !== "wide" };
  const pieces = reason(overview, liveness, store.now(), options);
  return html`<div class="verdict">
    <div class="g sentence">
      <h1 class="row">${isFailing && html`<${Dot} state="error" />`}${headline(overview, liveness)}</h1>
      <div class=${`t2 why ${isFailing ? "in" : ""}`}>${pieces.map((piece) => html`<${Piece} piece=${piece} />`)}</div>
    </div>
    <${States} workers=${overview.workers} />
    ${
      width === "wide" &&
      html`<${Fact} value=${count(overview.inFlight)} name="In flight" />
        <${Fact} value=${count(overview.backlog)} name="Backlog" />
        <${Fact} value=${span(store.now() - overview.since)} name="Up" />`
    }
  </div>`;
}

/** What is in the brush, with the way to its runs. */
function Selected({ series, span: found, brush, onOpen, onClear }) {
  const [from, until] = brush;
  const since = beginOf(series, from);
  const isThis = found && found.since === since && found.until === beginOf(series, until);
  const counts = isThis ? found : between(series, from, until);
  return html`<div class="selected" role="status">
    <span class="b">${clockSeconds(since)} to ${clockSeconds(beginOf(series, until))}</span>
    <span class="g">${spanText(counts)}</span>
    <${Link} onClick=${onOpen}>Show these runs<//><span class="t2">or</span>
    <${Link} onClick=${onClear}>Clear<//><${Kbd}>Esc<//>
  </div>`;
}

export function OverviewView() {
  const store = useStore();
  const width = store.width.value;
  const brush = useSpan(store);
  const only = store.only.value;
  const found = useLook("overview", { ...(brush.asked ?? {}), ...(only ? { only } : {}) });
  const kept = useRef(null); // between two looks there is none for a moment
  if (found) kept.current = found;
  const overview = kept.current;
  if (!overview) return html`<section class="ov" aria-label="Overview" aria-busy="true"></section>`;
  if (!Object.keys(overview.workers).length)
    return html`<section class="ov" aria-label="Overview"><${NoWorkers} overview=${overview} /></section>`;
  return html`<${Filled} overview=${overview} width=${width} brush=${brush} />`;
}

function Filled({ overview, width, brush }) {
  const store = useStore();
  const { series } = overview;
  const buckets = brush.inBuckets(series);
  const setBrush = brush.set(series);
  const clear = () => setBrush(null, false);
  const open = () => {
    const { since, until } = brush.newest();
    store.go("runs", { filter: { since, until } });
  };
  const charts = { overview, now: store.now(), brush: buckets, setBrush, onOpen: open };
  const onKey = (event) => event.key === "Escape" && buckets && clear();
  const failing =
    overview.failures.rows.length > 0 && html`<${Failures} overview=${overview} width=${width} />`;
  const due = html`<${Due} overview=${overview} width=${width} />`;
  const aside = width === "wide" && (overview.due.rows.length > 0 || overview.changed.length > 0);
  return html`<section class="ov" aria-label="Overview" tabindex="-1" onKeyDown=${onKey}>
    <${Verdict} overview=${overview} width=${width} />
    ${width === "narrow" ? html`<${Numbers} ...${charts} />` : html`<${Charts} ...${charts} />`}
    ${
      buckets &&
      width !== "narrow" &&
      html`<${Selected} series=${series} span=${overview.span} brush=${buckets} onOpen=${open} onClear=${clear} />`
    }
    <div class=${aside ? "cols" : "col"}>
      <div>${failing}<${DeadLetters} overview=${overview} width=${width} />${width === "narrow" && due}<${BusiestFlows} width=${width} />${width === "medium" && due}</div>
      ${aside && html`<aside class="aside" aria-label="Due and changed">${due}<${Changed} overview=${overview} /></aside>`}
    </div>
    ${overview.kept && html`<p class="s t3 kept">Events are ${overview.kept}</p>`}
  </section>`;
}
