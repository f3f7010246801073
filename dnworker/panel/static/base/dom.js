// What only the page can do: `copy` puts a text on the clipboard, `download` saves one as a file.

/** Give the browser a text to save. */
export function download(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Put a text on the clipboard; without leave or a secure page, by a selection. Tells whether it is there. */
export async function copy(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const active = near.getRootNode().activeElement;
    const area = document.createElement("textarea");
    area.className = "dnw-offscreen";
    area.setAttribute("aria-hidden", "true");
    area.value = text;
    near.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    active?.focus({ preventScroll: true });
    return done;
  }
}
