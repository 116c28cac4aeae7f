// One event or request that the page does not hold, from the server: a link may lead to it.

export class Single {
  /** `mayExist(number)` is asked before the server is; `convert(answer)` returns the item of its answer. */
  constructor({ address, mayExist, convert, onLoaded, onMissing }) {
    Object.assign(this, { address, mayExist, convert, onLoaded, onMissing });
    this.clear();
  }

  clear() {
    this.number = this.item = null;
  }

  /** Return the item, once it was loaded; undefined before, and for one that the server lacks. */
  get(number) {
    if (number === this.number) return this.item ?? undefined;
    this.number = number;
    this.item = null;
    this.load(number);
    return undefined;
  }

  async load(number) {
    let found = null;
    try {
      const answer = this.mayExist(number) ? await fetch(`${this.address}${number}`) : { ok: false };
      if (answer.ok) found = this.convert(await answer.json());
    } catch {
      if (this.number === number) this.clear(); // the next drawing tries again
      return;
    }
    if (this.number !== number) return;
    this.item = found;
    if (found) this.onLoaded();
    else this.onMissing(number);
  }
}
