// The panel as a page of `dnworker serve`: a session by cookie, a socket that comes back.
import panel from "./panel.js";

const LONGEST_WAIT = 10_000;
const el = document.getElementById("panel");
const form = document.getElementById("login");
const problem = document.getElementById("problem");

// Below this path is the session of this browser, and only there is its cookie sent. Nothing else knows the path:
// it is kept with this tab's entry of the history, and told to other tabs of this origin that ask.
let home = history.state?.home ?? null;

// What a proxy has put before the runtime's own paths, such as /dnworker; runtimes of one origin differ in it.
const base = new URL(".", location.href).pathname.slice(0, -1);
const tabs = new BroadcastChannel(`dnworker-panel${base}`);
const TABS_WAIT = 300;

function moveTo(path) {
  home = path;
  history.replaceState({ home }, "", location.pathname);
}

tabs.addEventListener("message", (event) => {
  if (event.data?.type === "asks" && home) tabs.postMessage({ type: "home", home });
});

/** Ask the other tabs where the session is; returns null when none of them knows. */
function homeOfOthers() {
  return new Promise((found) => {
    const settle = (path) => {
      tabs.removeEventListener("message", listen);
      clearTimeout(over);
      found(path);
    };
    const listen = (event) => event.data?.type === "home" && settle(event.data.home);
    const over = setTimeout(() => settle(null), TABS_WAIT);
    tabs.addEventListener("message", listen);
    tabs.postMessage({ type: "asks" });
  });
}

/** Looks like the model of a widget: sends and receives messages, over a WebSocket. */
class SocketModel {
  constructor() {
    this.listeners = new Set();
    this.waiting = 250;
    this.open();
  }

  open() {
    const socket = new WebSocket(
      `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${home}/ws`,
    );
    this.socket = socket;
    const listen = (name, hear) =>
      socket.addEventListener(name, (event) => this.socket === socket && hear(event));
    listen("open", () => {
      this.waiting = 250;
      el.dnwPanel?.link.lost(); // requests of the socket before are not answered on this one
      el.dnwPanel?.link.hello();
    });
    listen("message", (event) => {
      const message = JSON.parse(event.data);
      for (const listener of [...this.listeners]) listener(message);
    });
    listen("close", (event) => {
      el.dnwPanel?.link.lost();
      if (event.code === 4401 || event.code === 4402) {
        askForToken("the session is over; give the token again");
        return;
      }
      this.timer = setTimeout(() => this.again(), this.waiting);
      this.waiting = Math.min(LONGEST_WAIT, this.waiting * 2);
    });
  }

  /** Connect at once, not only when the next try is due. */
  connectAgain() {
    clearTimeout(this.timer);
    if (this.socket.readyState === WebSocket.CLOSED) this.again();
  }

  /** Connect again, if there is still a session: a refused handshake gives no reason. */
  async again() {
    if (this.isTrying) return; // one try at a time, whoever asks for it
    this.isTrying = true;
    const may = await mayLook();
    this.isTrying = false;
    if (may === false) askForToken("the session is over; give the token again");
    else this.open();
  }

  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  on(name, listener) {
    if (name === "msg:custom") this.listeners.add(listener);
  }

  off(_, listener) {
    this.listeners.delete(listener);
  }

  send(message) {
    if (this.isOpen) this.socket.send(JSON.stringify(message));
  }

  get() {
    return null;
  }
}

/** Whether this browser has a session; null when nobody answers. */
async function mayLook() {
  if (!home) {
    const path = await homeOfOthers();
    if (!path) return false;
    moveTo(path);
  }
  try {
    return (await (await fetch(`${home}/session`, { credentials: "same-origin" })).json()).ok;
  } catch {
    return null;
  }
}

async function login(fields) {
  try {
    const answer = await fetch(`${base}/panel/session`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...fields, base }),
      credentials: "same-origin",
    });
    const { path, detail } = await answer.json();
    if (answer.ok) moveTo(path);
    if (answer.ok || (await mayLook()))
      start(); // a link that was used is no matter where the session goes on
    else askForToken(detail);
  } catch (failure) {
    askForToken(`the runtime does not answer: ${failure.message}`);
  }
}

function askForToken(text) {
  el.dnwPanel?.close();
  el.replaceChildren();
  el.dnwPanel = null;
  form.hidden = false;
  problem.textContent = text;
  form.elements.token.focus();
}

function start() {
  form.hidden = true;
  problem.textContent = "";
  panel.render({ model: new SocketModel(), el });
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => {
  document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
};
dark.addEventListener("change", paint);
paint();

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const token = form.elements.token.value.trim();
  form.elements.token.value = "";
  login({ token });
});

/** Take the ticket out of the address, if there is one, and use it. */
function useTicket() {
  const ticket = /^#ticket=([\w-]+)$/.exec(location.hash)?.[1];
  if (location.hash) history.replaceState(history.state, "", location.pathname);
  if (ticket && !el.dnwPanel) login({ ticket });
  return Boolean(ticket);
}

window.addEventListener("hashchange", useTicket);
if (!useTicket()) {
  if (await mayLook()) start();
  else askForToken("");
}
