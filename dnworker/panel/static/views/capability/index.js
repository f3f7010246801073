// The view "Capability": its flags, its checks, what its manifest says, and the export.
import { html } from "../../vendor/vendor.js";
import { plural } from "../../base/format.js";
import { useLook, useStore } from "../../base/store.js";
import { Empty } from "../../base/ui.js";
import { Checks } from "./checks.js";
import { Export } from "./export.js";
import { Flags } from "./flags.js";
import { Servers } from "./servers.js";

/** Which capability is shown: the one that the route names, else the first. */
export function chosenOf(all, name) {
  return all.find((one) => one.name === name) ?? all[0] ?? null;
}

const isBroken = (capability) =>
  Boolean(capability.failure) || capability.checks.some((check) => check.status === "error");

/** The capabilities, where there are several: a list, on a narrow panel a field. */
function Choice({ all, more, chosen, choose, isNarrow }) {
  if (isNarrow)
    return html`<label class="tbar pick">
      <span class="offscreen">Capability</span>
      <select class="inp g" value=${chosen.name} onChange=${(event) => choose(event.currentTarget.value)}>
        ${all.map((one) => html`<option key=${one.name} value=${one.name}>${one.name}</option>`)}
      </select>
    </label>`;
  const move = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = (all.indexOf(chosen) + step + all.length) % all.length;
    choose(all[at].name);
    event.currentTarget.children[at].focus();
  };
  return html`<nav class="side" aria-label="Capabilities">
    <div role="listbox" aria-label="Capabilities" onKeyDown=${move}>
      ${all.map(
        (one) => html`<div
          key=${one.name}
          class=${`entry ${one === chosen ? "sel" : ""}`}
          role="option"
          aria-selected=${String(one === chosen)}
          tabindex=${one === chosen ? 0 : -1}
          onClick=${() => choose(one.name)}
        >
          <i class=${`dot ${isBroken(one) ? "err" : ""}`} aria-hidden="true"></i>
          <span class="el g">${one.name}</span>
          <span class="s t3">${one.failure ? "Not loaded" : one.version}</span>
        </div>`,
      )}
    </div>
    ${more > 0 && html`<p class="s t3">${plural(more, "more capability", "more capabilities")}</p>`}
  </nav>`;
}

function Manifest({ capability }) {
  const { facts, notes, root } = capability;
  const all = [...facts, ["Directory", root ?? "The cells of this notebook"]];
  return html`<section class="sec" aria-label="Manifest">
    <div class="hd"><h2>Manifest</h2></div>
    <dl class="facts">
      ${all.map(([name, text]) => html`<div key=${name}><dt class="t3">${name}</dt><dd class=${name === "Directory" && root ? "m" : ""}>${text}</dd></div>`)}
    </dl>
    ${notes.map((note) => html`<p class="warn wrap s" key=${note}>${note}</p>`)}
  </section>`;
}

function Shown({ capability, whyNoExport }) {
  const { name, version, description, failure } = capability;
  return html`<article class="capability" aria-label=${`Capability ${name}`}>
    <header class="verdict">
      <div class="g">
        <h1 class="el">${name} <span class="t3">${version}</span></h1>
        ${description && html`<div class="t2 wrap">${description}</div>`}
      </div>
    </header>
    ${failure && html`<div class="failure" role="alert"><b class="bad">It could not be loaded</b><pre class="code output">${failure}</pre></div>`}
    <div class="halves">
      <div>
        <${Flags} key=${name} capability=${capability} />
        <${Servers} key=${name} capability=${capability} />
        <${Checks} key=${name} capability=${capability} />
      </div>
      <div class="aside"><${Manifest} capability=${capability} /><${Export} whyNot=${whyNoExport} /></div>
    </div>
  </article>`;
}

export function CapabilityView() {
  const store = useStore();
  const found = useLook("capabilities");
  if (!found) return html`<section class="g" aria-label="Capability"></section>`;
  const chosen = chosenOf(found.all, store.route.value.name);
  if (!chosen)
    return html`<${Empty} title="No capability is loaded">
      <p>Load one here: <span class="m">%capability load PATH</span>, or name one: <span class="m">dnworker serve PATH</span></p>
    <//>`;
  const isNarrow = store.width.value === "narrow";
  const choose = (name) => store.go("capability", { name });
  return html`<section class=${`capabilities ${isNarrow ? "narrow" : ""}`} aria-label="Capability">
    ${found.all.length > 1 && html`<${Choice} all=${found.all} more=${found.more} chosen=${chosen} choose=${choose} isNarrow=${isNarrow} />`}
    <${Shown} capability=${chosen} whyNoExport=${found.whyNoExport} />
  </section>`;
}
