// The overview and the setup: facts, figures, tables and sections of charts, in the order that the data gives them.

function overview(data) {
  const facts = h("dl", { class: "facts" }, data.facts.map(([label, text]) => [h("dt", {}, label), h("dd", {}, text)]));
  const cards = data.cards.length ? h("div", { class: "cards" }, data.cards.map(card)) : null;
  return [facts, cards, ...data.sections.map((one) => sectionOf(one, data.names))];
}

function card(one) {
  const scale = one.before ? whiskers(one) : null;
  return h("div", { class: "card" },
    h("div", { class: "label" }, one.label),
    h("div", { class: "figure" }, mean(one.after?.mean)),
    one.before
      ? h("div", { class: "was" }, `from ${mean(one.before.mean)}`, one.difference ? [" ", difference(one.difference)] : null)
      : h("div", { class: "was" }, range(one.after)),
    scale);
}

/** Before and after as two points with their intervals on one line. */
function whiskers(one) {
  const ends = [one.before, one.after].flatMap((cell) => [cell.low ?? cell.mean, cell.high ?? cell.mean]);
  const low = Math.min(...ends), span = Math.max(...ends) - low || 1;
  const x = (value) => 4 + ((value - low) / span) * 132;
  const row = (cell, y, style) => [
    svg("line", { class: style, x1: x(cell.low ?? cell.mean), x2: x(cell.high ?? cell.mean), y1: y, y2: y }),
    svg("circle", { class: style, cx: x(cell.mean), cy: y, r: 3 }),
  ];
  return svg("svg", { viewBox: "0 0 140 22", class: "whiskers", role: "img", "aria-label": `before ${range(one.before)}, after ${range(one.after)}` },
    row(one.before, 6, "was"), row(one.after, 16, "now"));
}

const range = (cell) => (cell && cell.low !== null && cell.low !== undefined ? `${mean(cell.low)} to ${mean(cell.high)}` : "");

function difference(cell) {
  const sure = cell.low > 0 || cell.high < 0;
  return h("span", { class: `delta${sure ? " sure" : ""}${cell.mean < 0 ? " minus" : ""}`, title: `95 % interval ${range(cell)}${sure ? "" : ": holds 0"}` }, mean(cell.mean, true));
}

function sectionOf(one, order) {
  const tables = one.blocks.filter((block) => block.type === "table");
  const charts = one.blocks.filter((block) => block.type !== "table");
  const shared = charts.length && (order || (charts.length > 1 && charts.every((block) => block.roles)));
  const names = shared ? order ?? [...new Set(charts.flatMap((block) => block.series.map((series) => series.name)))].sort() : order;
  const pairs = charts.length === 2 || charts.length === 4;
  const drawn = charts.map((block) => chart(block, names, pairs && innerWidth > 860 ? WIDE : NARROW));
  let key = null;
  if (shared) {
    const lit = new Set();
    const hues = new Map(names.map((name, i) => [name, i]));
    key = legend(names.map((name) => ({ name })), hues, lit, () => drawn.forEach((one) => one.relight([...lit])));
  }
  const figures = tables.length ? h("div", { class: "tables" }, tables.map(table)) : null;
  const pictures = drawn.length ? h("div", { class: pairs ? "charts pairs" : "charts" }, drawn.map((one) => one.figure)) : null;
  return h("section", { class: "part" },
    h("h2", {}, one.title), one.note ? h("p", { class: "note" }, one.note) : null,
    order ? [key, pictures, figures] : [figures, key, pictures]);
}

function table(block) {
  const numeric = block.columns.map((_, i) => block.rows.some((row) => typeof row[i] === "number" || (row[i] && typeof row[i] === "object")));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": block.title },
    h("table", {},
      h("caption", {}, block.title),
      h("thead", {}, h("tr", {}, block.columns.map((name, i) => h("th", { scope: "col", class: numeric[i] ? "n" : null }, name)))),
      h("tbody", {}, block.rows.map((row) => h("tr", {}, row.map((value, i) => i === 0
        ? h("th", { scope: "row" }, String(value))
        : h("td", { class: numeric[i] ? "n" : null }, entry(value))))))));
}

function entry(value) {
  if (value === null || value === undefined) return h("span", { class: "none" }, "–");
  if (typeof value === "number") return number(value);
  if (typeof value === "string") return value;
  if (value.signed) return [difference(value), h("small", {}, range(value))];
  return [mean(value.mean), h("small", {}, range(value))];
}

function setup(data) {
  return data.setup.map((part) => h("section", { class: "part" }, h("h2", {}, part.title), h("pre", { class: "yaml", tabindex: "0" }, part.text)));
}
