"""The panel in a browser with a kernel that is written down: the same parts, the same time, so the same picture."""

from __future__ import annotations

import json
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
    <script type="module" src="/scene.js"></script>
  </head>
  <body class="dnw-page"><main><div id="panel"></div></main></body>
</html>
"""

SCENE = """
import panel from "/panel.js";

const { parts, looks, answers, now } = await (await fetch("/scene.json")).json();

/** Looks like the model of a widget, and answers as it is written down. */
class Model {
  constructor() {
    this.listeners = new Set();
    this.seq = 0;
    this.sent = [];
  }
  get isOpen() {
    return true;
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
      for (const listener of [...this.listeners]) listener({ view, now, ...fields });
    });
  }
  update(view, found) {
    this.seq += 1;
    this.say(view, { type: this.seq === 1 ? "snapshot" : "update", seq: this.seq, ...found });
  }
  send(message) {
    this.sent.push(message);
    const { view, type } = message;
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

window.model = new Model();
panel.render({ model: window.model, el: document.getElementById("panel") });
"""


def show(page: Any, scene: dict[str, Any], *, dark: bool = False) -> None:
    """Draw a scene: `parts` are sent of themselves, `looks` when they are looked at, `answers` by request type.

    The page loads nothing from anywhere else, and its time stands still at `NOW_MS`.
    """
    found = {"parts": {}, "looks": {}, "answers": {}, "now": NOW_MS} | scene
    html = HTML.replace('lang="en"', f'lang="en" data-theme="{"dark" if dark else "light"}"')
    module = assets.module().replace(
        "el.dnwPanel = {", "window.store = store; el.dnwPanel = {"
    )  # to go to places
    files = {
        "/": ("text/html", html),
        "/panel.js": ("text/javascript", module),
        "/panel.css": ("text/css", assets.style()),
        "/scene.js": ("text/javascript", SCENE),
        "/scene.json": ("application/json", json.dumps(found)),
    }

    def answer(route: Any) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        kind, text = files.get(path, ("text/plain", ""))
        route.fulfill(status=200 if path in files else 404, content_type=kind, body=text)

    page.unroute_all()
    page.route(f"{ORIGIN}/**", answer)
    page.clock.set_fixed_time(NOW_MS)
    page.goto(f"{ORIGIN}/")
    page.locator(".dn .top").first.wait_for()
