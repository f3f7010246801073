// The MCP servers of a capability: how each is, what it offers or why it does not, and a way to connect again.
import { html, useState } from "../../vendor/vendor.js";
import { reconnect } from "../../base/acting.js";
import { plural } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button, Icon } from "../../base/ui.js";

const WORDS = {
  ok: "Connected",
  connecting: "Connecting",
  needs_auth: "Needs a sign-in",
  gated_off: "Gated off",
  stopped: "Not connected",
  error: "Failed",
  enabled_failed: "Failed",
};
const FAILED = ["error", "enabled_failed"];
const ADDRESS = /https?:\/\/\S+/;

/** What is said below the name of a server: its tools, or why there are none. */
export function said({ status, error, detail, tools, toolCount }) {
  if (status !== "ok") return [error, detail].filter(Boolean).join(". ");
  const more = toolCount > tools.length ? ` and ${toolCount - tools.length} more` : "";
  const offers = toolCount ? `${plural(toolCount, "tool")}: ${tools.join(", ")}${more}` : "No tools";
  return detail ? `${offers}. ${detail}` : offers;
}

function Server({ capability, server }) {
  const store = useStore();
  const [isRunning, setRunning] = useState(false);
  const { name, status, transport, detail, output, whyNot } = server;
  const isFailed = FAILED.includes(status);
  const mark =
    status === "ok"
      ? html`<span class="ok"><${Icon} name="check" /></span>`
      : html`<i class=${`dot ${isFailed ? "err" : "stop"}`} aria-hidden="true"></i>`;
  const run = async () => {
    setRunning(true);
    await reconnect(store, capability, name);
    setRunning(false);
  };
  const why = store.disabled.value ?? whyNot ?? (isRunning ? "It is being connected" : null);
  const address = status === "needs_auth" ? ADDRESS.exec(detail ?? "")?.[0] : null;
  return html`<li class="check">
    <span class="mark">${mark}</span>
    <div class="g">
      <div class="row">
        <span class="b el">${name}</span>
        <span class=${`s nw ${isFailed ? "bad" : "t3"}`}>${WORDS[status] ?? status}</span>
        <span class="m t3 el g">${transport}</span>
        <${Button} small icon="again" why=${why} label=${`Reconnect ${name}`} onClick=${run}>
          ${isRunning ? "Connecting" : "Reconnect"}
        <//>
      </div>
      <div class="s t2 wrap">${said(server)}</div>
      ${address && html`<a class="s" href=${address} target="_blank" rel="noopener noreferrer">Sign in</a>`}
      ${output && html`<pre class="code output" tabindex="0" aria-label=${`Log of ${name}`}>${output}</pre>`}
    </div>
  </li>`;
}

export function Servers({ capability }) {
  const { servers, name } = capability;
  if (!servers?.length) return null;
  return html`<section class="sec" aria-label="MCP servers">
    <div class="hd"><h2>MCP servers</h2><span class="t3">${servers.length}</span></div>
    <ul class="plain">${servers.map((one) => html`<${Server} key=${one.name} capability=${name} server=${one} />`)}</ul>
  </section>`;
}
