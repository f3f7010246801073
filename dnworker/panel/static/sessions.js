// Sessions: what was said, what goes on, and what waits for an answer.
import { button, element, redraw } from "./dom.js";

const PHASES = {
  idle: "○ idle",
  running: "● running",
  awaiting_input: "? waits for an answer",
  awaiting_permission: "? waits for leave",
};

/** The answers to a prompt's questions, as the form has them; null while one says nothing. */
export function answersOf(questions, form) {
  const answers = questions.map((question, n) => {
    const picked = form.picked(n);
    const text = form.text(n).trim();
    if (question.kind === "choice") {
      return text
        ? { custom_text: text, was_custom: true, selected_labels: picked }
        : { selected_labels: picked };
    }
    return { text };
  });
  const says = (answer) => Boolean(answer.text || answer.custom_text || answer.selected_labels?.length);
  return answers.every(says) ? answers : null;
}

export class SessionsSection {
  constructor(panel) {
    this.panel = panel;
    this.list = element("div", { cls: "dnw-sessions" });
    this.detail = element("div", { cls: "dnw-detail" });
    this.root = element("div", { cls: "dnw-split" }, [this.list, this.detail]);
    this.chosen = null;
    this.prompts = new Map();
    this.openPrompts = element("div");
    this.rest = element("div");
    this.detail.append(this.openPrompts, this.rest);
    this.takeList({ newest: [], all: 0 });
  }

  takeList({ newest: sessions, all }) {
    if (this.chosen === null && sessions.length) {
      const first = sessions.find((session) => session.prompts) ?? sessions[0];
      this.choose(first.id);
    }
    this.sessions = { newest: sessions, all };
    redraw(
      this.list,
      sessions.length
        ? sessions
            .map((session) => {
              const text = `${PHASES[session.phase]}  ${session.title ?? session.id}`;
              const agent = session.agent ?? "no agent";
              const node = button(text, () => this.choose(session.id), {
                cls: `dnw-entry${session.id === this.chosen ? " dnw-chosen" : ""}`,
              });
              node.dataset.focus = `session ${session.id}`;
              node.append(
                element("span", {
                  cls: "dnw-muted",
                  text: `  ${agent} · ${session.turns} turns · ${session.messages} messages`,
                }),
              );
              return node;
            })
            .concat(
              all > sessions.length
                ? [element("p", { cls: "dnw-muted", text: `and ${all - sessions.length} older ones` })]
                : [],
            )
        : [element("p", { cls: "dnw-muted", text: "no sessions: a handler, or a client, creates them" })],
    );
  }

  choose(id) {
    this.chosen = id;
    this.panel.send({ type: "session", session: id });
    if (this.sessions) this.takeList(this.sessions);
  }

  take({ id, detail }) {
    if (id !== this.chosen) return;
    if (!detail) {
      this.rest.replaceChildren(element("p", { cls: "dnw-muted", text: "this session was deleted" }));
      this.openPrompts.replaceChildren();
      this.prompts.clear();
      this.chosen = null;
      return;
    }
    this.takePrompts(detail);
    const body = [
      element("div", { cls: "dnw-head" }, [
        element("strong", { text: detail.title ?? detail.id }),
        element("span", {
          cls: "dnw-muted",
          text: `${PHASES[detail.phase]} · agent ${detail.agent ?? "none"}`,
        }),
      ]),
    ];
    for (const turn of detail.underWay) {
      const label = `cancel the turn "${turn.message.slice(0, 40)}"`;
      body.push(
        element("div", { cls: "dnw-turn" }, [
          element("span", { text: `${turn.active ? "● under way" : "○ waits"}: ${turn.message}` }),
          " ",
          button(
            "cancel",
            () => this.panel.request(label, { type: "cancel", session: detail.id, turn: turn.id }),
            { label },
          ),
        ]),
      );
    }
    const messages = detail.history.map((message) =>
      element(
        "div",
        {
          cls: `dnw-message dnw-role-${["user", "assistant"].includes(message.role) ? message.role : "tool"}`,
        },
        [
          element("span", {
            cls: "dnw-muted",
            text: message.tool ? `${message.role} ${message.tool}` : message.role,
          }),
          element("pre", { text: message.content }),
        ],
      ),
    );
    redraw(this.rest, [
      ...body,
      ...(messages.length ? messages : [element("p", { cls: "dnw-muted", text: "nothing was said yet" })]),
    ]);
  }

  /** Show the prompts that are open; one that is being answered stays as it is. */
  takePrompts({ id, openPrompts }) {
    const open = new Set(openPrompts.map((prompt) => prompt.request_id));
    for (const [request, node] of this.prompts) {
      if (open.has(request)) continue;
      node.remove();
      this.prompts.delete(request);
    }
    for (const prompt of openPrompts) {
      if (this.prompts.has(prompt.request_id)) continue;
      const node = this.prompt(id, prompt);
      this.prompts.set(prompt.request_id, node);
      this.openPrompts.append(node);
    }
  }

  prompt(session, prompt) {
    const respond = (fields, what) =>
      this.panel.request(what, { type: "respond", session, request: prompt.request_id, ...fields });
    if (prompt.tool_approval) {
      const { tool_name: tool, arguments: given, reason } = prompt.tool_approval;
      return element("section", { cls: "dnw-prompt", "aria-label": `leave to call ${tool}` }, [
        element("strong", { text: `may it call ${tool}?` }),
        element("pre", { text: JSON.stringify(given, null, 2) }),
        element("p", { cls: "dnw-muted", text: reason }),
        element("div", { cls: "dnw-actions" }, [
          button("allow", () => respond({ decision: "allow" }, `allow ${tool}`)),
          button("allow in this session", () =>
            respond({ decision: "allow_session" }, `allow ${tool} in this session`),
          ),
          button("deny", () => respond({ decision: "deny" }, `deny ${tool}`)),
        ]),
      ]);
    }
    const name = `${this.panel.link.view}-${prompt.request_id}`;
    const rows = prompt.questions.map((question, n) => {
      const options = question.options.map((option) => {
        const box = element("input", {
          type: question.multiple ? "checkbox" : "radio",
          name: `${name}-${n}`,
          value: option.label,
        });
        return element("label", { cls: "dnw-check" }, [
          box,
          element("span", { text: option.label }),
          element("span", { cls: "dnw-muted", text: option.description }),
        ]);
      });
      const free = question.kind === "input" || question.custom;
      const text = free
        ? element("input", {
            cls: "dnw-input dnw-wide",
            placeholder: question.kind === "input" ? "your answer" : "or something else",
            "aria-label": question.prompt,
          })
        : null;
      return {
        options,
        text,
        node: element("fieldset", { cls: "dnw-question" }, [
          element("legend", { text: [question.header, question.prompt].filter(Boolean).join(": ") }),
          ...options,
          text,
        ]),
      };
    });
    const form = {
      picked: (n) =>
        rows[n].options
          .map((label) => label.querySelector("input"))
          .filter((box) => box.checked)
          .map((box) => box.value),
      text: (n) => rows[n].text?.value ?? "",
    };
    const problem = element("p", { cls: "dnw-bad", role: "alert" });
    const send = () => {
      const answers = answersOf(prompt.questions, form);
      problem.textContent = answers ? "" : "each question wants an answer";
      if (answers) respond({ answers }, "answer");
    };
    for (const row of rows)
      row.text?.addEventListener("keydown", (event) => event.key === "Enter" && !event.isComposing && send());
    return element("section", { cls: "dnw-prompt", "aria-label": "question" }, [
      ...rows.map((row) => row.node),
      problem,
      element("div", { cls: "dnw-actions" }, [
        button("answer", send, { cls: "dnw-primary" }),
        button("close without an answer", () => respond({}, "close the question")),
      ]),
    ]);
  }
}
