// Where the focus goes when what had it is gone.
import { useLayoutEffect } from "../vendor/vendor.js";

/** Give the focus to the first button of what took the place of the part that had it; elsewhere it stays. */
export function useLostFocus(root) {
  useLayoutEffect(() => {
    const active = root.current?.getRootNode().activeElement;
    if (!active || active === document.body) root.current?.querySelector("button")?.focus();
  }, []);
}
