// Which questions are shown: filters, search, order, and a list that holds only the rows on the screen.

const ROW = 66;

/** The questions of a report with what is chosen of them; `changed` is called with the question in view. */
class Episodes {
  constructor(traces, changed) {
    this.traces = traces;
    this.changed = changed;
    this.left = 0;
    this.right = Math.max(0, traces.plays.findIndex((play) => play.name.startsWith("After")));
    this.want = { text: "", kind: "", role: "", low: 0, high: 1, change: "", game: "", malformed: false, order: "played" };
    this.words = new Map();
    this.shown = [];
    this.at = 0;
  }

  episode(question, side) { return question.episodes[side === "left" ? this.left : this.right] ?? null; }

  get current() { return this.shown[this.at] ?? null; }

  /** The change of F1 from the left to the right team; null where one of them has not played it. */
  gain(question) {
    const [from, to] = [this.episode(question, "left"), this.episode(question, "right")];
    return from && to ? to.f1 - from.f1 : null;
  }

  /** Whether there are games that somebody wins. */
  get contested() { return this.traces.questions.some((question) => Object.values(question.episodes).some(contest)); }

  /** Everything that a question can be found by, in lower case; made when first asked for. */
  haystack(question) {
    if (!this.words.has(question)) {
      const parts = [question.id, question.text, question.kind, ...question.answers];
      for (const episode of Object.values(question.episodes)) {
        parts.push(episode.answer, episode.workflow);
        for (const node of episode.nodes) {
          parts.push(node.question, ...(node.retrieved ?? []).map((i) => this.traces.documents[i][1]));
        }
        for (const turn of episode.turns) parts.push(turn.output);
      }
      this.words.set(question, parts.join("\n").toLowerCase());
    }
    return this.words.get(question);
  }

  matches(question, terms) {
    const { kind, role, low, high, change, game, malformed } = this.want;
    if (kind && question.kind !== kind) return false;
    const episodes = [this.episode(question, "left"), this.episode(question, "right")].filter(Boolean);
    const judged = this.episode(question, "right") ?? episodes[0];
    if (!judged || judged.f1 < low || judged.f1 > high) return false;
    const turns = episodes.flatMap((episode) => episode.turns);
    const own = role ? turns.filter((turn) => this.traces.agents[turn.agent] === role) : turns;
    if (role && !own.length) return false;
    if (malformed && !own.some((turn) => turn.malformed)) return false;
    if (game && !(contest(judged) && game === result(judged.payoffs[0].payoff))) return false;
    if (change) {
      const gain = this.gain(question);
      if (gain === null || change !== (gain > 0 ? "better" : gain < 0 ? "worse" : "same")) return false;
    }
    return terms.every((term) => this.haystack(question).includes(term));
  }

  /** Filter and sort anew, and stay on the question in view if it is still there. */
  refresh(keep = this.current) {
    const terms = this.want.text.toLowerCase().split(/\s+/).filter(Boolean);
    this.shown = this.traces.questions.filter((question) => this.matches(question, terms));
    const score = (question) => (this.episode(question, "right") ?? this.episode(question, "left")).f1;
    const orders = {
      worst: (a, b) => score(a) - score(b),
      best: (a, b) => score(b) - score(a),
      gained: (a, b) => (this.gain(b) ?? -2) - (this.gain(a) ?? -2),
      lost: (a, b) => (this.gain(a) ?? 2) - (this.gain(b) ?? 2),
    };
    if (orders[this.want.order]) this.shown.sort(orders[this.want.order]);
    this.go(Math.max(0, this.shown.indexOf(keep)));
  }

  go(place) {
    this.at = Math.max(0, Math.min(this.shown.length - 1, place));
    this.changed(this.current);
  }
}

/** Whether sides receive in an episode, and not each agent for itself. */
const contest = (episode) => Boolean(episode.payoffs?.length) && episode.payoffs[0].share === undefined;

// ---- the list --------------------------------------------------------------------------------------------------------

class List {
  constructor(model, pick) {
    this.model = model;
    this.rows = h("div", { class: "rows" });
    this.box = h("div", { class: "list", id: "list", role: "listbox", tabindex: "0", "aria-label": "Questions" }, this.rows);
    this.box.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), { passive: true });
    this.box.addEventListener("click", (event) => {
      const row = event.target.closest("[data-place]");
      if (row) pick(Number(row.dataset.place));
    });
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  draw() {
    const { shown, at } = this.model;
    this.rows.style.height = `${shown.length * ROW}px`;
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - 4);
    const last = Math.min(shown.length, first + Math.ceil((this.box.clientHeight || 600) / ROW) + 9);
    const rows = [];
    for (let place = first; place < last; place += 1) rows.push(this.row(shown[place], place, place === at));
    this.rows.replaceChildren(...rows);
    if (shown.length && at >= first && at < last) this.box.setAttribute("aria-activedescendant", `row-${at}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  row(question, place, selected) {
    const pair = ["left", "right"].map((side) => this.model.episode(question, side));
    const malformed = pair.some((episode) => episode?.malformed);
    const element = h("div", {
      class: "row", id: `row-${place}`, role: "option", "data-place": place, "aria-selected": String(selected),
      "aria-setsize": this.model.shown.length, "aria-posinset": place + 1,
    },
      h("div", { class: "asked" }, question.text),
      h("div", { class: "meta" },
        h("span", { class: "kind" }, question.kind || "question"),
        malformed ? h("span", { class: "badge" }, "malformed") : null,
        h("span", { class: "scores" }, pair.map((episode, i) => [i ? " → " : "", episode ? scored(episode.f1) : h("span", { class: "none" }, "–")]))));
    element.style.transform = `translateY(${place * ROW}px)`;
    return element;
  }

  /** Bring the question in view onto the screen. */
  reveal() {
    const top = this.model.at * ROW;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + ROW > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + ROW - this.box.clientHeight;
    this.draw();
  }
}

function scored(f1) {
  return h("b", { class: f1 >= 0.999 ? "score full" : f1 > 0 ? "score some" : "score zero" }, f1.toFixed(2));
}

// ---- filters ---------------------------------------------------------------------------------------------------------

function filters(model, refresh) {
  const choose = (label, name, options) => h("label", {}, h("span", {}, label),
    h("select", { id: `filter-${name}`, onchange: (event) => { model.want[name] = event.target.value; refresh(name === "order" ? null : model.current); } },
      options.map(([value, text]) => h("option", { value }, text))));
  const bound = (name, label, value) => h("input", {
    type: "number", id: `filter-${name}`, min: 0, max: 1, step: 0.05, value, "aria-label": label,
    oninput: (event) => { const typed = event.target.valueAsNumber; model.want[name] = Number.isNaN(typed) ? value : typed; refresh(); },
  });
  const kinds = [...new Set(model.traces.questions.map((question) => question.kind))].filter(Boolean).sort();
  const search = h("input", {
    type: "search", id: "search", placeholder: "Search questions, answers, outputs, titles", "aria-label": "Search", autocomplete: "off",
    oninput: (event) => { model.want.text = event.target.value; refresh(); },
  });
  const more = h("details", { class: "more", open: !matchMedia("(max-width: 860px)").matches }, h("summary", {}, "Filter and sort"),
    h("div", { class: "grid" },
      kinds.length ? choose("Kind", "kind", [["", "any"], ...kinds.map((kind) => [kind, kind])]) : null,
      choose("Role", "role", [["", "any"], ...[...model.traces.agents].sort().map((agent) => [agent, readable(agent)])]),
      choose("Change", "change", [["", "any"], ["better", "better"], ["worse", "worse"], ["same", "same"]]),
      model.contested ? choose("Game", "game", [["", "any"], ["won", "won"], ["draw", "draw"], ["lost", "lost"]]) : null,
      choose("Order", "order", [["played", "as played"], ["worst", "lowest F1"], ["best", "highest F1"], ["gained", "most gained"], ["lost", "most lost"]]),
      h("div", { class: "span", role: "group", "aria-label": "F1 of the right-hand team" }, h("span", {}, "F1"), bound("low", "F1 from", 0), "to", bound("high", "F1 to", 1)),
      h("label", { class: "check" }, h("input", { type: "checkbox", id: "filter-malformed", onchange: (event) => { model.want.malformed = event.target.checked; refresh(); } }), "malformed only")));
  return h("div", { class: "filters", role: "search" }, search, more, h("p", { id: "count", role: "status" }));
}
