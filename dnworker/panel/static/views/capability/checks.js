// The checks of a capability: whether each succeeded, what it runs, and what it said where it failed.
import { html, useState } from "../../vendor/vendor.js";
import { runChecks } from "../../base/acting.js";
import { useStore } from "../../base/store.js";
import { Button, Copy, Icon } from "../../base/ui.js";

const WORDS = { ok: "Succeeded", error: "Failed", "not run": "Not run" };

function Check({ check }) {
  const { name, command, status, error } = check;
  const mark =
    status === "ok"
      ? html`<span class="ok"><${Icon} name="check" /></span>`
      : html`<i class=${`dot ${status === "error" ? "err" : "stop"}`} aria-hidden="true"></i>`;
  return html`<li class="check">
    <span class="mark">${mark}</span>
    <div class="g">
      <div class="row">
        <span class="b el">${name}</span>
        <span class=${`s nw ${status === "error" ? "bad" : "t3"}`}>${WORDS[status] ?? status}</span>
        <span class="m t3 el g" title=${command}>${command}</span>
        <${Copy} text=${() => command} label=${`Copy the command of ${name}`} />
      </div>
      ${error && html`<pre class="code output" tabindex="0" aria-label=${`Output of ${name}`}>${error}</pre>`}
    </div>
  </li>`;
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
