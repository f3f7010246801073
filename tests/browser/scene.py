"""The panel in a browser with a kernel that is written down: the same parts, the same time, so the same picture."""

from __future__ import annotations

import json
import re
from typing import Any

from dnworker.panel import assets

NOW_MS = 1_795_703_528_000  # 2026-11-26 14:32:08 UTC
ORIGIN = "http://panel.test"

HTML = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>dnworker</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="/panel.css">
    <link rel="stylesheet" href="/frame.css">
    <script type="module" src="/scene.js"></script>
  </head>
  <body class="dnw-page"><main><div id="panel"></div></main></body>
</html>
"""

STYLE = """
.frame { position: fixed; inset: 0; background: var(--dn-bg, #fff); }
.frame > .dn { height: 100%; max-height: none; }
body.states { display: grid; grid-template-columns: 1fr 1fr; gap: 24px; padding: 24px; font: 12px/16px sans-serif; }
body.states .frame { position: relative; inset: auto; height: 400px; margin-top: 12px; }
"""
"""Of pages that stand for a notebook: each panel fills its frame."""

SCENE = """
import panel from "/panel.js";

const scenes = await (await fetch("/scene.json")).json();

/** What a widget's manager knows of a notebook whose kernel is busy or idle. */
function notebookOf(status) {
  const statusChanged = { connect() {}, disconnect() {} };
  const kernel = { status, connectionStatus: "connected", statusChanged, interrupt() {} };
  return { kernel, context: { model: { sharedModel: { cells: [], insertCell() {} } } } };
}

/** Looks like the model of a widget, and answers as it is written down. */
class Model {
  constructor(scene) {
    this.scene = scene;
    this.listeners = new Set();
    this.seq = 0;
    this.sent = [];
    this.isOpen = true;
    this.isDeaf = false;
    if (scene.kernel) this.widget_manager = notebookOf(scene.kernel);
  }
  /** Send all that is looked at once more, as of now. */
  again() {
    if (this.isOpen && !this.isDeaf) this.update(this.view, structuredClone(this.scene.looks));
  }
  change() {
    this.update(this.view, this.scene.later);
  }
  get() {
    return null;
  }
  on(name, listener) {
    if (name === "msg:custom") this.listeners.add(listener);
  }
  off(_, listener) {
    this.listeners.delete(listener);
  }
  say(view, fields) {
    queueMicrotask(() => {
      for (const listener of [...this.listeners]) listener({ view, now: Date.now(), ...fields });
    });
  }
  update(view, found) {
    this.seq += 1;
    this.say(view, { type: this.seq === 1 ? "snapshot" : "update", seq: this.seq, ...found });
  }
  send(message) {
    this.sent.push(message);
    if (message.type === "ping") this.askedAt = Date.now();
    if (this.isDeaf || !this.isOpen) return;
    const { view, type } = message;
    const { parts, looks, answers } = this.scene;
    this.view = view;
    if (type === "hello") {
      this.seq = 0;
      const wanted = Object.keys(message.looks ?? {}).map((part) => [part, looks[part] ?? null]);
      const pieces = (message.parts ?? []).map((part) => [part, parts[part]]);
      const always = ["workers", "runtime", "attention", "clock", "paused"].map((part) => [part, parts[part]]);
      this.update(view, Object.fromEntries([...always, ...pieces, ...wanted].filter(([, v]) => v !== undefined)));
    } else if (type === "look" && message.wanted && looks[message.part] !== undefined)
      this.update(view, { [message.part]: looks[message.part] });
    else if (type === "parts")
      this.update(view, Object.fromEntries(message.parts.filter((p) => p in parts).map((p) => [p, parts[p]])));
    else if (message.id !== undefined) {
      this.say(view, { type: "ack", id: message.id });
      this.say(view, { type: "done", id: message.id, ...(answers[type] ?? {}) });
    }
  }
}

window.models = scenes.map((scene, n) => {
  const model = new Model(scene);
  panel.render({ model, el: document.getElementById(n ? `panel${n}` : "panel") });
  return model;
});
window.model = window.models[0];
"""


def show(page: Any, scene: dict[str, Any], *, dark: bool = False, hosted: bool = False) -> None:
    """Draw a scene: `parts` are sent of themselves, `looks` when they are looked at, `answers` by request type.

    The page loads nothing from anywhere else, and its time stands still at `NOW_MS`. A `hosted` panel is one of
    a notebook, which fills the window.
    """
    html = HTML.replace('lang="en"', f'lang="en" data-theme="{"dark" if dark else "light"}"')
    if hosted:
        body = '<body><div id="panel" class="frame"></div></body>'
        html = html.replace(html[html.index("<body") : html.index("</html>")], body)
    page.clock.set_fixed_time(NOW_MS / 1000)
    _open(page, html, [scene])
    page.locator(".dn .top").first.wait_for()


def show_states(page: Any, scenes: dict[str, dict[str, Any]]) -> None:
    """Draw small panels of a notebook beside each other; `Gone` hears nothing since 14:31:52, `Busy` since 14:32:04."""
    frames = "".join(
        f'<div><b>{title}</b><div class="frame" id="panel{n or ""}"></div></div>'
        for n, title in enumerate(scenes)
    )
    html = HTML.replace('lang="en"', 'lang="en" data-theme="light"')
    body = f'<body class="states">{frames}</body>'
    html = html.replace(html[html.index("<body") : html.index("</html>")], body)
    page.clock.set_fixed_time((NOW_MS - 16_000) / 1000)
    _open(page, html, list(scenes.values()))
    for n in range(len(scenes)):
        page.locator(".frame").nth(n).locator(".ov .verdict, .ov .empty").wait_for()
    gone, busy = ([*scenes].index(title) for title in ("Gone", "Busy"))
    page.evaluate("n => { window.models[n].isOpen = false; }", gone)
    page.get_by_text("Gone since 14:31:52").last.wait_for()
    _ping(page, busy, NOW_MS - 4_450)
    say = "window.models[n].say(window.models[n].view, { type: 'paused', by: 'cell [14]' });"
    page.evaluate(f"n => {{ {say} window.models[n].isDeaf = true; }}", busy)
    _ping(page, busy, NOW_MS - 3_690)
    page.clock.set_fixed_time(NOW_MS / 1000)
    page.get_by_text("Kernel busy 4 s").last.wait_for()
    page.evaluate("window.models.forEach((one) => one.again())")


def _ping(page: Any, panel: int, at: int) -> None:
    """Let a panel ask at this time, in ms since 1970, whether somebody is there."""
    page.clock.set_fixed_time(at / 1000)
    page.wait_for_function("([n, at]) => window.models[n].askedAt === at", arg=[panel, at])


def _open(page: Any, html: str, scenes: list[dict[str, Any]]) -> None:
    found = [
        {"parts": {}, "looks": {}, "answers": {}, "later": {}, "kernel": None} | scene for scene in scenes
    ]
    # A test goes to any place by the store, which the panel keeps to itself.
    module, times = re.subn(r"(?=el\.dnwPanel ?= ?\{)", "window.store ??= store; ", assets.module())
    assert times == 1
    files = {
        "/": ("text/html", html),
        "/panel.js": ("text/javascript", module),
        "/panel.css": ("text/css", assets.style()),
        "/frame.css": ("text/css", STYLE),
        "/scene.js": ("text/javascript", SCENE),
        "/scene.json": ("application/json", json.dumps(found)),
    }

    def answer(route: Any) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        kind, text = files.get(path, ("text/plain", ""))
        route.fulfill(status=200 if path in files else 404, content_type=kind, body=text)

    page.unroute_all()
    page.route(f"{ORIGIN}/**", answer)
    page.goto(f"{ORIGIN}/")
