// The answers to the questions of a prompt.
import assert from "node:assert/strict";
import test from "node:test";
import { answersOf, firstOf, pick } from "../../dnworker/panel/static/views/sessions/answers.js";

test("answers are of the question's form, and an empty one is none", () => {
  const form = (picked, text) => [{ picked, text }];
  const choice = { kind: "choice" };
  assert.deepEqual(answersOf([choice], form(["red"], "")), [{ selected_labels: ["red"] }]);
  assert.deepEqual(answersOf([choice], form([], " green ")), [
    { custom_text: "green", was_custom: true, selected_labels: [] },
  ]);
  assert.deepEqual(answersOf([{ kind: "input" }], form([], "hello")), [{ text: "hello" }]);
  assert.equal(
    answersOf(
      [choice, { kind: "input" }],
      [
        { picked: [], text: "" },
        { picked: [], text: "" },
      ],
    ),
    null,
  );
});

test("of several options one is picked, or any number", () => {
  assert.deepEqual(pick({ multiple: false }, ["a"], "b"), ["b"]);
  assert.deepEqual(pick({ multiple: true }, ["a"], "b"), ["a", "b"]);
  assert.deepEqual(pick({ multiple: true }, ["a", "b"], "a"), ["b"]);
});

test("a session that asks is shown first", () => {
  assert.equal(
    firstOf([
      { id: "new", prompts: 0 },
      { id: "asks", prompts: 1 },
    ]),
    "asks",
  );
  assert.equal(firstOf([{ id: "new", prompts: 0 }]), "new");
  assert.equal(firstOf([]), null);
});
