"""What is wider than the panel that it is in: nothing may be, however narrow the panel is."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator
from playwright.sync_api import TimeoutError as NotInTime

TOO_WIDE = """(panel) => {
  if (panel.scrollWidth <= panel.clientWidth) return [];
  const end = panel.getBoundingClientRect().left + panel.clientLeft + panel.clientWidth;
  const holds = (style) =>
    style.position !== "static" || style.transform !== "none" || style.filter !== "none" || style.contain !== "none";
  const isCut = (element) => {  // by one that is within the panel: then it makes nothing else wider
    let { position } = getComputedStyle(element);
    for (let above = element.parentElement; above && above !== panel; above = above.parentElement) {
      const style = getComputedStyle(above);
      if (position === "absolute" && !holds(style)) continue;
      if (style.overflowX !== "visible") return true;
      position = style.position;
    }
    return false;
  };
  const nameOf = (element) => {
    const classes = [...element.classList].map((name) => `.${name}`).join("");
    return `${element.localName}${classes} "${element.textContent.trim().slice(0, 60)}"`;
  };
  const endOf = (element) => {  // of its box, and of its own text, which may be wider
    const range = document.createRange();
    const rights = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((text) => {
      range.selectNodeContents(text);
      return range.getBoundingClientRect().right;
    });
    return Math.max(element.getBoundingClientRect().right, ...rights);
  };
  const isClip = (element) => getComputedStyle(element).overflowX !== "visible";
  const found = [...panel.querySelectorAll("*")]
    .map((element) => [element, isClip(element) ? element.getBoundingClientRect().right : endOf(element)])
    .filter(([element, right]) => right > end && !isCut(element))
    .map(([element, right]) => `${nameOf(element)} ends ${(right - end).toFixed(2)} px beyond it`);
  return [`${panel.scrollWidth} px in a panel of ${panel.clientWidth} px`, ...found];
}"""
"""Returns nothing, or how wide the panel's content is, and the elements that make it so."""

LIMIT_MS = 60_000
"""In which a panel that has got another width is drawn anew, on a busy machine, too."""


def too_wide(page: Any, panel: Locator) -> list[str]:
    """Return what is still wider than a panel when it had the time to be drawn anew; nothing if all fits."""
    node = panel.element_handle()
    try:
        page.wait_for_function(f"(panel) => !({TOO_WIDE})(panel).length", arg=node, timeout=LIMIT_MS)
    except NotInTime:
        state: list[str] = panel.evaluate(TOO_WIDE)
        return state or ["it fits now, but did not within the time, or the page drew no frame"]
    return []
