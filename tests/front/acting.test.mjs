// What is done from several views: each command says what it did, and takes it back where it can.
import assert from "node:assert/strict";
import test from "node:test";
import { dismiss } from "../../dnworker/panel/static/base/acting.js";

const ROW = { id: 7, error: "ValueError: bad ping" };

function stage(answers) {
  const sent = [];
  const toasts = [];
  const store = {
    request: async (title, message) => {
      sent.push([title, message]);
      return answers[message.type] ?? null;
    },
    toast: (text, more = {}) => toasts.push({ text, ...more }),
  };
  return { store, sent, toasts };
}

test("a row that is dismissed is brought back by the toast, which offers no more", async () => {
  const { store, sent, toasts } = stage({ dismiss: { count: 1 }, restore: { count: 1 } });
  await dismiss(store, ROW);
  assert.equal(toasts[0].text, "Dismissed: ValueError: bad ping");
  assert.equal(toasts[0].action.label, "Undo");
  await toasts[0].action.run();
  assert.deepEqual(sent, [
    ["Dismiss", { type: "dismiss", row: 7 }],
    ["Undo", { type: "restore", row: 7 }],
  ]);
  assert.deepEqual(toasts[1], { text: "Restored: ValueError: bad ping" });
});

test("a row that is not dismissed offers nothing to take back", async () => {
  const { store, toasts } = stage({});
  await dismiss(store, ROW);
  assert.deepEqual(toasts, []);
});
