// Charts: one drawing a block of data, with a legend and a line of values under the pointer. Knows no meaning of any series.

const CHART = { height: 220, left: 44, right: 10, top: 10, bottom: 28 };
const NARROW = 380, WIDE = 560, FOREST = 26;

function chart(block, order, width = NARROW) {
  block.width = width;
  const lit = new Set();
  const hues = new Map(block.series.map((one, i) => [one.name, order ? order.indexOf(one.name) : i]));
  const figure = h("figure", { class: "chart" });
  const caption = h("figcaption", {}, h("strong", {}, readable(block.title)), block.y && block.type !== "scatter" ? h("span", {}, ` ${block.y}`) : null);
  const height = block.type === "forest" ? CHART.top + CHART.bottom + FOREST * block.series.length : CHART.height;
  const drawing = svg("svg", {
    viewBox: `0 0 ${block.width} ${height}`,
    role: "img",
    "aria-label": told(block),
  });
  const draw = () => {
    drawing.replaceChildren();
    ({ shares: drawShares, scatter: drawScatter, forest: drawForest, lines: drawLines })[block.type](drawing, block, hues, lit);
  };
  figure.append(caption, drawing);
  if (!order && block.type !== "forest" && (block.series.length > 1 || block.type !== "lines")) figure.append(legend(block.series, hues, lit, draw));
  if (["lines", "shares"].includes(block.type)) follow(drawing, block);
  draw();
  return { figure, relight: (names) => (lit.clear(), names.forEach((name) => lit.add(name)), draw()) };
}

/** What a chart shows, for those who do not see it. */
function told(block) {
  if (["forest", "scatter"].includes(block.type)) {
    const at = (p) => (block.type === "forest" ? number(p[0]) : `${number(p[1])} at ${number(p[0])}`);
    return `${block.title}: ${block.series.map((one) => `${readable(one.name)} ${at(one.points[0])}`).join("; ")}`;
  }
  const ends = block.series.map((one) => {
    const [first, last] = [one.points[0], one.points[one.points.length - 1]];
    return `${readable(one.name)} from ${number(first[1])} to ${number(last[1])}`;
  });
  return `${block.title}${block.x ? ` over ${block.x}` : ""}: ${ends.join("; ")}`;
}

function legend(series, hues, lit, changed) {
  return h("div", { class: "legend" }, series.map((one) => {
    const button = h("button", { class: "key", "aria-pressed": "false" },
      h("span", { class: `swatch ${hue(hues.get(one.name))}${one.dashed ? " dashed" : ""}`, "aria-hidden": "true" }), readable(one.name));
    button.addEventListener("click", () => {
      if (!lit.delete(one.name)) lit.add(one.name);
      button.setAttribute("aria-pressed", String(lit.has(one.name)));
      changed();
    });
    return button;
  }));
}

// ---- scales ----------------------------------------------------------------------------------------------------------

function scales(block, xs, ys, inside) {
  const [x0, x1] = widened(Math.min(...xs), Math.max(...xs), !inside);
  const [y0, y1] = widened(Math.min(...ys), Math.max(...ys), false);
  const ticks = steps(y0, y1, 4);
  const low = Math.min(y0, ticks[0]), high = Math.max(y1, ticks[ticks.length - 1]);
  return {
    x: (value) => CHART.left + ((value - x0) / (x1 - x0)) * (block.width - CHART.left - CHART.right),
    y: (value) => CHART.height - CHART.bottom - ((value - low) / (high - low)) * (CHART.height - CHART.top - CHART.bottom),
    xTicks: steps(x0, x1, 4).filter((value) => value >= x0 && value <= x1),
    yTicks: ticks,
  };
}

function widened(low, high, exact) {
  if (low === 0 && high === 0) return [0, 1];
  if (low === high) return [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
  if (exact) return [low, high];
  const from = low >= 0 && low < (high - low) * 0.6 ? 0 : low;
  return [from, high];
}

/** Round numbers that cover a range. */
function steps(low, high, about) {
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw * 0.999);
  const found = [];
  for (let i = Math.floor(low / step + 1e-9); i <= Math.ceil(high / step - 1e-9); i += 1) found.push(i * step);
  return found;
}

function frame(drawing, block, scale) {
  const bottom = CHART.height - CHART.bottom;
  for (const value of scale.yTicks) {
    const y = scale.y(value);
    drawing.append(svg("line", { class: value === 0 ? "axis" : "grid", x1: CHART.left, x2: block.width - CHART.right, y1: y, y2: y }));
    drawing.append(svg("text", { class: "tick", x: CHART.left - 6, y: y + 3.5, "text-anchor": "end" }, tick(value)));
  }
  for (const value of scale.xTicks) {
    drawing.append(svg("text", { class: "tick", x: scale.x(value), y: bottom + 15, "text-anchor": "middle" }, tick(value)));
  }
  drawing.append(svg("text", { class: "tick unit", x: block.width - CHART.right, y: CHART.height - 1, "text-anchor": "end" }, block.x));
}

// ---- kinds -----------------------------------------------------------------------------------------------------------

function drawLines(drawing, block, hues, lit) {
  const all = block.series.flatMap((one) => one.points);
  const scale = scales(block, all.map((p) => p[0]), all.flatMap((p) => p.slice(1)));
  frame(drawing, block, scale);
  for (const one of block.series) {
    const faded = lit.size && !lit.has(one.name) ? " faded" : "";
    const style = `${hue(hues.get(one.name))}${faded}`;
    if (one.points[0].length > 2) {
      const upper = one.points.map((p) => `${scale.x(p[0])},${scale.y(p[3])}`);
      const lower = one.points.map((p) => `${scale.x(p[0])},${scale.y(p[2])}`).reverse();
      drawing.append(svg("polygon", { class: `band ${style}`, points: [...upper, ...lower].join(" ") }));
    }
    const points = one.points.map((p) => `${scale.x(p[0]).toFixed(1)},${scale.y(p[1]).toFixed(1)}`).join(" ");
    drawing.append(svg("polyline", { class: `line ${style}${one.dashed ? " dashed" : ""}`, points }));
    if (one.points.length < 30 && !one.dashed) {
      for (const p of one.points) drawing.append(svg("circle", { class: `dot ${style}`, cx: scale.x(p[0]), cy: scale.y(p[1]), r: 2.2 }));
    }
  }
}

function drawShares(drawing, block, hues, lit) {
  const xs = block.series[0].points.map((p) => p[0]);
  const scale = scales(block, xs, [0, 1]);
  frame(drawing, block, scale);
  const floor = xs.map(() => 0);
  for (const one of block.series) {
    const lower = floor.map((value, i) => `${scale.x(xs[i]).toFixed(1)},${scale.y(value).toFixed(1)}`).reverse();
    one.points.forEach((p, i) => (floor[i] += p[1]));
    const upper = floor.map((value, i) => `${scale.x(xs[i]).toFixed(1)},${scale.y(Math.min(1, value)).toFixed(1)}`);
    const faded = lit.size && !lit.has(one.name) ? " faded" : "";
    drawing.append(svg("polygon", { class: `share ${hue(hues.get(one.name))}${faded}`, points: [...upper, ...lower].join(" ") }));
  }
}

/** Points with names; those that share a series are of one colour. A point is [x, y, x low, x high, y low, y high]. */
function drawScatter(drawing, block, hues, lit) {
  const all = block.series.flatMap((one) => one.points);
  const scale = scales(block, all.flatMap((p) => [p[0], ...p.slice(2, 4)]), all.flatMap((p) => [p[1], ...p.slice(4, 6)]), true);
  frame(drawing, block, scale);
  const stairs = (block.stairs ?? []).flatMap((p, i, all) => [...(i ? [[p[0], all[i - 1][1]]] : []), p]);
  if (stairs.length > 1) drawing.append(svg("polyline", { class: "stairs", points: stairs.map((p) => `${scale.x(p[0])},${scale.y(p[1])}`).join(" ") }));
  for (const one of block.series) {
    const style = `${hue(hues.get(one.name))}${lit.size && !lit.has(one.name) ? " faded" : ""}`;
    for (const p of one.points) {
      const [x, y] = [scale.x(p[0]), scale.y(p[1])];
      if (p.length >= 6) {
        drawing.append(svg("line", { class: `line ${style}`, x1: scale.x(p[2]), x2: scale.x(p[3]), y1: y, y2: y }));
        drawing.append(svg("line", { class: `line ${style}`, x1: x, x2: x, y1: scale.y(p[4]), y2: scale.y(p[5]) }));
      }
      drawing.append(svg("circle", { class: `dot ${style}`, cx: x, cy: y, r: 4 },
        svg("title", {}, `${readable(one.name)}: ${block.y} ${number(p[1])} at ${number(p[0])} ${block.x}`)));
    }
  }
}

/** A line an arm: its mean with its interval. */
function drawForest(drawing, block, hues) {
  const all = block.series.flatMap((one) => one.points[0]);
  const left = Math.min(170, 14 + 6.4 * Math.max(...block.series.map((one) => one.name.length)));
  const bottom = CHART.top + FOREST * block.series.length;
  const [low, high] = widened(Math.min(...all), Math.max(...all), false);
  const ticks = steps(low, high, 4);
  const [from, to] = [ticks[0], ticks[ticks.length - 1]];
  const x = (value) => left + ((value - from) / (to - from)) * (block.width - left - 16);
  for (const value of ticks) {
    drawing.append(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: CHART.top, y2: bottom }));
    drawing.append(svg("text", { class: "tick", x: x(value), y: bottom + 15, "text-anchor": "middle" }, tick(value)));
  }
  block.series.forEach((one, i) => {
    const y = CHART.top + FOREST * (i + 0.5);
    const [at, lower, upper] = one.points[0];
    drawing.append(svg("text", { class: "tick", x: left - 10, y: y + 3.5, "text-anchor": "end" }, readable(one.name)));
    drawing.append(svg("line", { class: `line ${hue(hues.get(one.name))}`, x1: x(lower), x2: x(upper), y1: y, y2: y }));
    drawing.append(svg("circle", { class: `dot ${hue(hues.get(one.name))}`, cx: x(at), cy: y, r: 4 },
      svg("title", {}, `${number(at)}, ${number(lower)} to ${number(upper)}`)));
  });
}

// ---- the line under the pointer --------------------------------------------------------------------------------------

function follow(drawing, block) {
  const xs = [...new Set(block.series.flatMap((one) => one.points.map((p) => p[0])))].sort((a, b) => a - b);
  const x0 = xs[0], span = xs[xs.length - 1] - x0 || 1;
  const width = block.width - CHART.left - CHART.right;
  const leave = () => { $("hint").hidden = true; drawing.querySelector(".cursor")?.remove(); };
  drawing.addEventListener("pointerleave", leave);
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const at = x0 + (((event.clientX - box.left) / box.width) * block.width - CHART.left) / width * span;
    const nearest = xs.reduce((best, x) => (Math.abs(x - at) < Math.abs(best - at) ? x : best), x0);
    const x = CHART.left + ((nearest - x0) / span) * width;
    drawing.querySelector(".cursor")?.remove();
    drawing.append(svg("line", { class: "cursor", x1: x, x2: x, y1: CHART.top, y2: CHART.height - CHART.bottom }));
    const rows = block.series
      .map((one) => [one.name, one.points.find((p) => p[0] === nearest)])
      .filter(([, p]) => p && (block.type !== "shares" || p[1] > 0))
      .map(([name, p]) => h("div", {}, h("span", {}, readable(name)), h("b", {}, number(p[1]))));
    const hint = $("hint");
    hint.replaceChildren(h("div", { class: "at" }, `${tick(nearest)} ${block.x}`), ...rows);
    hint.hidden = false;
    hint.style.left = `${Math.min(event.clientX + 14, innerWidth - hint.offsetWidth - 8)}px`;
    hint.style.top = `${Math.min(event.clientY + 14, innerHeight - hint.offsetHeight - 8)}px`;
  });
}
