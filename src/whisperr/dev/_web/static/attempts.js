// Which requests are retries: those with the body of an earlier one that failed.

import { isFailed } from "./filter.js";

const MAX_ATTEMPTS = 500;

export class Attempts {
  constructor() {
    this.clear();
  }

  clear() {
    this.first = new Map(); // by the digest of the body
    this.retries = this.recoveries = 0;
  }

  /** Set `retry`, the number of the retry or 0, and `since`, the ms from the first attempt. */
  mark(request) {
    if (!request.bytes) return; // a body that was not read is not known
    const before = this.first.get(request.digest);
    if (before) {
      before.tries += 1;
      this.retries += 1;
      request.retry = before.tries;
      request.since = request.at - before.at;
    }
    if (!isFailed(request)) {
      this.recoveries += Boolean(before);
      this.first.delete(request.digest);
    } else if (!before) {
      this.first.set(request.digest, { at: request.at, tries: 0 });
      if (this.first.size > MAX_ATTEMPTS) this.first.delete(this.first.keys().next().value);
    }
  }
}
