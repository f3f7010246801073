// The panel's view. State lives in the kernel and arrives in messages; this draws it.
// Whatever a handler or an event says goes in by textContent: text is never markup.

const STATES = ["loading", "starting", "running", "stopping", "stopped", "error", "gated_off"];
const MARKS = { running: "●", starting: "◐", loading: "◌", stopping: "◑", stopped: "○", error: "✕", gated_off: "⊘" };
const LINES_KEPT = 200;
const VERBS = ["start", "stop", "restart"];

/** Return an element with a class, a text and children. */
function element(tag, { cls = "", text = null, ...attributes } = {}, children = []) {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== null) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** What a handler's row says, as cells. */
export function handlerCells(handler) {
  const flight = handler.inFlight ? ` (${handler.inFlight} in flight)` : "";
  return [
    `${handler.decorator}${handler.what ? ` ${handler.what}` : ""}`,
    handler.name,
    `${handler.calls}${flight}`,
    String(handler.errors),
    handler.lastError ?? "",
  ];
}

/** The newest lines of two batches, each line once. */
export function mergeLines(kept, fresh, limit = LINES_KEPT) {
  const newest = kept.length ? kept[kept.length - 1].number : 0;
  return [...kept, ...fresh.filter((line) => line.number > newest)].slice(-limit);
}

function workerCard(worker, drive) {
  const known = STATES.includes(worker.state) ? worker.state : "stopped";
  const head = element("div", { cls: "dnw-head" }, [
    element("span", { cls: `dnw-state dnw-${known}`, text: `${MARKS[known]} ${worker.state}` }),
    element("strong", { text: worker.name }),
    element("span", { cls: "dnw-muted", text: `${worker.topology} · generation ${worker.generation}` }),
  ]);
  const buttons = element("span", { cls: "dnw-buttons" });
  for (const verb of VERBS) {
    const button = element("button", { text: verb, type: "button", "aria-label": `${verb} ${worker.name}` });
    button.disabled = !worker.can[verb];
    if (button.disabled) button.title = `not while the worker is ${worker.state}`;
    button.addEventListener("click", () => drive(verb, worker.name));
    buttons.append(button);
  }
  head.append(buttons);
  const card = element("section", { cls: "dnw-worker", "aria-label": `worker ${worker.name}`, "data-worker": worker.name }, [head]);
  if (worker.error) card.append(element("pre", { cls: "dnw-error", text: worker.error }));
  if (worker.handlers.length) {
    const rows = worker.handlers.map((handler) =>
      element("tr", { cls: handler.errors ? "dnw-failing" : "" },
        handlerCells(handler).map((text) => element("td", { text }))));
    const titles = ["registered for", "handler", "calls", "errors", "last error"];
    card.append(element("table", {}, [
      element("thead", {}, [element("tr", {}, titles.map((text) => element("th", { text, scope: "col" })))]),
      element("tbody", {}, rows),
    ]));
  }
  return card;
}

function render({ model, el }) {
  let lines = [];
  let command = 0;
  const status = element("div", { cls: "dnw-status", role: "status" });
  const workers = element("div", { cls: "dnw-workers" });
  const tail = element("pre", { cls: "dnw-log", role: "log", tabindex: "0", "aria-label": "log tail" });
  const summary = element("div", { cls: "dnw-muted dnw-summary", text: "waiting for the kernel…" });
  const root = element("div", { cls: "dnw-panel" }, [summary, status, workers, element("div", { cls: "dnw-title", text: "log" }), tail]);

  const drive = (verb, worker) => {
    command += 1;
    status.textContent = `${verb} ${worker}: queued, the kernel is busy`;
    model.send({ type: verb, worker, id: command });
  };

  const draw = (message) => {
    const { runtime } = message;
    summary.textContent = `runtime ${runtime.id} · ${runtime.url ?? "no server"} · ${runtime.events} events`;
    const focus = document.activeElement?.getAttribute("aria-label");
    workers.replaceChildren(...message.workers.map((worker) => workerCard(worker, drive)));
    if (!message.workers.length) workers.append(element("p", { cls: "dnw-muted", text: "no workers yet: run a %%worker cell" }));
    if (focus) [...workers.querySelectorAll("button")].find((b) => b.getAttribute("aria-label") === focus)?.focus();
    const following = tail.scrollHeight - tail.scrollTop - tail.clientHeight < 8;
    lines = mergeLines(message.type === "snapshot" ? [] : lines, message.lines);
    tail.replaceChildren(...lines.map((line) =>
      element("div", { cls: `dnw-line dnw-level-${line.level === "error" ? "error" : "info"}` }, [
        element("span", { cls: "dnw-muted", text: `${line.worker}  ` }),
        document.createTextNode(line.text),
      ])));
    if (following) tail.scrollTop = tail.scrollHeight;
  };

  const receive = (message) => {
    if (message.type === "snapshot" || message.type === "update") draw(message);
    else if (message.type === "ack") status.textContent = "working…";
    else if (message.type === "done") status.textContent = "";
    else if (message.type === "failed") status.textContent = message.text;
  };

  model.on("msg:custom", receive);
  el.append(root);
  model.send({ type: "hello" });
  return () => model.off("msg:custom", receive);
}

export default { render };
