// A link to the page of a notebook's runtime. Each click gets a ticket from the kernel, so that no output keeps one.
const PATIENCE = 5000; // milliseconds

function render({ model, el }) {
  const link = document.createElement("a");
  link.href = model.get("url");
  link.target = "_blank";
  link.rel = "noopener";
  link.textContent = model.get("text");
  link.style.color = "var(--jp-content-link-color, LinkText)"; // JupyterLab takes colour and line from links
  link.style.textDecoration = "underline";
  const note = document.createElement("span");
  note.setAttribute("role", "status");
  el.append(link, " ", note);
  let opened = null; // the tab that waits for its address
  let timer = null;

  const end = (text) => {
    clearTimeout(timer);
    note.textContent = text;
    opened?.close();
    opened = null;
  };
  const ask = (event) => {
    event.preventDefault();
    opened?.close();
    opened = window.open("", "_blank"); // now: a tab that opens later is taken for an advertisement
    if (!opened) {
      note.textContent = "The browser blocked the tab; allow this page to open tabs";
      return;
    }
    opened.opener = null;
    note.textContent = "";
    clearTimeout(timer);
    timer = setTimeout(() => end("The kernel is busy, or gone; click again when it is idle"), PATIENCE);
    model.send({ type: "ticket" });
  };
  const receive = (message) => {
    if (!opened) return; // another view of this link was clicked
    if (message.type === "refused") end(message.text);
    if (message.type !== "ticket") return;
    clearTimeout(timer);
    opened.location.replace(message.url);
    opened = null;
  };
  link.addEventListener("click", ask);
  model.on("msg:custom", receive);
  return () => {
    end("");
    model.off("msg:custom", receive);
  };
}

export default { render };
