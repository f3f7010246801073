// Sessions: their messages, turns under way, and open prompts.
import { button, element, redraw } from "../base/dom.js";

const PHASES = {
  idle: "○ idle",
  running: "● running",
  awaiting_input: "? waits for an answer",
  awaiting_permission: "? waits for leave",
};

/** The answers to the questions of a prompt, as the form has them; null while one is empty. */
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
  const isGiven = (answer) => Boolean(answer.text || answer.custom_text || answer.selected_labels?.length);
  return answers.every(isGiven) ? answers : null;
}

function messageRow({ role, tool, content }) {
  const known = ["user", "assistant"].includes(role) ? role : "tool";
  return element("div", { cls: `dnw-message dnw-role-${known}` }, [
    element("span", { cls: "dnw-muted", text: tool ? `${role} ${tool}` : role }),
    element("pre", { text: content }),
  ]);
}

/** The prompt that asks for leave to call a tool. */
function approval({ tool_name: tool, arguments: given, reason }, respond) {
  const choice = (text, decision, title) => button(text, () => respond({ decision }, title));
  return element("section", { cls: "dnw-prompt", "aria-label": `leave to call ${tool}` }, [
    element("strong", { text: `may it call ${tool}?` }),
    element("pre", { text: JSON.stringify(given, null, 2) }),
    element("p", { cls: "dnw-muted", text: reason }),
    element("div", { cls: "dnw-actions" }, [
      choice("allow", "allow", `allow ${tool}`),
      choice("allow in this session", "allow_session", `allow ${tool} in this session`),
      choice("deny", "deny", `deny ${tool}`),
    ]),
  ]);
}

/** The prompt that asks questions; `name` is one for its radio buttons. */
function questions(asked, name, respond) {
  const rows = asked.map((question, n) => questionRow(question, `${name}-${n}`));
  const form = { picked: (n) => rows[n].picked(), text: (n) => rows[n].text?.value ?? "" };
  const problem = element("p", { cls: "dnw-bad", role: "alert" });
  const send = () => {
    const answers = answersOf(asked, form);
    problem.textContent = answers ? "" : "each question wants an answer";
    if (answers) respond({ answers }, "answer");
  };
  for (const { text } of rows)
    text?.addEventListener("keydown", (event) => event.key === "Enter" && !event.isComposing && send());
  return element("section", { cls: "dnw-prompt", "aria-label": "question" }, [
    ...rows.map((row) => row.node),
    problem,
    element("div", { cls: "dnw-actions" }, [
      button("answer", send, { cls: "dnw-primary" }),
      button("close without an answer", () => respond({}, "close the question")),
    ]),
  ]);
}

/** One question: its element, its text field if it has one, and what is picked of its options. */
function questionRow(question, name) {
  const type = question.multiple ? "checkbox" : "radio";
  const boxes = question.options.map(({ label }) => element("input", { type, name, value: label }));
  const options = question.options.map((option, n) =>
    element("label", { cls: "dnw-check" }, [
      boxes[n],
      element("span", { text: option.label }),
      element("span", { cls: "dnw-muted", text: option.description }),
    ]),
  );
  const isInput = question.kind === "input";
  const placeholder = isInput ? "your answer" : "or something else";
  const text =
    isInput || question.custom
      ? element("input", { cls: "dnw-input dnw-wide", placeholder, "aria-label": question.prompt })
      : null;
  const legend = element("legend", { text: [question.header, question.prompt].filter(Boolean).join(": ") });
  return {
    node: element("fieldset", { cls: "dnw-question" }, [legend, ...options, text]),
    text,
    picked: () => boxes.filter((box) => box.checked).map((box) => box.value),
  };
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
    const about = `${PHASES[detail.phase]} · agent ${detail.agent ?? "none"}`;
    const nothing = element("p", { cls: "dnw-muted", text: "nothing was said yet" });
    redraw(this.rest, [
      element("div", { cls: "dnw-head" }, [
        element("strong", { text: detail.title ?? detail.id }),
        element("span", { cls: "dnw-muted", text: about }),
      ]),
      ...detail.underWay.map((turn) => this.turnRow(detail.id, turn)),
      ...(detail.history.length ? detail.history.map(messageRow) : [nothing]),
    ]);
  }

  turnRow(session, turn) {
    const label = `cancel the turn "${turn.message.slice(0, 40)}"`;
    const cancel = () => this.panel.request(label, { type: "cancel", session, turn: turn.id });
    return element("div", { cls: "dnw-turn" }, [
      element("span", { text: `${turn.active ? "● under way" : "○ waits"}: ${turn.message}` }),
      " ",
      button("cancel", cancel, { label }),
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
    const respond = (fields, title) =>
      this.panel.request(title, { type: "respond", session, request: prompt.request_id, ...fields });
    if (prompt.tool_approval) return approval(prompt.tool_approval, respond);
    return questions(prompt.questions, `${this.panel.link.view}-${prompt.request_id}`, respond);
  }
}
