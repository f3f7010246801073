// What is said of an attachment: its score, its state, its gaps, and which lines one side lacks.
import assert from "node:assert/strict";
import test from "node:test";
import { gapsText, scoreText, stateText } from "../../dnworker/panel/static/base/attached.js";
import { marked } from "../../dnworker/panel/static/views/widgets/attached.js";

test("a score says what differs first, and leaves out what there is none of", () => {
  assert.equal(
    scoreText({ same: 1204, different: 3, pending: 0, unknown: 2 }),
    "3 different, 1,204 same, 2 unknown",
  );
  assert.equal(scoreText({ same: 0, different: 0, pending: 0, unknown: 0 }), "nothing compared yet");
});

test("a runtime that is lost is said with since when, and one that is followed is not", () => {
  const lost = stateText({ state: "lost", since: Date.now(), detail: "refused" });
  assert.match(lost, /^lost since \d\d:\d\d:\d\d: refused; it goes on by itself$/);
  assert.equal(stateText({ state: "following", since: 0, detail: "" }), "");
});

test("gaps are said with their numbers, the last one of several", () => {
  const gap = { after: 4, until: 9, detail: "kept no more" };
  assert.equal(gapsText({ gaps: 1, gap }), "a gap, after #4 and before #9: kept no more");
  assert.equal(
    gapsText({ gaps: 2, gap: { ...gap, until: null } }),
    "2 gaps, the last one after #4: kept no more",
  );
  assert.equal(gapsText({ gaps: 0, gap: null }), "");
});

test("a line is alone where the other side has it less often", () => {
  assert.deepEqual(marked(["a", "a", "b"], ["a", "c"]), [
    ["a", false],
    ["a", true],
    ["b", true],
  ]);
  assert.deepEqual(marked(["a"], null), [["a", true]]);
});
