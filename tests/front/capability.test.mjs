// What the panel says of an MCP server.
import assert from "node:assert/strict";
import test from "node:test";
import { said } from "../../dnworker/panel/static/views/capability/servers.js";

const server = (more) => ({ status: "ok", error: null, detail: null, tools: [], toolCount: 0, ...more });

test("a server that is connected names its tools, and how many are not shown", () => {
  assert.equal(said(server({ tools: ["read"], toolCount: 1 })), "1 tool: read");
  assert.equal(said(server({ tools: ["a", "b"], toolCount: 70 })), "70 tools: a, b and 68 more");
  assert.equal(said(server({})), "No tools");
  assert.equal(said(server({ detail: "1 tool is not offered" })), "No tools. 1 tool is not offered");
});

test("one that is not says why, and what to do", () => {
  assert.equal(said(server({ status: "error", error: "it exited", detail: "Check" })), "it exited. Check");
  assert.equal(said(server({ status: "connecting" })), "");
});
