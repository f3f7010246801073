// Where the entries of the log are on the screen: all have one height, except those that are open or wrapped. Pure.

/** The entries that are taller than a row, by position, and where each begins. */
export class Heights {
  constructor(row) {
    this.row = row;
    this.extra = new Map(); // position -> pixels beyond the row
    this.index = null;
  }

  get(position) {
    return this.row + (this.extra.get(position) ?? 0);
  }

  /** Note how tall an entry is; returns whether that is new. */
  set(position, height) {
    const extra = Math.max(0, height - this.row);
    if (extra === (this.extra.get(position) ?? 0)) return false;
    if (extra) this.extra.set(position, extra);
    else this.extra.delete(position);
    this.index = null;
    return true;
  }

  /** Forget those below a position, or all. */
  forget(first = Number.POSITIVE_INFINITY) {
    for (const position of this.extra.keys()) {
      if (position >= first) continue;
      this.extra.delete(position);
      this.index = null;
    }
  }

  /** The tall positions in order, and the pixels beyond rows before each. */
  sums() {
    if (this.index) return this.index;
    const positions = [...this.extra.keys()].sort((a, b) => a - b);
    const before = [0];
    for (const position of positions) before.push(before.at(-1) + this.extra.get(position));
    this.index = { positions, before };
    return this.index;
  }

  /** How many pixels below the entry `first` another one begins. */
  top(first, position) {
    const { positions, before } = this.sums();
    const extra = before[indexOf(positions, position)] - before[indexOf(positions, first)];
    return (position - first) * this.row + extra;
  }

  /** The entry of `[first, end)` at so many pixels below the first; the last where that is below all. */
  at(first, end, pixels) {
    let [low, high] = [first, Math.max(first, end - 1)];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.top(first, middle) <= pixels) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** How many of these, which are in order, are less than a value. */
function indexOf(values, value) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
