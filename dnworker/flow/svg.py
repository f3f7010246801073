"""`svg`: a drawing as an SVG file that stands alone, light or dark as its reader prefers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from dnworker.flow.words import shown

_STYLE = """
svg.dnmap{--bg:#fff;--sunken:#f7f7f8;--text:#171a21;--t2:#4f5666;--t3:#666d7c;--line:#e6e6e8;
--line2:#d1d1d3;--ok:#2fa36b;--bad:#d93a42;--badt:#c22129;--tint:#fcefef;--warn:#c98412;--warnt:#8a5600;
--run:#6f86e8;--run2:#9fafef;--off:#666d7c;--wait:#c3c4c6;
font-family:-apple-system,BlinkMacSystemFont,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
@media (prefers-color-scheme:dark){svg.dnmap{--bg:#14171d;--sunken:#1d2025;--text:#eceef2;--t2:#b0b7c4;
--t3:#8f97a6;--line:#2e3136;--line2:#44474c;--ok:#3fb27a;--bad:#f0585f;--badt:#ff8a8a;--tint:#332027;
--warn:#dc9c2e;--warnt:#f2b955;--run:#7288ee;--run2:#55639f;--off:#8f97a6;--wait:#4c4f54}}.dnmap .page{
fill:var(--bg)}.dnmap .band{fill:var(--sunken)}.dnmap text{font-size:11px;fill:var(--t3);
unicode-bidi:isolate}.dnmap .name{font-size:12px;font-weight:600;fill:var(--text)}
.dnmap .kind text.label{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;
fill:var(--text)}.dnmap .box{fill:var(--bg);stroke:var(--line2)}.dnmap .source .box{fill:none}
.dnmap .kind .box{fill:var(--sunken)}.dnmap .bad>.box{fill:var(--tint);stroke:var(--bad);
stroke-width:1.5}.dnmap .failing>.box{stroke:var(--bad)}
.dnmap .bad text.detail,.dnmap .failing text.detail,.dnmap .pill.bad text{fill:var(--badt)}
.dnmap .gated>.box{stroke:var(--off);stroke-dasharray:4 3}.dnmap .unheard>.box{stroke:var(--warn);
stroke-dasharray:3 3}.dnmap .unpublished>.box{stroke:var(--off);stroke-dasharray:3 3}
.dnmap .unheard text.caption,.dnmap .pill.cycle text{fill:var(--warnt)}.dnmap .flow{fill:none;
stroke:var(--run2);stroke-opacity:.75}.dnmap .flow.idle{stroke:var(--wait);stroke-dasharray:2 3;
stroke-opacity:1}.dnmap .flow.gated{stroke:var(--off);stroke-dasharray:4 4;stroke-opacity:1}
.dnmap .flow.cycle{stroke:var(--warn);stroke-opacity:1}.dnmap .flow.bad,.dnmap .core{stroke:var(--bad);
stroke-opacity:1;fill:none}.dnmap .head{fill:none;stroke:var(--run);stroke-width:1.4}.dnmap .head.idle{
stroke:var(--wait)}.dnmap .head.gated{stroke:var(--off)}.dnmap .head.cycle{stroke:var(--warn)}
.dnmap .head.bad{stroke:var(--bad)}.dnmap .pill rect{fill:var(--bg);stroke:var(--line)}
.dnmap .pill text{fill:var(--t2)}.dnmap .dot{fill:var(--ok)}.dnmap .dot.error{fill:var(--bad)}
.dnmap .dot.hollow{fill:none;stroke:var(--off);stroke-width:1.5}.dnmap .dot.gated{
stroke-dasharray:2 1.5}.dnmap .dot.starting{stroke:var(--run)}
"""


def svg(drawing: Mapping[str, Any], title: str = "What flows where") -> str:
    """Return a drawing of `drawing.draw` as the text of an SVG file; no name is markup in it."""
    width, height = drawing["width"], drawing["height"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="dnmap" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-labelledby="dnmap-title dnmap-desc">',
        f'<title id="dnmap-title">{_text(title)}</title>',
        f'<desc id="dnmap-desc">{_text(in_words(drawing))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width:g}" height="{height:g}"/>',
    ]
    for band in drawing["bands"]:
        parts.append(
            f'<rect class="band" x="8" y="{band["y"]:g}" width="1180" height="{band["height"]:g}" rx="6"/>'
        )
        parts.append(f'<text x="20" y="{band["y"] + 18:g}">{_text(band["name"])}</text>')
    order = {"run": 0, "idle": 1, "gated": 2, "cycle": 3, "bad": 4}
    edges = sorted(drawing["edges"], key=lambda edge: (bool(edge["core"]), order[edge["tone"]]))
    parts += [_edge(edge) for edge in edges]
    parts += [_node(node) for node in drawing["nodes"]]
    parts += [_pill(edge["label"]) for edge in edges if edge["label"]]
    return "\n".join([*parts, "</svg>", ""])


def in_words(drawing: Mapping[str, Any]) -> str:
    """Return a drawing as one text, for who does not see it."""
    flows = [edge["told"] for edge in drawing["edges"][:100]]
    found = [f"{one['title']}: {one['text']}" for one in drawing["findings"]]
    return ". ".join([*found, *flows]) or "Nothing is published, and nobody listens"


def _text(text: object) -> str:
    return escape(shown(str(text)), {'"': "&quot;"})


def _edge(edge: Mapping[str, Any]) -> str:
    tone, path = edge["tone"], edge["path"]
    parts = [f"<g><title>{_text(edge['told'])}</title>"]
    parts.append(f'<path class="flow {tone}" d="{path}" stroke-width="{edge["width"]:g}"/>')
    if edge["core"]:
        parts.append(f'<path class="core" d="{path}" stroke-width="{edge["core"]:g}"/>')
    if edge["arrow"]:
        parts.append(f'<path class="head {tone}" d="{edge["arrow"]}"/>')
    return "".join([*parts, "</g>"])


def _node(node: Mapping[str, Any]) -> str:
    x, y, width, height = node["x"], node["y"], node["width"], node["height"]
    is_kind = node["category"] == "kind"
    told = ", ".join(filter(None, [node["name"], node["told"], node["caption"]]))
    parts = [
        f'<g class="{node["category"]} {node["tone"]} {node["mark"]}"><title>{_text(told)}</title>',
        f'<rect class="box" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
        f'rx="{12 if is_kind else 6}"/>',
    ]
    if is_kind:
        middle = x + width / 2
        parts.append(
            f'<text class="label" x="{middle:g}" y="{y + 16:g}" text-anchor="middle">'
            f"{_text(node['label'])}</text>"
        )
        if node["caption"]:
            at = f'x="{middle:g}" y="{y + height + 14:g}"'
            parts.append(f'<text class="caption" {at} text-anchor="middle">{_text(node["caption"])}</text>')
    else:
        indent = 26 if node["category"] == "worker" and node["state"] else 12
        if indent == 26:
            parts.append(_dot(node["state"], x + 15, y + 12))
        parts.append(f'<text class="name" x="{x + indent:g}" y="{y + 16:g}">{_text(node["label"])}</text>')
        parts.append(f'<text class="detail" x="{x + indent:g}" y="{y + 30:g}">{_text(node["detail"])}</text>')
    return "".join([*parts, "</g>"])


def _dot(state: str, x: float, y: float) -> str:
    if state == "error":
        turn = f'transform="rotate(45 {x - 0.5:g} {y - 0.5:g})"'
        return f'<rect class="dot error" x="{x - 4:g}" y="{y - 4:g}" width="7" height="7" rx="1" {turn}/>'
    if state == "running":
        return f'<circle class="dot" cx="{x:g}" cy="{y:g}" r="4"/>'
    look = {"gated_off": "gated", "loading": "starting", "starting": "starting"}.get(state, "")
    return f'<circle class="dot hollow {look}" cx="{x:g}" cy="{y:g}" r="3.3"/>'


def _pill(label: Mapping[str, Any]) -> str:
    x, y, width = label["x"], label["y"], label["width"]
    return (
        f'<g class="pill {label["tone"]}">'
        f'<rect x="{x - width / 2:g}" y="{y - 8:g}" width="{width:g}" height="16" rx="8"/>'
        f'<text x="{x:g}" y="{y + 4:g}" text-anchor="middle">{_text(label["text"])}</text></g>'
    )
