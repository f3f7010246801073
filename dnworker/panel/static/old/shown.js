// What handlers displayed. HTML is in a sandboxed frame, with an origin of its own: nothing in it reaches the panel.
import { element } from "../base/dom.js";

/** The element of something displayed: its type, content, height and whether it runs scripts come from the kernel. */
export function shownElement(shown, label) {
  switch (shown.type) {
    case "image":
      return element("img", { cls: "dnw-image", src: shown.content, alt: label });
    case "frame": {
      // The sandbox is set before the document, or the document would run without it.
      const frame = element("iframe", {
        cls: "dnw-frame",
        sandbox: shown.scripts ? "allow-scripts" : "",
        loading: "lazy",
        referrerpolicy: "no-referrer",
        title: label || shown.mime,
      });
      frame.style.height = `${shown.height}px`;
      frame.setAttribute("srcdoc", shown.content);
      return frame;
    }
    case "json":
      return element("details", { cls: "dnw-json" }, [
        element("summary", { text: shown.mime }),
        element("pre", { text: shown.content, tabindex: "0" }),
      ]);
    case "text":
      return element("pre", { text: shown.content, tabindex: "0" });
    default:
      return element("div", { cls: "dnw-muted", text: `(${shown.content})` });
  }
}
