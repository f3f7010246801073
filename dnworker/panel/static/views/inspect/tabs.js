// The tabs of the inspector beside Error: Payload, Output, Log, Source, State.
import { html, useState } from "../../vendor/vendor.js";
import { bytes, clockMillis, percent, plural } from "../../base/format.js";
import { PlaceLink } from "../../base/place.js";
import { useStore } from "../../base/store.js";
import { Button, Copy, Link } from "../../base/ui.js";
import { Code } from "./code.js";
import { Compared, ComparePicker } from "./compare.js";
import { usePayload } from "./loading.js";
import { PayloadTree } from "./payload.js";

export function PayloadTab({ part, compareWith }) {
  const { event, payload } = part;
  const [chosen, setChosen] = useState(null);
  const { text, share } = usePayload(event?.id, payload);
  const other = chosen?.of === event?.id ? chosen.with : compareWith;
  if (!event) return html`<p class="t2 pad">No event caused this call</p>`;
  if (!payload) return html`<p class="t2 pad">The payload is not kept any more; fire the event again</p>`;
  const pick = (id) => setChosen({ of: event.id, with: id });
  const picker = html`<${ComparePicker} event=${event} onPick=${pick} />`;
  return html`<div class="insp one">
    ${event.says && html`<blockquote class="says"><bdi>${event.says}</bdi></blockquote>`}
    ${part.unheard?.map((text) => html`<div key=${text} class="s warn">${text}</div>`)}
    ${other && html`<${Compared} left=${other} right=${event.id} onClose=${() => pick(null)} />`}
    ${
      text === null
        ? html`<div class="s t2" role="status">${`Loading ${percent(share)} of ${bytes(payload.size)}`}</div>`
        : html`<${PayloadTree} key=${event.id} text=${text} label=${`Payload of #${event.seq}`}>${picker}<//>`
    }
  </div>`;
}

export function OutputTab({ part }) {
  const store = useStore();
  const { count, events } = part.output;
  if (!count) return html`<p class="t2 pad">It published nothing</p>`;
  return html`<div class="insp one">
    <ul class="out">
      ${events.map(
        (event) => html`<li key=${event.id}>
          <i class="ev" aria-hidden="true"></i>
          <${Link} onClick=${() => store.go("runs", { event: event.id })}><span class="m">${event.kind}</span><//>
          <span class="t3 nw">#${event.seq}</span>
          <bdi class="m t2 el g">${event.says || event.text}</bdi>
        </li>`,
      )}
    </ul>
    ${count > events.length && html`<div class="s t3">${`and ${plural(count - events.length, "more event")}`}</div>`}
  </div>`;
}

export function LogTab({ part }) {
  const store = useStore();
  const { count, lines } = part.log;
  if (!count) return html`<p class="t2 pad">It printed and logged nothing</p>`;
  const older = count - lines.length;
  return html`<div class="insp one">
    ${older > 0 && html`<div class="s t3">${plural(older, "earlier line is", "earlier lines are")} not shown</div>`}
    <div class="lines in" role="group" aria-label="Lines that it wrote" tabindex="0">
      ${lines.map(
        (line) => html`<div key=${line.number} class=${LEVELS[line.level] ?? ""}>
          <span class="t3">${clockMillis(line.at)}</span
          ><span class="t3">${line.source === "log" ? line.level : line.source}</span><bdi class="pre">${line.text}${line.cut ? "…" : ""}</bdi>
        </div>
        ${line.image && html`<img class="thumb" src=${line.image} alt=${line.text} />`}`,
      )}
    </div>
    <div>
      <${Button} small onClick=${() => store.openLog({ worker: part.call.worker, invocation: part.wanted.invocation })}>Open in the log<//>
    </div>
  </div>`;
}

const LEVELS = { error: "e", critical: "e", warning: "w" };

export function SourceTab({ part }) {
  const { source, call } = part;
  if (!source) return html`<p class="t2 pad">The source of ${call.handler} cannot be read here</p>`;
  const lines = source.text.split("\n").map((text, n) => [source.line + n, text]);
  return html`<div class="insp one">
    <div class="row s t2">
      <span class="el">${`${call.worker}.${call.handler}`}</span><${PlaceLink} place=${source.place} />
      <span class="g"></span>${source.note && html`<span class="warn">${source.note}</span>`}
      <${Copy} text=${() => source.text} label="Copy source" />
    </div>
    <${Code} lines=${lines} marked=${source.marked} label=${`Source of ${call.handler}`} />
  </div>`;
}

const CHANGE = /^(.+?) (.*) -> (.*)$/s;

export function StateTab({ part }) {
  const store = useStore();
  const { changes, count } = part.state;
  const see = html`<div>
    <${Button} small onClick=${() => store.go("workers", { worker: part.call.worker })}>State of the worker now<//>
  </div>`;
  if (!count)
    return html`<div class="insp one">
      <p class="t2">No change of its worker's state was seen</p>
      ${see}
    </div>`;
  return html`<div class="insp one">
    <ul class="out changes">
      ${changes.map((text, n) => {
        const [, name, before, after] = CHANGE.exec(text) ?? [];
        return html`<li key=${n} class="m">
          ${name === undefined ? html`<bdi>${text}</bdi>` : html`<bdi class="jk">${name}</bdi><bdi class="was">${before}</bdi><span class="t3">→</span><bdi class="now">${after}</bdi>`}
        </li>`;
      })}
    </ul>
    ${count > changes.length && html`<div class="s t3">${`and ${plural(count - changes.length, "more change")}`}</div>`}
    ${see}
  </div>`;
}
