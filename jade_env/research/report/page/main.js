// The beginning: unpack the data, build the three parts, and go to the one that the address names.

async function unpack() {
  const packed = Uint8Array.from(atob(JSON.parse($("data").textContent)), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

function begin(data) {
  document.title = `${data.title} - jade report`;
  $("title").textContent = data.title;
  $("overview").append(...overview(data).filter(Boolean));
  $("setup").append(...setup(data));
  const names = ["overview", ...(data.traces?.questions.length ? ["episodes"] : []), "setup"];
  const reader = names.includes("episodes") ? reading(data.traces) : null;
  const show = (name, push = true) => {
    for (const other of names) {
      $(other).hidden = other !== name;
      $(`tab-${other}`).setAttribute("aria-selected", String(other === name));
      $(`tab-${other}`).tabIndex = other === name ? 0 : -1;
    }
    document.body.dataset.part = name;
    if (push) history.replaceState(null, "", `#${name === "episodes" && reader.model.current ? `episodes/${encodeURIComponent(reader.model.current.id)}` : name}`);
    if (name === "episodes") reader.list.reveal();
  };
  tabs(names, show);
  const on = (act) => () => (reader ? (show("episodes"), act()) : false);
  const turn = theme();
  listen({
    j: on(() => reader.step(1)), k: on(() => reader.step(-1)),
    ArrowDown: (event) => (arrows(event, reader) ? reader.step(1) : false), ArrowUp: (event) => (arrows(event, reader) ? reader.step(-1) : false),
    Enter: (event) => (event.target.id === "list" ? reader.open() : false),
    "/": on(() => { document.body.classList.remove("reading"); $("search").focus(); $("search").select(); }),
    e: on(() => reader.unfold()), "[": on(() => reader.cycle("left")), "]": on(() => reader.cycle("right")),
    t: turn, "?": () => $("help").showModal(),
    Escape: () => { document.activeElement.blur(); document.body.classList.remove("reading"); if (reader && !$("episodes").hidden) $("list").focus(); },
    ...Object.fromEntries(names.map((name, i) => [String(i + 1), () => show(name)])),
  });
  const [name, id] = location.hash.slice(1).split("/");
  if (reader && id) reader.find(decodeURIComponent(id));
  show(names.includes(name) ? name : "overview", false);
  $("loading").remove();
  document.body.dataset.ready = "true";
}

const arrows = (event, reader) => reader && !$("episodes").hidden && (event.target.id === "list" || event.target === document.body);

/** The part with the episodes: list on one side, the question in view on the other. */
function reading(traces) {
  const view = h("div", { class: "view", id: "view", "aria-live": "off" });
  const swap = (side, play) => { model[side] = play; refresh(); };
  const model = new Episodes(traces, (question) => {
    view.replaceChildren(...(question ? trace(model, question, swap).flat().filter(Boolean) : [h("p", { class: "empty" }, "No question is like this. Loosen a filter.")]));
    if (!$("episodes").hidden && question) history.replaceState(null, "", `#episodes/${encodeURIComponent(question.id)}`);
  });
  const open = () => { document.body.classList.add("reading"); view.scrollTop = 0; };
  const list = new List(model, (place) => { model.go(place); list.draw(); open(); });
  const refresh = (keep = model.current) => {
    model.refresh(keep);
    $("count").textContent = `${model.shown.length} of ${plural(traces.questions.length, "question")}`;
    list.reveal();
  };
  $("episodes").append(h("div", { class: "side" }, filters(model, refresh), list.box), view);
  refresh();
  return {
    model, list, open,
    step: (by) => { model.go(model.at + by); list.reveal(); view.scrollTop = 0; },
    find: (id) => { const place = model.shown.findIndex((question) => question.id === id); if (place >= 0) { model.go(place); open(); } },
    cycle: (side) => { swap(side, (model[side] + 1) % traces.plays.length); $(`play-${side}`)?.focus(); },
    unfold: () => {
      const turns = [...view.querySelectorAll("details.turn")];
      const opened = turns.every((turn) => turn.open);
      turns.forEach((turn) => { turn.open = !opened; });
    },
  };
}

unpack().then(begin).catch((error) => {
  $("loading").textContent = `The data cannot be read: ${error.message}. A browser of 2023 or newer is needed.`;
});
