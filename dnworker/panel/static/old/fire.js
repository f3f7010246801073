// Firing by hand: a kind, a payload, and what became of it.
import { button, element, field, redraw, select, setOptions } from "../base/dom.js";
import { TraceView } from "./trace.js";
import { jsonProblem, timeOfDay } from "../base/text.js";

export class FireSection {
  constructor(panel) {
    this.panel = panel;
    this.untouched = true;
    const kinds = `dnw-kinds-${Math.random().toString(36).slice(2)}`;
    this.kinds = element("datalist", { id: kinds });
    this.kind = element("input", {
      cls: "dnw-input dnw-wide",
      list: kinds,
      placeholder: "turn.completed",
      spellcheck: "false",
      autocomplete: "off",
      "aria-label": "kind to fire",
    });
    this.known = new Set();
    this.kind.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.known.has(this.kind.value.trim()) && this.prefill(), 200);
    });
    this.kind.addEventListener("change", () => this.prefill());
    this.session = element("input", {
      cls: "dnw-input",
      placeholder: "none",
      spellcheck: "false",
      "aria-label": "session to fire in",
    });
    this.worker = select([["", "all that listen"]], "", () => {}, "worker to fire at");
    this.payload = this.makeEditor();
    this.problem = element("p", { cls: "dnw-bad", id: `${kinds}-problem`, "aria-live": "polite" });
    this.payload.setAttribute("aria-describedby", this.problem.id);
    this.source = element("span", { cls: "dnw-muted" });
    this.go = button("fire", () => this.fire(), { cls: "dnw-primary", label: "fire the event" });
    this.history = element("div", { cls: "dnw-history" });
    this.trace = new TraceView(panel);
    this.root = this.layout();
  }

  makeEditor() {
    const editor = element("textarea", {
      cls: "dnw-input dnw-editor",
      rows: "8",
      spellcheck: "false",
      "aria-label": "payload",
    });
    editor.value = "{}";
    editor.addEventListener("input", () => {
      this.untouched = false;
      this.source.textContent = "";
      clearTimeout(this.judging);
      this.judging = setTimeout(() => this.judge(), 300);
    });
    editor.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.fire();
    });
    return editor;
  }

  layout() {
    return element("div", { cls: "dnw-split dnw-fire" }, [
      element("div", {}, [
        element("div", { cls: "dnw-tools" }, [
          field("kind", this.kind),
          field("session", this.session),
          field("worker", this.worker),
        ]),
        this.kinds,
        element("div", {}, [this.payload]),
        this.problem,
        element("div", { cls: "dnw-actions" }, [
          this.go,
          button("suggest a payload", () => this.suggest()),
          this.source,
        ]),
        element("h3", { cls: "dnw-title", text: "fired from here" }),
        this.history,
      ]),
      this.trace.root,
    ]);
  }

  /** Put an event into the editor. */
  edit({ kind, payload, session, worker = null }) {
    this.kind.value = kind;
    this.session.value = session ?? "";
    this.chooseWorker(worker ?? "");
    this.payload.value = payload;
    this.untouched = false;
    this.source.textContent = "";
    this.judge();
    this.payload.focus();
  }

  /** The same, unless people wrote something, or are about to. */
  prefill() {
    const isWanted = () => this.untouched && this.payload.getRootNode().activeElement !== this.payload;
    if (isWanted()) this.suggest(isWanted);
  }

  /** Put a likely payload into the editor, if that is still wanted when it comes. */
  async suggest(isWanted = () => true) {
    const kind = this.kind.value.trim();
    if (!kind) return;
    const answer = await this.panel.request(`payload of ${kind}`, { type: "suggest", kind });
    if (!answer || this.kind.value.trim() !== kind || !isWanted()) return;
    this.payload.value = answer.payload;
    this.untouched = true;
    this.source.textContent = answer.source;
    this.judge();
  }

  judge() {
    const found = jsonProblem(this.payload.value);
    const text = found ? `payload, line ${found.line}, column ${found.column}: ${found.message}` : "";
    if (this.problem.textContent !== text) this.problem.textContent = text;
    this.payload.setAttribute("aria-invalid", String(Boolean(found)));
    return found;
  }

  async fire() {
    const kind = this.kind.value.trim();
    if (!kind) {
      this.problem.textContent = "an event needs a kind, such as turn.completed";
      this.kind.focus();
      return;
    }
    const found = this.judge();
    if (found) {
      const start =
        this.payload.value
          .split("\n")
          .slice(0, found.line - 1)
          .join("\n").length +
        (found.line > 1 ? 1 : 0) +
        found.column -
        1;
      this.payload.focus();
      this.payload.setSelectionRange(start, start + 1);
      return;
    }
    await this.panel.fire(`fire ${kind}`, {
      type: "fire",
      kind,
      payload: this.payload.value,
      session: this.session.value.trim() || null,
      worker: this.worker.value || null,
    });
  }

  chooseWorker(chosen = this.worker.value) {
    setOptions(
      this.worker,
      [["", "all that listen"], ...this.panel.state.order.map((name) => [name, name])],
      chosen,
    );
  }

  update() {
    this.chooseWorker();
    this.trace.show(this.panel.state);
  }

  historyRow(entry) {
    const payload = (entry.payload ?? "").replace(/\s+/g, " ").slice(0, 60);
    const text = `${timeOfDay(entry.at).slice(0, 8)} ${entry.kind} ${payload}`;
    const why = entry.payload === null ? "its payload is too long to edit here" : null;
    return button(text, () => this.edit(entry), { cls: "dnw-entry", why });
  }

  take({ kinds, history }) {
    this.known = new Set(kinds);
    this.kinds.replaceChildren(...kinds.map((kind) => element("option", { value: kind })));
    redraw(
      this.history,
      history.length
        ? history.map((entry) => this.historyRow(entry))
        : [element("p", { cls: "dnw-muted", text: "nothing yet" })],
    );
  }
}
