// Elements and words. All text of documents and agents passes through here, as text: there is no way from it to markup.

const $ = (id) => document.getElementById(id);

/** An element with attributes and children; strings become text. */
function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for drawings. */
function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(4).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A number as short as it can be read: three digits that count, whole ones without a point. */
function number(value, signed = false) {
  return Number.isInteger(value) && Math.abs(value) < 1e6 ? withSign(value, String(Math.abs(value)), signed) : mean(value, signed);
}

/** The same with decimals in any case, so that a column of means lines up. */
function mean(value, signed = false) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const tiny = size && size < 0.0005;
  const text = tiny || size >= 1e6 ? size.toExponential(1) : size.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3);
  return withSign(value, text, signed);
}

function withSign(value, text, signed) {
  const sign = value < 0 ? "−" : signed && value > 0 ? "+" : "";
  return sign + text;
}

/** An axis label: 20000 as 20k. */
function tick(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toFixed(1)}M`;
  if (size >= 1e3) return `${+(value / 1e3).toFixed(1)}k`;
  if (size && size < 1e-3) return value.toExponential(0);
  return String(+value.toFixed(4)).replace("-", "−");
}

const readable = (name) => name.replaceAll("_", " ");
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** A colour by its place in the palette, as a class; the palette is in the style sheet, once for dark and once for light. */
const hue = (place) => `hue${place % 10}`;

/** What an output says, without the tags around it; sub-questions by their numbers. */
function said(output) {
  const inner = output.replace(/<q(\d+)>/gi, " #$1: ").replace(/<\/?[a-z]+\d*>/gi, " ").replace(/\s+/g, " ").trim();
  return inner || output.trim() || "(nothing)";
}
