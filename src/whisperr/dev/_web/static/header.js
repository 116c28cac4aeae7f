// The header: counters that filter when they are chosen, and the user agents.

import { byId, el, setText } from "./dom.js";
import { hasTerm, quote } from "./filter.js";

const MAX_AGENTS = 1; // there is no room for more

export class Header {
  /** Calls `onTerm(view, term)` when a counter or a user agent is chosen. */
  constructor(onTerm) {
    this.onTerm = onTerm;
    this.agents = "";
    this.counters = [...document.querySelectorAll("[data-term]")];
    for (const counter of this.counters) {
      counter.addEventListener("click", () => onTerm(counter.dataset.of, counter.dataset.term));
    }
  }

  draw({ summary, attempts }, { view, queries }) {
    const { accepted = 0, refused = 0, duplicates = 0, batches = 0, answers = {}, agents = {} } = summary;
    const failed = Object.entries(answers).reduce((sum, [status, times]) => sum + (/^2..$/.test(status) ? 0 : times), 0);
    const values = { accepted, refused, duplicates, batches, failed, retries: attempts.retries };
    for (const [name, value] of Object.entries(values)) {
      const box = byId(`total-${name}`);
      setText(box, value.toLocaleString("en"));
      box.parentElement.classList.toggle("is-zero", value === 0);
    }
    for (const counter of this.counters) {
      const { of: target, term } = counter.dataset;
      const isOn = (view === "requests") === (target === "requests") && hasTerm(queries[target], term);
      counter.setAttribute("aria-pressed", String(isOn));
    }
    this.drawAgents(Object.keys(agents).filter(Boolean));
    const wrong = refused + failed;
    document.title = wrong ? `(${wrong}) whisperr dev` : "whisperr dev";
  }

  drawAgents(names) {
    const box = byId("agents");
    const key = JSON.stringify(names);
    if (key === this.agents) return;
    this.agents = key;
    const links = names.slice(0, MAX_AGENTS).map((name) => el("button", {
      type: "button", class: "link", onclick: () => this.onTerm("requests", `agent:${quote(name)}`),
    }, name));
    const more = names.length > MAX_AGENTS ? el("span", {}, `${names.length - MAX_AGENTS} more`) : null;
    box.replaceChildren(...links.concat(more ?? []).flatMap((part, index) => (index ? [", ", part] : [part])));
    box.title = names.slice(0, 20).join("\n");
  }
}
