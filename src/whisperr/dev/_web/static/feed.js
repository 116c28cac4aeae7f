// Follow the server: one stream of server-sent events, opened again from where it stopped.

const RECENT = 5000;
const PAUSE_MS = 1000;
const SILENCE_MS = 20000; // several beats

/** Calls `onNews(message)` and `onState("live" | "lost" | "paused" | "hidden")`. */
export class Feed {
  constructor(onNews, onState) {
    this.onNews = onNews;
    this.onState = onState;
    this.last = "";
    this.paused = false;
    this.source = null;
    this.heard = 0;
    document.addEventListener("visibilitychange", () => this.follow());
    setInterval(() => {
      if (this.source && Date.now() - this.heard > SILENCE_MS) this.again();
    }, 5000);
    this.follow();
  }

  pause(paused) {
    this.paused = paused;
    this.follow();
  }

  /** A page that nobody sees needs no stream: a browser has few connections for one server. */
  follow() {
    if (this.paused || document.hidden) {
      this.close();
      this.onState(this.paused ? "paused" : "hidden");
    } else if (!this.source) {
      this.open();
    }
  }

  open() {
    this.close();
    this.heard = Date.now();
    const asked = new URLSearchParams({ recent: RECENT, last: this.last });
    const source = new EventSource(`/_dev/stream?${asked}`);
    this.source = source;
    source.addEventListener("news", (event) => {
      this.heard = Date.now();
      this.onState("live");
      this.onNews(JSON.parse(event.data));
      this.last = event.lastEventId;
    });
    source.addEventListener("beat", () => {
      this.heard = Date.now();
    });
    source.addEventListener("error", () => this.again());
  }

  again() {
    this.close();
    this.onState("lost");
    this.timer = setTimeout(() => this.follow(), PAUSE_MS);
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }
}
