// What the palette finds, and what it marks.
import assert from "node:assert/strict";
import test from "node:test";
import { match, pieces } from "../../dnworker/panel/static/shell/fuzzy.js";

const marked = (query, text) =>
  pieces(text, match(query, text).ranges)
    .map(([piece, isMarked]) => (isMarked ? `[${piece}]` : piece))
    .join("");

test("a piece at the start of a word is better than one within, and that better than letters apart", () => {
  const score = (text) => match("imp", text).score;
  assert.ok(score("importer") > score("csvdrop.imported"));
  assert.ok(score("csvdrop.imported") > score("shrimp"));
  assert.ok(score("shrimp") > score("initial map plan"));
  assert.equal(match("rest", "roll back to generation of csvdrop:importer"), null);
  assert.equal(match("imp", "nothing"), null);
});

test("what fits is marked, letters apart at the starts of words", () => {
  assert.equal(marked("impo", "csvdrop.imported"), "csvdrop.[impo]rted");
  assert.equal(marked("gtr", "Go to Runs"), "[G]o [t]o [R]uns");
  assert.equal(marked("restart imp", "Restart csvdrop:importer"), "[Restart] csvdrop:[imp]orter");
  assert.equal(marked("", "all"), "all");
});

test("letters that are folded to more than one are found as they are", () => {
  assert.equal(marked("İst", "İstanbul"), "[İst]anbul");
  assert.equal(match("xyz", "İstanbul"), null);
});

test("a shorter text is better than a longer one that fits as well", () => {
  assert.ok(match("pay", "payment").score > match("pay", "payment-of-everything").score);
});
