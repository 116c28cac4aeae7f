// One event or request that the page does not hold, from the server: a link may lead to it.

export class Single {
  /** `convert(answer)` returns the item of an answer; `onLoaded` is called when it is there. */
  constructor({ address, convert, onLoaded, onMissing }) {
    Object.assign(this, { address, convert, onLoaded, onMissing });
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
      const answer = await fetch(`${this.address}${number}`);
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
