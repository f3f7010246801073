// The answers to the questions of a prompt.
import assert from "node:assert/strict";
import test from "node:test";
import { answersOf } from "../../dnworker/panel/static/old/sessions.js";

test("answers are of the question's form, and an empty one is none", () => {
  const form = (picked, text) => ({ picked: () => picked, text: () => text });
  const choice = { kind: "choice" };
  assert.deepEqual(answersOf([choice], form(["red"], "")), [{ selected_labels: ["red"] }]);
  assert.deepEqual(answersOf([choice], form([], " green ")), [
    { custom_text: "green", was_custom: true, selected_labels: [] },
  ]);
  assert.deepEqual(answersOf([{ kind: "input" }], form([], "hello")), [{ text: "hello" }]);
  assert.equal(answersOf([choice, { kind: "input" }], form([], "")), null);
});
