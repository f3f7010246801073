// Capabilities: flags, checks, export.
import { button, element, field, redraw, select } from "../base/dom.js";
import { locationLink } from "./workers.js";

const CHECK_MARKS = { ok: "✓", error: "✗" };

function flagRow(capability, flag, panel) {
  const label = `flag ${flag.name}`;
  const turn = (node) => {
    if (node.getAttribute("aria-disabled") !== "true") {
      panel.request(`${label} ${flag.value ? "off" : "on"}`, {
        type: "flag",
        capability: capability.name,
        flag: flag.name,
        value: !flag.value,
      });
    }
  };
  const node = element("button", {
    cls: "dnw-switch",
    type: "button",
    role: "switch",
    "aria-checked": String(flag.value),
    "aria-label": `${label}: ${flag.value ? "on" : "off"}`,
    title: flag.fixed,
    "aria-disabled": flag.fixed ? "true" : null,
    data: { focus: `${capability.name} ${label}` },
    text: flag.value ? "on" : "off",
    on: { click: () => turn(node) },
  });
  const gates = flag.gates.length ? `gates ${flag.gates.join(", ")}` : "gates no worker";
  const source = { default: "the default", binding: "set by you" }[flag.source] ?? flag.fixed;
  return element("div", { cls: "dnw-flag" }, [
    node,
    element("strong", { text: flag.name }),
    element("span", { text: flag.description }),
    element("span", { cls: "dnw-muted", text: `${gates} · ${source}` }),
  ]);
}

function checks(capability, panel) {
  if (!capability.checks.length) return [];
  return [
    element("div", { cls: "dnw-head" }, [
      element("h4", { cls: "dnw-title", text: "checks" }),
      button(
        "run checks",
        () => panel.request(`checks of ${capability.name}`, { type: "checks", capability: capability.name }),
        { label: `run the checks of ${capability.name}` },
      ),
    ]),
    ...capability.checks.map((check) =>
      element("div", { cls: `dnw-checked dnw-outcome-${check.status}` }, [
        element("span", { text: `${CHECK_MARKS[check.status] ?? "·"} ${check.name}: ${check.status} ` }),
        element("code", { text: check.command }),
        ...(check.error ? [element("pre", { cls: "dnw-error", text: check.error })] : []),
      ]),
    ),
  ];
}

export class CapabilitySection {
  constructor(panel) {
    this.panel = panel;
    this.list = element("div");
    this.path = element("input", {
      cls: "dnw-input dnw-wide",
      value: "out",
      spellcheck: "false",
      "aria-label": "directory to export to",
    });
    this.target = select(
      [
        ["dreadnode", "dreadnode"],
        ["dnworker", "dnworker"],
      ],
      "dreadnode",
      () => {},
      "target",
    );
    this.topology = select(
      [
        ["uv", "uv"],
        ["python", "python"],
        ["in-process", "in-process"],
      ],
      "uv",
      () => {},
      "topology",
    );
    this.force = element("input", { type: "checkbox" });
    this.result = element("div", { cls: "dnw-result" });
    this.exporting = element("div");
    this.root = element("div", {}, [this.list, this.exporting]);
  }

  take({ all, whyNoExport }) {
    redraw(
      this.list,
      all.map((capability) =>
        element("section", { cls: "dnw-capability", "aria-label": `capability ${capability.name}` }, [
          element("div", { cls: "dnw-head" }, [
            element("strong", { text: `${capability.name} ${capability.version}` }),
            element("span", { text: capability.description }),
            element("span", { cls: "dnw-muted", text: capability.root ?? "live, of this notebook" }),
          ]),
          ...(capability.failure ? [element("pre", { cls: "dnw-error", text: capability.failure })] : []),
          ...(capability.flags.length
            ? capability.flags.map((flag) => flagRow(capability, flag, this.panel))
            : [element("p", { cls: "dnw-muted", text: "it has no flags" })]),
          ...checks(capability, this.panel),
        ]),
      ),
    );
    if (!all.length) this.list.append(element("p", { cls: "dnw-muted", text: "no capability is loaded" }));
    if (this.exporting.childElementCount && this.whyNoExport === whyNoExport) return;
    this.whyNoExport = whyNoExport;
    this.exporting.replaceChildren(
      element("h4", { cls: "dnw-title", text: "export" }),
      element("div", { cls: "dnw-tools" }, [
        field("to", this.path),
        field("target", this.target),
        field("topology", this.topology),
        element("label", { cls: "dnw-check" }, [
          this.force,
          element("span", { text: "over what was edited by hand" }),
        ]),
        button("export", () => this.run(), { why: whyNoExport, label: "export the notebook" }),
      ]),
      this.result,
    );
  }

  async run() {
    const path = this.path.value.trim();
    if (!path) {
      this.result.replaceChildren(
        element("p", { cls: "dnw-bad", text: "to which directory? such as out/demo" }),
      );
      this.path.focus();
      return;
    }
    this.result.replaceChildren();
    const answer = await this.panel.request(
      "export",
      {
        type: "export",
        path,
        target: this.target.value,
        topology: this.topology.value,
        force: this.force.checked,
      },
      (text) => this.result.replaceChildren(element("pre", { cls: "dnw-error", text })),
    );
    if (!answer) return;
    const lines = [element("pre", { cls: answer.problems.length ? "dnw-error" : "", text: answer.text })];
    for (const { location, text } of answer.problems) {
      lines.push(
        element("p", { cls: "dnw-problem" }, [
          ...(location ? [locationLink(location, this.panel), ": "] : []),
          element("span", { text }),
        ]),
      );
    }
    this.result.replaceChildren(...lines);
  }
}
