// The banner below the header: shown where what is seen is old, with the reason and what to do.
import { html } from "../vendor/vendor.js";
import { clockSeconds, span } from "../base/format.js";
import { useStore } from "../base/store.js";
import { Button, Dot, Icon } from "../base/ui.js";

const OLD = 2000; // milliseconds after which numbers are called old

/** What runs: `cell [4] is running`, or, as it says itself, `cell [4]: shop.on_sale is in the debugger`. */
function holder(by) {
  if (!by.startsWith("cell")) return `${by} holds the loop`;
  return by.includes(": ") ? by : `${by} is running`;
}

/** Why nothing is answered now: what runs, since when, and how old the numbers are. */
function busyText(store, { since, by }) {
  const holds = by && `, ${holder(by)}`;
  const silence = store.link.silence;
  const numbers = silence > OLD ? `Numbers are ${span(silence)} old; buttons` : "Buttons";
  const who = store.inNotebook ? "Kernel busy" : "Busy";
  return `${who} since ${clockSeconds(since)}${holds ?? ""}. ${numbers} wait in line.`;
}

export function Banner() {
  const store = useStore();
  const liveness = store.liveness.value;
  if (liveness.state === "live") return null;
  if (liveness.state === "busy") {
    store.tick.value; // the numbers grow older
    const { interrupt } = store;
    return html`<div class="banner">
      <${Icon} name="clock" /><span class="g">${busyText(store, liveness)}</span>
      ${interrupt && html`<${Button} small onClick=${interrupt}>Interrupt<//>`}
    </div>`;
  }
  return html`<div class="banner" role="alert">
    <${Dot} state="gone" /><span class="g"
      >No word from the ${store.who} since ${clockSeconds(liveness.since)}. This is what was last seen.</span
    ><${Button} small onClick=${() => store.connectAgain()}>Connect again<//>
  </div>`;
}
