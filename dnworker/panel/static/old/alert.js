// What failed, above all tabs: seen by those who look, announced to those who listen.
import { debugButton } from "./debug.js";
import { button, element, redraw } from "../base/dom.js";
import { locationLink } from "./workers.js";
import { cellOf, count, failures } from "../base/text.js";

const SHOWN = 5;
const ANNOUNCE_EVERY = 5000; // milliseconds: not more often than people can listen

/** One line about a failure. */
function summaryOf({ worker, handler, text, storm, count: times }) {
  const first = text.split("\n")[0];
  if (storm) return `✗ ${worker}: ${first}`;
  if (!handler) return `✗ ${worker} is in error: ${first}`;
  return `✗ ${worker}.${handler} failed${times > 1 ? ` ${count(times)} times, last` : ""}: ${first}`;
}

/** What makes a failure another one. A task that crashes for ever in one way stays the same. */
function identity({ worker, handler, text, count: times, endless }) {
  return `${worker}.${handler} ${text} ${endless ? "" : times}`;
}

export class FailureAlert {
  constructor(panel) {
    this.panel = panel;
    this.root = element("div", { cls: "dnw-trouble", role: "group", "aria-label": "what failed" });
    this.root.hidden = true;
    this.spoken = element("div", { cls: "dnw-offscreen", "aria-live": "polite" });
    // by identity
    this.dismissed = new Set();
    this.known = new Set();
    this.shown = null;
    this.announcedAt = 0;
  }

  /** Draw anew at the next update. */
  reset() {
    this.shown = null;
  }

  update(workers) {
    const found = failures(workers);
    const names = found.map(identity);
    this.root.hidden = names.every((name) => this.dismissed.has(name));
    for (const name of this.dismissed) if (!names.includes(name)) this.dismissed.delete(name);
    const shown = JSON.stringify(
      found.map(({ worker, handler, text, count: n }) => [worker, handler, text, n]),
    );
    if (shown === this.shown) return;
    this.shown = shown;
    this.draw(found, names);
    const fresh = found.find((_, n) => !this.known.has(names[n]));
    this.known = new Set(names);
    if (fresh) this.announce(`${fresh.handler ?? fresh.worker} failed: ${fresh.text.split("\n")[0]}`);
  }

  draw(found, names) {
    const more = found.length - SHOWN;
    const dismiss = () => {
      this.dismissed = new Set(names);
      this.root.hidden = true;
    };
    redraw(this.root, [
      ...found.slice(0, SHOWN).map((failure) => this.row(failure)),
      ...(more > 0 ? [element("span", { cls: "dnw-muted", text: `and ${more} more` })] : []),
      button("dismiss", dismiss, { label: "dismiss what failed", cls: "dnw-dismiss" }),
    ]);
  }

  row(failure) {
    const { panel } = this;
    const { worker, handler, location, event, origin } = failure;
    const showEvent = () => panel.showEvent(event);
    const showWorkers = () => panel.show("workers");
    const resume = { type: "control", verb: "resume", worker };
    const label = `deliver what is held of ${worker}`;
    const deliver = () => panel.request(`resume of ${worker}`, resume);
    return element("div", { cls: "dnw-head" }, [
      element("span", { cls: "dnw-bad", text: summaryOf(failure) }),
      ...(location ? [locationLink(location, panel)] : []),
      ...(origin?.length ? [element("span", { cls: "dnw-muted", text: origin.join(" · ") })] : []),
      ...(failure.held ? [button(`deliver ${count(failure.held)} held`, deliver, { label })] : []),
      event
        ? button("show the event", showEvent, { label: `show the event that made ${handler ?? worker} fail` })
        : button("show the worker", showWorkers, { label: `show ${worker}` }),
      ...(event && cellOf(location) ? [debugButton(failure, panel, this.root)] : []),
    ]);
  }

  announce(text) {
    clearTimeout(this.announcing);
    const wait = Math.max(0, this.announcedAt + ANNOUNCE_EVERY - Date.now());
    this.announcing = setTimeout(() => {
      this.announcedAt = Date.now();
      this.spoken.textContent = text;
    }, wait);
  }

  close() {
    clearTimeout(this.announcing);
  }
}
