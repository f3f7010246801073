// Updates wait while a button is pressed, and never for longer than two seconds.
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { holdWhilePressed } from "../../dnworker/panel/static/shell/holding.js";

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
});

const happens = (target, type, fields = {}) => target.dispatchEvent(Object.assign(new Event(type), fields));

function scene() {
  const [root, page] = [new EventTarget(), new EventTarget()];
  const taken = [];
  const store = {
    held: null,
    receive: (message) => (store.held ? store.held.push(message) : taken.push(message)),
  };
  const end = holdWhilePressed(root, store, page);
  return { root, page, store, taken, end };
}

for (const ending of ["pointerup", "pointercancel", "dragend", "contextmenu", "blur", "visibilitychange"])
  test(`what came while a button was pressed is taken after ${ending}`, () => {
    const { root, page, store, taken } = scene();
    happens(root, "pointerdown", { button: 0 });
    store.receive(1);
    assert.deepEqual(taken, []);
    happens(page, ending);
    assert.deepEqual(taken, [], "the click that follows comes first");
    mock.timers.tick(0);
    assert.deepEqual(taken, [1]);
  });

test("a pointerup that is lost holds updates for two seconds at most", () => {
  const { root, store, taken } = scene();
  happens(root, "pointerdown", { button: 0 });
  store.receive(1);
  mock.timers.tick(2000);
  store.receive(2);
  assert.deepEqual(taken, [1, 2]);
});

test("a field that loses the focus by the press ends nothing", () => {
  const { root, page, store, taken } = scene();
  happens(root, "pointerdown", { button: 0 });
  store.receive(1);
  const blur = new Event("blur");
  Object.defineProperty(blur, "target", { value: root });
  page.dispatchEvent(blur);
  mock.timers.tick(0);
  assert.deepEqual(taken, []);
});

test("another button than the first holds nothing", () => {
  const { root, store, taken } = scene();
  happens(root, "pointerdown", { button: 2 });
  store.receive(1);
  assert.deepEqual(taken, [1]);
});

test("a panel that goes away keeps nothing", () => {
  const { root, store, taken, end } = scene();
  happens(root, "pointerdown", { button: 0 });
  store.receive(1);
  end();
  happens(root, "pointerdown", { button: 0 });
  store.receive(2);
  assert.deepEqual(taken, [1, 2]);
});
