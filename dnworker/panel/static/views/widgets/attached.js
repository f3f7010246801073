// The widget `Attached`: what the deployed workers did with each event, and what those of this notebook did.
import { html, useId, useState } from "../../vendor/vendor.js";
import { gapsText, scoreText, stateText } from "../../base/attached.js";
import { clockSeconds, count } from "../../base/format.js";
import { useSteadyLook } from "../../base/store.js";
import { Button } from "../../base/ui.js";
import { setTraits, useTraits } from "./traits.js";

const TRAITS = ["last", "only_different", "worker", "url", "mode", "state"];
const SIGNS = { same: ["✓", "ok"], different: ["✗", "bad"], pending: ["…", "t3"], unknown: ["?", "warn"] };

/** The lines of one side, each with whether the other side lacks it. */
export function marked(lines, others) {
  const left = new Map();
  for (const line of others ?? []) left.set(line, (left.get(line) ?? 0) + 1);
  return lines.map((line) => {
    const n = left.get(line) ?? 0;
    if (n) left.set(line, n - 1);
    return [line, n === 0];
  });
}

function Side({ name, lines, others, differs, sign }) {
  const none = lines === null ? "what it did is not known" : "nothing";
  return html`<div class="side ${name}">
    <span class="xs t3">${name === "deployed" ? "Deployed" : "This notebook"}</span>
    ${
      lines?.length
        ? marked(lines, others).map(
            ([line, isAlone], n) =>
              html`<div key=${n} class=${differs && isAlone ? "alone" : ""}>${differs && isAlone ? sign : " "} ${line}</div>`,
          )
        : html`<div class="t3">  ${none}</div>`
    }
  </div>`;
}

function Row({ row }) {
  const [sign, cls] = SIGNS[row.verdict];
  const differs = row.verdict === "different";
  return html`<li class=${`cmp ${row.verdict}`}>
    <div class="row">
      <b class=${cls} role="img" aria-label=${row.verdict}>${sign}</b>
      <span class="t3">#${row.seq}</span><span class="m b el">${row.kind}</span>
      <span class="t2 el">${row.worker}</span><span class="g"></span>
      <span class="s t3 nw">${clockSeconds(row.at)}</span>
    </div>
    ${row.why && row.verdict !== "same" && html`<div class=${`s ${cls}`}>${row.why}</div>`}
    ${
      row.verdict !== "pending" &&
      html`<div class="sides m">
        <${Side} name="deployed" lines=${row.deployed} others=${row.notebook} differs=${differs} sign="−" />
        <${Side} name="notebook" lines=${row.notebook} others=${row.deployed} differs=${differs} sign="+" />
      </div>`
    }
  </li>`;
}

function ByWorker({ found }) {
  const names = ["different", "same", "pending", "unknown"];
  const more = found.allWorkers - found.workers.length;
  return html`<table aria-label="Score by worker">
    <thead>
      <tr>
        <th scope="col">Worker</th>
        ${names.map((name) => html`<th scope="col" key=${name} class="r">${name}</th>`)}
      </tr>
    </thead>
    <tbody>
      ${found.workers.map(
        (one) => html`<tr key=${one.worker}>
          <td class="el">${one.worker}</td>
          ${names.map((name) => html`<td key=${name} class=${`r ${name === "different" && one[name] ? "bad b" : ""}`}>${count(one[name])}</td>`)}
        </tr>`,
      )}
    </tbody>
    ${
      more > 0 &&
      html`<tfoot>
        <tr><td colspan="5" class="t3">and ${count(more)} more</td></tr>
      </tfoot>`
    }
  </table>`;
}

export function Attached({ model }) {
  const traits = useTraits(model, TRAITS);
  const [before, setBefore] = useState([]); // the last row of each newer page
  const id = useId();
  const wanted = {
    last: traits.last,
    onlyDifferent: traits.only_different,
    worker: traits.worker,
    before: before.at(-1) ?? null,
  };
  const found = useSteadyLook("attached", wanted);
  const isOver = traits.state === "ended";
  const head = isOver ? `Was attached to ${traits.url} in ${traits.mode}` : null;
  if (!found) return html`<div class="wattached">${head ?? `Attached to ${traits.url}`}</div>`;
  const state = stateText(isOver ? { state: "ended", detail: "" } : found);
  const gaps = gapsText(found);
  const choose = (event) => {
    setBefore([]);
    setTraits(model, { only_different: event.currentTarget.checked });
  };
  return html`<div class="wattached">
    ${head && html`<div class="s t2">${head}</div>`}
    <div class="row">
      <span class="b g">${found.mode === "live" ? "Nothing is compared: both do it" : scoreText(found.score)}</span>
      <label class="s nw" for=${id}>
        <input type="checkbox" id=${id} checked=${traits.only_different} onChange=${choose} /> only different
      </label>
    </div>
    <div class="s t2">
      ${count(found.received)} received${found.skipped > 0 && `, ${count(found.skipped)} skipped`}${found.waiting > 0 && `, ${count(found.waiting)} under way`}${state && html`; <span class="bad">${state}</span>`}
    </div>
    ${found.trouble && html`<div class="s warn">${found.trouble}</div>`}
    ${gaps && html`<div class="s warn">${gaps}</div>`}
    ${found.workers.length > 0 && html`<${ByWorker} found=${found} />`}
    <ul aria-label="Events side by side">
      ${found.rows.map((row) => html`<${Row} key=${row.key} row=${row} />`)}
    </ul>
    ${!found.rows.length && found.mode !== "live" && html`<p class="t3">${traits.only_different ? "Nothing differs" : "No event yet"}</p>`}
    ${
      (found.isMore || before.length > 0) &&
      html`<div class="row">
        <${Button} small why=${before.length ? null : "these are the newest"} onClick=${() => setBefore(before.slice(0, -1))}>Newer<//>
        <${Button} small why=${found.isMore ? null : "there are no older ones"} onClick=${() => setBefore([...before, found.rows.at(-1).key])}>Older<//>
      </div>`
    }
  </div>`;
}
