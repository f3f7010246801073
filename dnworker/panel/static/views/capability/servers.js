// The MCP servers of a capability: how each is, what it offers or why it does not, and a way to connect again.
import { html } from "../../vendor/vendor.js";
import { plural } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button } from "../../base/ui.js";
import { Entry } from "./checks.js";

const WORDS = {
  ok: "Connected",
  connecting: "Connecting",
  needs_auth: "Needs a sign-in",
  gated_off: "Gated off",
  stopped: "Not connected",
};
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
  const { name, status, transport, detail, output, whyNot } = server;
  const run = () => store.request(`Reconnect ${name}`, { type: "reconnect", capability, server: name });
  const why = store.disabled.value ?? whyNot ?? (status === "connecting" ? "It is being connected" : null);
  const address = status === "needs_auth" && ADDRESS.exec(detail)?.[0];
  return html`<${Entry}
    name=${name}
    word=${WORDS[status] ?? "Failed"}
    isOk=${status === "ok"}
    isBad=${!WORDS[status]}
    text=${transport}
    action=${html`<${Button} small icon="again" why=${why} label=${`Reconnect ${name}`} onClick=${run}>Reconnect<//>`}
    output=${output}
    label=${`Log of ${name}`}
  >
    <div class="s t2 wrap">${said(server)}</div>
    ${address && html`<a class="s" href=${address} target="_blank" rel="noopener noreferrer">Sign in</a>`}
  <//>`;
}

export function Servers({ capability }) {
  const { servers, name } = capability;
  if (!servers?.length) return null;
  return html`<section class="sec" aria-label="MCP servers">
    <div class="hd"><h2>MCP servers</h2><span class="t3">${servers.length}</span></div>
    <ul class="plain">${servers.map((one) => html`<${Server} key=${one.name} capability=${name} server=${one} />`)}</ul>
  </section>`;
}
