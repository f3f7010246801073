// The generations of a worker: the code of each, what changed between two, and the way back to any.
import { html, useState } from "../../vendor/vendor.js";
import { clockSeconds, plural } from "../../base/format.js";
import { linesOf } from "../../base/python.js";
import { useLook, useStore } from "../../base/store.js";
import { Button, Seg } from "../../base/ui.js";
import { rollBack } from "./actions.js";

const KINDS = { keyword: "kw", string: "js", number: "jn", comment: "t3" };
const SIGNS = { "+": ["add", "+", "added: "], "-": ["del", "−", "removed: "], " ": ["", " ", ""] };

/** One line of code, in colours, with its sign. */
function Line({ sign, text }) {
  if (sign === "@") return html`<div class="w-gap" aria-hidden="true">⋯</div>`;
  const [cls, shown, words] = SIGNS[sign];
  return html`<div class=${cls}>
    <span class="ln" aria-hidden="true">${shown}</span
    ><span>${words && html`<span class="offscreen">${words}</span>`}${(linesOf(text)[0] ?? []).map(
      ([kind, piece]) => (kind ? html`<span class=${KINDS[kind]}>${piece}</span>` : piece),
    )}</span>
  </div>`;
}

function Section({ section, hasName }) {
  return html`<div class="w-section">
    ${hasName && html`<div class="t3 s">${section.name}</div>`}
    ${section.why && html`<p class="t2 s">${section.name}: ${section.why}</p>`}
    ${
      section.lines.length > 0 &&
      html`<div class="code w-code" tabindex="0" role="group" aria-label=${`Code of ${section.name}`}>
        ${section.lines.map(([sign, text], n) => html`<${Line} key=${n} sign=${sign} text=${text} />`)}
      </div>`
    }
    ${section.cut > 0 && html`<div class="t3 s">${plural(section.cut, "line")} more</div>`}
  </div>`;
}

/** The choices: each of the last generations alone, and the last change, as `[value, label, from, to]`. */
export function choices(numbers) {
  const [before, last] = numbers.slice(-2);
  if (last === undefined) return numbers.map((n) => [`${n}`, `${n}`, null, n]);
  const alone = numbers.slice(-3, -1).map((n) => [`${n}`, `${n}`, null, n]);
  return [...alone, [`${before} ${last}`, `${before} → ${last}`, before, last]];
}

function Compared({ numbers, chosen, onChange }) {
  const pick = (which, label) => html`<select
    aria-label=${label}
    value=${chosen[which]}
    onChange=${(event) => onChange({ ...chosen, [which]: Number(event.currentTarget.value) })}
  >
    ${numbers.map((n) => html`<option value=${n} selected=${n === chosen[which]}>${n}</option>`)}
  </select>`;
  return html`<span class="row s t2">Compare ${pick("from", "Compare generation")} with ${pick("to", "with generation")}</span>`;
}

/** When a generation came, why, and the way back to it. */
function About({ worker, one, present, canGoBack }) {
  const store = useStore();
  const why = store.disabled.value ?? (canGoBack ? null : worker.disabled.rollback);
  return html`<div class="row s t2 w-about">
    <span class="t3">${clockSeconds(one.at)}</span>
    <bdi class="el g" title=${one.why}>Generation ${one.number}${one.why && `: ${one.why}`}</bdi>
    ${
      one.number !== present &&
      html`<${Button}
        small
        icon="back"
        why=${why}
        title=${why ?? "Its state, gate and sessions stay"}
        onClick=${() => rollBack(store, worker.name, one.number)}
        >Roll back to ${one.number}<//
      >`
    }
  </div>`;
}

export function Generations({ worker, life }) {
  const [chosen, setChosen] = useState(null);
  const { generations, present } = life;
  const numbers = generations.map((one) => one.number);
  const all = choices(numbers);
  const isKept =
    chosen && numbers.includes(chosen.to) && (chosen.from === null || numbers.includes(chosen.from));
  const [, , from, to] = all.at(-1) ?? [null, null, null, null];
  const now = isKept ? chosen : { from, to };
  const code = useLook("code", to === null ? null : { worker: worker.name, ...now });
  if (!generations.length) return null;
  const value = now.from === null ? `${now.to}` : `${now.from} ${now.to}`;
  const take = (wanted) => {
    const [, , a, b] = all.find(([one]) => one === wanted);
    setChosen({ from: a, to: b });
  };
  const isShown = code && code.worker === worker.name && code.to === now.to && code.from === now.from;
  const about = generations.find((one) => one.number === (now.from ?? now.to));
  return html`<section class="ds" aria-label="Generations">
    <h3>
      Generations<span class="g"></span>
      <${Seg} cls="n" label="Generation" options=${all.map(([one, label]) => [one, label])} value=${value} onChange=${take} />
    </h3>
    <div class="w-diff">
      ${isShown && code.why && html`<p class="t2 s">${code.why[0].toUpperCase() + code.why.slice(1)}.</p>`}
      ${
        isShown &&
        code.sections.map(
          (section) =>
            html`<${Section} key=${section.name} section=${section} hasName=${code.sections.length > 1} />`,
        )
      }
    </div>
    ${chosen && about && html`<${About} worker=${worker} one=${about} present=${present} canGoBack=${life.previous !== null} />`}
    ${
      (chosen ? numbers.length > 2 : numbers.length > 3) &&
      html`<${Compared} numbers=${numbers} chosen=${{ from: now.from ?? now.to, to: now.to }} onChange=${setChosen} />`
    }
  </section>`;
}
