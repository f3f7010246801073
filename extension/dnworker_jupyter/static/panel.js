// The panel's view. State lives in the kernel and arrives in messages; this draws it.
// Whatever a handler or an event says goes in by textContent: text is never markup.

const STATES = ["loading", "starting", "running", "stopping", "stopped", "error", "gated_off"];
const MARKS = { running: "●", starting: "◐", loading: "◌", stopping: "◑", stopped: "○", error: "✕", gated_off: "⊘" };
const LINES_KEPT = 200;
const EVENTS_KEPT = 50;
const VERBS = ["start", "stop", "restart"];
const OUTCOMES = { ok: "✓", error: "✗", running: "…", cancelled: "-" };
const PATIENCE = 300; // milliseconds without an acknowledgement, after which the kernel is called busy

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
    `${handler.calls}${flight}${handler.missed ? `, ${handler.missed} missed` : ""}`,
    String(handler.errors),
    handler.lastError ?? "",
  ];
}

/** The newest lines of two batches, each line once. */
export function mergeLines(kept, fresh, limit = LINES_KEPT) {
  const newest = kept.length ? kept[kept.length - 1].number : 0;
  return [...kept, ...fresh.filter((line) => line.number > newest)].slice(-limit);
}

/** The newest events of two batches, newest first, each once. */
export function mergeEvents(kept, fresh, limit = EVENTS_KEPT) {
  const newest = kept.length ? kept[0].seq : 0;
  return [...fresh.filter((event) => event.seq > newest).reverse(), ...kept].slice(0, limit);
}

/** Where a bar begins and how long it is, in percent of the whole. */
export function barPlace([from, to]) {
  const left = Math.min(Math.max(from, 0), 1) * 100;
  return { left, width: Math.max(1, Math.min(to, 1) * 100 - left) };
}

/** What stands in the place of a worker's state while the loop is held up. */
export function pausedText(worker, paused) {
  return paused && worker.inProcess && worker.state === "running" ? `paused by ${paused}` : "";
}

function traceRow(row) {
  const node = element("div", { cls: `dnw-row dnw-row-${row.sort} dnw-outcome-${row.outcome}`, role: "treeitem", "aria-level": row.depth + 1 });
  node.style.paddingLeft = `${row.depth * 1.1}em`;
  const mark = row.sort === "invocation" ? `${OUTCOMES[row.outcome] ?? "?"} ` : "";
  node.append(element("span", { cls: "dnw-row-text", text: mark + row.text }));
  if (row.bar) {
    const { left, width } = barPlace(row.bar);
    const bar = element("span", { cls: "dnw-bar" });
    bar.style.left = `${left}%`;
    bar.style.width = `${width}%`;
    node.append(element("span", { cls: "dnw-track", "aria-hidden": "true" }, [bar]));
  }
  return node;
}

function workerCard(worker, drive, paused) {
  const known = STATES.includes(worker.state) ? worker.state : "stopped";
  const head = element("div", { cls: "dnw-head" }, [
    element("span", { cls: `dnw-state dnw-${known}`, text: `${MARKS[known]} ${worker.state}` }),
    element("strong", { text: worker.name }),
    element("span", { cls: "dnw-paused", text: pausedText(worker, paused) }),
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
  let events = [];
  let chosen = null;
  let latest = null;
  let paused = null;
  let command = 0;
  const waiting = new Map(); // command id -> [what it does, timer]
  const status = element("div", { cls: "dnw-status", role: "status" });
  const workers = element("div", { cls: "dnw-workers" });
  const tail = element("pre", { cls: "dnw-log", role: "log", tabindex: "0", "aria-label": "log tail" });
  const summary = element("div", { cls: "dnw-muted dnw-summary", text: "waiting for the kernel…" });
  const timeline = element("div", { cls: "dnw-events", role: "listbox", tabindex: "0", "aria-label": "latest events" });
  const trace = element("div", { cls: "dnw-trace", role: "tree", "aria-label": "trace" });
  const root = element("div", { cls: "dnw-panel" }, [
    summary, status, workers,
    element("div", { cls: "dnw-title", text: "events" }), element("div", { cls: "dnw-split" }, [timeline, trace]),
    element("div", { cls: "dnw-title", text: "log" }), tail,
  ]);

  const send = (what, message) => {
    command += 1;
    const id = command;
    const timer = setTimeout(() => {
      if (waiting.has(id)) status.textContent = `${what}: queued: kernel is busy${paused ? ` (${paused})` : ""}`;
    }, PATIENCE);
    waiting.set(id, [what, timer]);
    model.send({ ...message, id });
  };
  const settle = (id, text) => {
    const [what, timer] = waiting.get(id) ?? ["", null];
    clearTimeout(timer);
    waiting.delete(id);
    status.textContent = text(what);
  };
  const drive = (verb, worker) => send(`${verb} ${worker}`, { type: verb, worker });
  const choose = (event) => {
    chosen = event.id;
    drawEvents();
    send(`trace of ${event.kind}`, { type: "trace", event: event.id });
  };

  const drawEvents = () => {
    const kept = timeline.scrollTop;
    timeline.replaceChildren(...events.map((event) => {
      const option = element("button", {
        cls: "dnw-event", type: "button", role: "option", "aria-selected": String(event.id === chosen),
        text: `#${event.seq}  ${event.kind}${event.session ? `  ${event.session}` : ""}`,
      });
      option.addEventListener("click", () => choose(event));
      return option;
    }));
    if (!events.length) timeline.append(element("p", { cls: "dnw-muted", text: "no events yet: %fire one" }));
    timeline.scrollTop = kept;
  };

  const drawWorkers = () => {
    if (!latest) return;
    const focus = document.activeElement?.getAttribute("aria-label");
    workers.replaceChildren(...latest.workers.map((worker) => workerCard(worker, drive, paused)));
    if (!latest.workers.length) workers.append(element("p", { cls: "dnw-muted", text: "no workers yet: run a %%worker cell" }));
    if (focus) [...workers.querySelectorAll("button")].find((b) => b.getAttribute("aria-label") === focus)?.focus();
  };

  const draw = (message) => {
    const { runtime } = message;
    summary.textContent = `runtime ${runtime.id} · ${runtime.url ?? "no server"} · ${runtime.events} events`;
    latest = message;
    paused = message.paused;
    drawWorkers();
    if (message.events.length || message.type === "snapshot") {
      events = mergeEvents(message.type === "snapshot" ? [] : events, message.events);
      drawEvents();
    }
    const following = tail.scrollHeight - tail.scrollTop - tail.clientHeight < 8;
    lines = mergeLines(message.type === "snapshot" ? [] : lines, message.lines);
    tail.replaceChildren(...lines.map((line) =>
      element("div", { cls: `dnw-line dnw-level-${line.level === "error" ? "error" : "info"}` }, [
        element("span", { cls: "dnw-muted", text: `${line.worker}  ` }),
        document.createTextNode(line.text),
        ...(line.image ? [element("img", { cls: "dnw-image", src: line.image, alt: line.text })] : []),
      ])));
    if (following) tail.scrollTop = tail.scrollHeight;
  };

  const receive = (message) => {
    if (message.type === "snapshot" || message.type === "update") draw(message);
    else if (message.type === "paused") {
      paused = message.by;
      drawWorkers();
    } else if (message.type === "queued") {
      if (waiting.has(message.id) && message.by) paused ??= message.by;
    } else if (message.type === "ack") settle(message.id, (what) => `${what}: working…`);
    else if (message.type === "done") settle(message.id, () => "");
    else if (message.type === "failed") settle(message.id, () => message.text);
    else if (message.type === "trace") {
      settle(message.id, () => "");
      trace.replaceChildren(...message.rows.map(traceRow));
    }
  };

  model.on("msg:custom", receive);
  el.append(root);
  model.send({ type: "hello" });
  return () => {
    model.off("msg:custom", receive);
    for (const [, timer] of waiting.values()) clearTimeout(timer);
  };
}

export default { render };
