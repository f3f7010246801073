// The flags of a capability, as switches that say what they would start and stop before they are thrown.
import { html, useId, useState } from "../../vendor/vendor.js";
import { effect, setFlag } from "../../base/acting.js";
import { useStore } from "../../base/store.js";

const SOURCES = { default: "Default", binding: "Set by you" };
const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) : "");

/** What the switch would do, in words. */
export function consequence({ value, gates, starts, stops }) {
  const what = effect(starts, stops);
  if (what) return `Turning it ${value ? "off" : "on"} ${what}`;
  if (!gates.length) return "Gates no worker";
  return "Changes no worker: another flag keeps them running";
}

function Switch({ isOn, label, why, describedBy, onClick }) {
  return html`<button
    type="button"
    class="switch"
    role="switch"
    aria-checked=${String(isOn)}
    aria-label=${label}
    aria-describedby=${describedBy}
    aria-disabled=${why ? "true" : undefined}
    title=${why ?? undefined}
    onClick=${() => !why && onClick()}
  >
    <i></i>
  </button>`;
}

function FlagRow({ capability, flag }) {
  const store = useStore();
  const id = useId();
  const [isThrown, setThrown] = useState(false);
  const { name, value, description, fixed, source, starts, stops } = flag;
  const why = store.disabled.value ?? fixed ?? (isThrown ? "It is being thrown" : null);
  const turn = async () => {
    setThrown(true);
    await setFlag(store, { capability, flag: name, value: !value, starts, stops });
    setThrown(false);
  };
  return html`<li class="flag">
    <${Switch} isOn=${value} label=${`Flag ${name}`} why=${why} describedBy=${id} onClick=${turn} />
    <div class="g">
      <div class="row">
        <span class="b el">${name}</span><span class="s t3 nw">${fixed ? sentence(fixed) : (SOURCES[source] ?? source)}</span>
      </div>
      ${description && html`<div class="t2 wrap">${description}</div>`}
      <div class="s t2 wrap" id=${id}>${fixed ? `Gates ${flag.gates.join(", ") || "no worker"}` : consequence(flag)}</div>
    </div>
  </li>`;
}

export function Flags({ capability }) {
  const { flags, name } = capability;
  return html`<section class="sec" aria-label="Flags">
    <div class="hd"><h2>Flags</h2>${flags.length > 0 && html`<span class="t3">${flags.length}</span>`}</div>
    ${
      flags.length
        ? html`<ul class="plain">${flags.map((flag) => html`<${FlagRow} key=${flag.name} capability=${name} flag=${flag} />`)}</ul>`
        : html`<p class="t2">It has no flags</p>`
    }
  </section>`;
}
