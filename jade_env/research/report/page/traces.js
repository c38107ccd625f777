// One question as two teams played it: the tree of questions, each turn, each retrieval.

function trace(model, question, swap) {
  const known = new Set(question.gold);
  return [
    h("button", { class: "back", id: "back", onclick: () => document.body.classList.remove("reading") }, "← All questions"),
    h("h2", { class: "question" }, question.text),
    h("dl", { class: "facts small" },
      h("dt", {}, "gold answer"), h("dd", { class: "gold-answer" }, question.answers.join("  |  ")),
      question.kind ? [h("dt", {}, "kind"), h("dd", {}, question.kind)] : null,
      h("dt", {}, "id"), h("dd", {}, question.id)),
    h("div", { class: model.left === model.right ? "panes one" : "panes" },
      model.left === model.right ? null : pane(model, question, "left", known, swap), pane(model, question, "right", known, swap)),
  ];
}

function pane(model, question, side, known, swap) {
  const episode = model.episode(question, side);
  const chooser = h("select", { id: `play-${side}`, "aria-label": `Team on the ${side}`, onchange: (event) => swap(side, Number(event.target.value)) },
    model.traces.plays.map((play, i) => h("option", { value: i, selected: i === model[side] }, play.name)));
  const head = h("header", {}, chooser, h("p", { class: "note" }, model.traces.plays[model[side]].note));
  if (!episode) return h("article", { class: "pane", id: `pane-${side}` }, head, h("p", { class: "empty" }, "This team has not played this question."));
  return h("article", { class: "pane", id: `pane-${side}` }, head, outcome(episode, known, model.traces), node(model.traces, episode, 0, known));
}

function outcome(episode, known, traces) {
  const found = new Set(episode.nodes.flatMap((one) => one.retrieved ?? []).map((i) => traces.documents[i][0]).filter((id) => known.has(id)));
  const terms = [["outcome", episode.outcome], ["rounds", -episode.round_cost], ["retrievals", -episode.retrieval_cost], ["own costs", -(episode.own_cost ?? 0)]].filter(([name, value]) => value || name === "outcome");
  return h("div", { class: "outcome" },
    h("div", { class: "answer" }, h("span", { class: "label" }, "answer"), h("strong", {}, episode.answer || "(empty)")),
    episode.failed ? h("p", { class: "badge wide" }, `cut short: ${episode.failed}`) : null,
    h("div", { class: "chips" },
      chip("F1", episode.f1.toFixed(2)), chip("EM", String(episode.em)),
      known.size ? chip("gold passages found", `${found.size} of ${known.size}`) : null,
      chip("rounds", episode.rounds), chip("retrievals", episode.retrievals), chip("latency", episode.latency),
      episode.malformed ? chip("malformed", episode.malformed, "bad") : null),
    episode.outcome === undefined ? null : h("p", { class: "sum" },
      h("span", { class: "label" }, "reward"), h("b", {}, number(episode.net)), " = ",
      terms.map(([name, value], i) => [i ? (value < 0 ? " − " : " + ") : "", h("span", {}, `${number(i ? Math.abs(value) : value)} `, h("small", {}, name))]),
      episode.penalty ? h("span", { class: "bad" }, `; format penalties ${number(episode.penalty)}`) : null),
    episode.payoffs?.length ? h("ul", { class: "payoffs", "aria-label": "Payoffs" }, episode.payoffs.map(payoff)) : null);
}

/** What an agent or a side received; an agent with costs of its own, how that came about. */
function payoff(one) {
  const head = [h("span", { class: "label" }, readable(one.name)), " ", h("b", {}, number(one.payoff, true))];
  if (one.share === undefined) return h("li", {}, head, ` ${result(one.payoff)}`);
  return h("li", {}, head, ` = ${number(one.share)} × ${number(one.common)} `, h("small", {}, "in common"), ` − ${number(one.own)} `, h("small", {}, "own cost"));
}

const result = (value) => (value > 0 ? "won" : value < 0 ? "lost" : "draw");

const chip = (name, value, style = "") => h("span", { class: `chip ${style}` }, `${name} `, h("b", {}, String(value)));

/** A node with its turns in order; retrievals stand where they first could be read, children before the turn that sums them up. */
function node(traces, episode, place, known) {
  const one = episode.nodes[place];
  const children = episode.nodes.map((child, i) => [child, i]).filter(([child]) => parent(child.path) === one.path && child.path !== one.path);
  const items = [];
  let last = "", opened = !children.length;
  for (const turn of episode.turns.filter((turn) => turn.node === place)) {
    if (!opened && turn.kind === "answer") { items.push(branches()); opened = true; }
    const now = (turn.retrieved ?? []).join();
    if (turn.retrieved && now !== last) { items.push(retrieval(traces, turn.retrieved, one, known)); last = now; }
    items.push(turnOf(traces, turn));
  }
  if (!last && one.retrieved) items.push(retrieval(traces, one.retrieved, one, known));
  if (!opened) items.push(branches());
  function branches() { return h("li", { class: "branch" }, children.map(([, i]) => node(traces, episode, i, known))); }
  return h("section", { class: "node", "aria-label": one.path ? `Sub-question ${one.path}` : "Question" },
    h("h3", {}, one.path ? h("span", { class: "path" }, one.path) : null, h("span", {}, one.query ?? one.question),
      one.workflow ? h("code", { class: "flow" }, one.workflow.replaceAll(",", " → ")) : null),
    one.query ? h("p", { class: "note" }, "asked as: ", one.question) : null,
    h("ol", { class: "steps" }, items));
}

const parent = (path) => path.split(".").slice(0, -1).join(".");

function turnOf(traces, turn) {
  const agent = traces.agents[turn.agent];
  const signs = [
    turn.malformed ? h("span", { class: "badge" }, `malformed${turn.penalty ? ` ${number(turn.penalty)}` : ""}`) : null,
    turn.cost ? h("span", { class: "sign", title: "what this turn and its tokens cost" }, "cost ", h("b", {}, number(turn.cost))) : null,
    turn.payoff === undefined ? null : h("span", { class: "sign", title: "what this agent received at the end" }, "payoff ", h("b", {}, number(turn.payoff, true))),
    turn.logprob === undefined ? null : h("span", { class: "sign", title: "log-probability of the whole output, in nats" }, "log p ", h("b", {}, number(turn.logprob))),
    turn.advantage === undefined ? null : h("span", { class: `sign ${turn.advantage < 0 ? "minus" : "plus"}`, title: "advantage, before normalisation" }, "A ", h("b", {}, number(turn.advantage, true))),
    turn.value === undefined ? null : h("span", { class: "sign", title: "the critic's value" }, "V ", h("b", {}, number(turn.value))),
    turn.choice ? h("span", { class: "sign", title: "number of the candidate chosen" }, `${turn.choice[0]} of ${turn.choice[1]}`) : null,
    turn.tokens ? h("span", { class: "sign" }, plural(turn.tokens, "token")) : null,
    turn.shared ? h("span", { class: "sign", title: "one plan, carried out several times" }, "shared plan") : null,
  ];
  const summary = h("summary", {},
    h("span", { class: `role ${hue(turn.agent)}` }, readable(agent)), h("span", { class: "said" }, said(turn.output)), h("span", { class: "signs" }, signs));
  const details = h("details", { class: "turn", "data-role": agent }, summary);
  details.addEventListener("toggle", () => { if (details.open && details.childElementCount === 1) details.append(inside(traces, turn)); });
  return h("li", {}, details);
}

/** What a turn read and wrote in full; made when it is first opened. */
function inside(traces, turn) {
  const system = turn.system === undefined ? "" : traces.strings[turn.system];
  return h("div", { class: "inside" },
    h("h4", {}, "Output"), h("pre", {}, turn.output),
    turn.prompt ? [h("h4", {}, turn.choice ? "What it may read (as text; a network reads features of the candidates)" : "Prompt"),
      h("pre", { class: "prompt" }, turn.prompt.map((line) => traces.strings[line]).join("\n"))] : null,
    system ? h("details", {}, h("summary", {}, "Instructions of the role"), h("pre", { class: "prompt" }, system)) : null);
}

function retrieval(traces, places, one, known) {
  const kept = new Set(one.kept ?? places);
  return h("li", { class: "retrieval" }, h("span", { class: "role plain" }, "retrieval"),
    h("ol", { class: "documents" }, places.map((i) => {
      const [id, title, text] = traces.documents[i];
      const gold = known.has(id);
      return h("li", { class: `${gold ? "gold" : ""}${kept.has(i) ? "" : " dropped"}` },
        h("details", {}, h("summary", {},
          gold ? h("span", { class: "star", title: "a gold passage" }, "★ gold") : null, h("span", { class: "title" }, title || id),
          kept.has(i) ? null : h("small", {}, "left out by the selector")), h("p", {}, text)));
    })));
}
