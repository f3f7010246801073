// Answers every `demo.ask` with `demo.answered`. All a worker needs is in its environment: where the runtime is, and
// a token of its own. WebSocket cannot send headers here, so a ticket takes the token's place.

const url = process.env.DREADNODE_RUNTIME_URL;
const headers = {
  authorization: `Bearer ${process.env.DREADNODE_RUNTIME_TOKEN}`,
  "content-type": "application/json",
};

if (typeof WebSocket === "undefined") {
  console.error(`Node 22 or later is needed for WebSocket; this is ${process.version}`);
  process.exit(1);
}

async function post(path, body) {
  const answer = await fetch(`${url}${path}`, { method: "POST", headers, body: JSON.stringify(body ?? {}) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
  return answer.json();
}

const publish = (kind, payload) => post("/api/events", { kind, payload });

const handlers = {
  "demo.ask": async (event) => publish("demo.answered", { question: event.payload, by: "node" }),
};

let stopping = false;
let socket;

async function listen() {
  const { ticket } = await post("/api/ws/ticket");
  const query = new URLSearchParams(Object.keys(handlers).map((kind) => ["kinds", kind]));
  query.append("ticket", ticket);
  socket = new WebSocket(`${url.replace(/^http/, "ws")}/api/ws/events?${query}`);
  socket.onopen = () => console.log("listening");
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    handlers[event.kind]?.(event).catch((error) => console.error(`${event.kind}: ${error.message}`));
  };
  await new Promise((resolve) => (socket.onclose = resolve));
}

process.on("SIGTERM", () => {
  stopping = true;
  socket?.close();
});

for (let wait = 250; !stopping; wait = Math.min(wait * 2, 15000)) {
  try {
    await listen();
    wait = 250;
  } catch (error) {
    console.error(error.message);
  }
  if (!stopping) await new Promise((resolve) => setTimeout(resolve, wait));
}
