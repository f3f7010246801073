// `useToast`: the short text that a store has, which goes by itself; the panel and the widgets show it.
import { useEffect, useState } from "../vendor/vendor.js";
import { useStore } from "./store.js";

const SHOWN = 5000; // milliseconds

/**
 * The toast, or null. `hold` are the handlers that keep it while it is read, `close()` takes it away, and `act()` does
 * what it offers: it is gone first, so that what that says is shown.
 */
export function useToast() {
  const store = useStore();
  const toast = store.toasted.value;
  const [isHeld, setHeld] = useState(false); // under the pointer, or with the focus: somebody reads it
  const close = () => {
    store.toasted.value = null;
  };
  useEffect(() => {
    if (!toast || isHeld) return undefined;
    const timer = setTimeout(close, SHOWN);
    return () => clearTimeout(timer);
  }, [toast, isHeld]);
  useEffect(() => setHeld(false), [toast]);
  const act = () => {
    close();
    toast.action.run();
  };
  const hold = {
    onPointerEnter: () => setHeld(true),
    onPointerLeave: () => setHeld(false),
    onFocusIn: () => setHeld(true),
    onFocusOut: () => setHeld(false),
  };
  return { toast, hold, close, act };
}
