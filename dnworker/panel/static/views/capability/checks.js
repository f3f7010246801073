// The checks of a capability: whether each succeeded, what it runs, and what it said where it failed.
import { html, useState } from "../../vendor/vendor.js";
import { runChecks } from "../../base/acting.js";
import { useStore } from "../../base/store.js";
import { Button, Copy, Icon } from "../../base/ui.js";

const WORDS = { ok: "Succeeded", error: "Failed", "not run": "Not run" };

/** A part of a capability with what became of it: a mark, its name, a word, a text, and what is said of it. */
export function Entry({ name, word, isOk, isBad, text, action, output, label, children }) {
  return html`<li class="check">
    <span class="mark">
      ${isOk ? html`<span class="ok"><${Icon} name="check" /></span>` : html`<i class=${`dot ${isBad ? "err" : "stop"}`} aria-hidden="true"></i>`}
    </span>
    <div class="g">
      <div class="row">
        <span class="b el">${name}</span>
        <span class=${`s nw ${isBad ? "bad" : "t3"}`}>${word}</span>
        <span class="m t3 el g" title=${text}>${text}</span>
        ${action}
      </div>
      ${children}
      ${output && html`<pre class="code output" tabindex="0" aria-label=${label}>${output}</pre>`}
    </div>
  </li>`;
}

function Check({ check }) {
  const { name, command, status, error } = check;
  return html`<${Entry}
    name=${name}
    word=${WORDS[status] ?? status}
    isOk=${status === "ok"}
    isBad=${status === "error"}
    text=${command}
    action=${html`<${Copy} text=${() => command} label=${`Copy the command of ${name}`} />`}
    output=${error}
    label=${`Output of ${name}`}
  />`;
}

export function Checks({ capability }) {
  const store = useStore();
  const [isRunning, setRunning] = useState(false);
  const { checks, name } = capability;
  if (!checks.length) return null;
  const run = async () => {
    setRunning(true);
    await runChecks(store, name);
    setRunning(false);
  };
  const why = store.disabled.value ?? (isRunning ? "They are running" : null);
  return html`<section class="sec" aria-label="Checks">
    <div class="hd">
      <h2>Checks</h2><span class="t3 g">${checks.length}</span>
      <${Button} small icon="play" why=${why} label=${`Run the checks of ${name}`} onClick=${run}>
        ${isRunning ? "Running" : "Run checks"}
      <//>
    </div>
    <ul class="plain">${checks.map((check) => html`<${Check} key=${check.name} check=${check} />`)}</ul>
  </section>`;
}
