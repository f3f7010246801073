// The lines of the log that the browser knows.
import assert from "node:assert/strict";
import test from "node:test";
import { LineCache, missing } from "../../dnworker/panel/static/old/log.js";

test("the cache of lines forgets those farthest from where people look", () => {
  const cache = new LineCache(4);
  cache.add(
    [1, 2, 3, 4].map((position) => ({ position })),
    2,
  );
  cache.add([{ position: 100 }], 2);
  assert.deepEqual(
    [1, 2, 3, 4, 100].map((position) => Boolean(cache.get(position))),
    [true, true, true, false, false],
  );
});

test("the first line that is not known is asked for", () => {
  const cache = new LineCache();
  cache.add([{ position: 10 }, { position: 11 }], 10);
  assert.equal(missing(cache, 10, 15), 12);
  assert.equal(missing(cache, 10, 12), null);
});
