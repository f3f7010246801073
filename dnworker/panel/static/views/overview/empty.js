// The overview where there is no worker yet: a snippet that makes one.
import { html, useRef } from "../../vendor/vendor.js";
import { canInsertCell, insertCell } from "../../base/notebook.js";
import { linesOf } from "../../base/python.js";
import { useStore } from "../../base/store.js";
import { Button, Copy } from "../../base/ui.js";

const CELL = `%%worker bridge

@worker.on_event("turn.completed")
async def on_turn(event, client):
    print(event.payload["turn_id"])`;
const COMMAND = "dnworker serve ./my-capability";
const COLOURS = { keyword: "kw", string: "js", number: "jn", comment: "jt" };

/** Code in colours; what a line begins with, a magic or a decorator, is a keyword too. */
function Lines({ text }) {
  return text.split("\n").map((line) => {
    const [, head, rest] = /^(%%\w+|@\w+|)(.*)$/.exec(line);
    const pieces = linesOf(rest)[0].map(
      ([kind, piece]) => html`<span class=${COLOURS[kind] ?? ""}>${piece}</span>`,
    );
    return html`<div><span>${head && html`<span class="kw">${head}</span>`}${pieces}${!line && "\u00a0"}</span></div>`;
  });
}

export function NoWorkers({ overview }) {
  const store = useStore();
  const root = useRef(null);
  const text = overview.cells ? CELL : COMMAND;
  const say = overview.cells
    ? "Put this in a cell and run it. The worker starts at once and shows here."
    : "Start the runtime with the directory of a capability. Its workers show here.";
  const insert = () => {
    if (insertCell(store.model, root.current, text)) store.toast("Inserted below; run that cell");
  };
  const canInsert = store.inNotebook && canInsertCell(store.model);
  return html`<div class="empty" ref=${root}>
    <h1>No workers yet</h1>
    <p class="t2">${say}</p>
    <div class="code"><${Lines} text=${text} /></div>
    <div class="row">
      ${canInsert && html`<${Button} icon="cell" onClick=${insert}>Insert as cell<//>`}
      <${Copy} text=${() => text} small=${false}>Copy<//>
    </div>
  </div>`;
}
