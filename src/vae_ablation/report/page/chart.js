// Figures as SVG: scales, axes and a handful of marks. Colours are the style sheet's, so that dark
// mode and print need no code.
const SVG = "http://www.w3.org/2000/svg";
const SVG_NAMES = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "tspan", "polygon"]);
const $ = (id) => document.getElementById(id);

// An element. Children are nodes or text; text is never read as HTML.
function node(name, attributes = {}, ...children) {
  const made = SVG_NAMES.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "tip") made.tip = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
  return made;
}

// Text with a capital first letter; a Greek letter is a symbol and stays as it is.
const capital = (text) => (/^[a-z]+(?![A-Za-z0-9_])/.test(text) ? text[0].toUpperCase() + text.slice(1) : text);
/** Label of a metric or an axis as a heading; a name that the user gave keeps its spelling. */
const titled = (one) => (one.given ? one.label : capital(one.label));
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

// Three significant digits, a true minus sign; an undefined value is a dash.
function number(value, digits = 3) {
  if (!isNumber(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-4)) return value.toExponential(digits - 1).replace("e+", "e").replaceAll("-", "−");
  const text = size >= 10 ** digits ? value.toFixed(0) : Number.isInteger(value) ? String(value) : value.toPrecision(digits);
  return text.replace("-", "−");
}

const tickText = (value) => (Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-4) ? value.toExponential(0).replace("e+", "e") : String(value)).replaceAll("-", "−");

function steps(low, high, count) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * (1 - 1e-9));
  const first = Math.ceil(low / step - 1e-9);
  const length = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(0, Math.min(50, length)) }, (_, i) => +((first + i) * step).toPrecision(12));
}

function decades(low, high) {
  const found = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) for (const m of [1, 2, 5]) found.push(+(m * 10 ** p).toPrecision(3));
  const inside = found.filter((t) => t >= low * 0.999 && t <= high * 1.001);
  if (inside.length < 3) return steps(low, high, 4);
  if (inside.length <= 7) return inside;
  const tens = inside.filter((t) => Math.abs(Math.log10(t) - Math.round(Math.log10(t))) < 1e-6);
  const every = Math.ceil(tens.length / 6);
  return tens.filter((_, i) => i % every === 0);
}

function scale({ type = "linear", domain, ticks, count = 5, format, whole = false }, [from, to]) {
  if (type === "band") {
    const step = (to - from) / domain.length;
    return Object.assign((v) => from + step * (domain.indexOf(v) + 0.5), { step, domain, ticks: ticks ?? domain, format: format ?? String });
  }
  const bend = type === "log" ? Math.log10 : (v) => v;
  const [a, b] = domain.map(bend);
  const at = (v) => from + ((bend(v) - a) / (b - a || 1)) * (to - from);
  const back = (p) => {
    const u = a + ((p - from) / (to - from)) * (b - a);
    return type === "log" ? 10 ** u : u;
  };
  return Object.assign(at, { domain, invert: back, ticks: ticks ?? (type === "log" ? decades(...domain) : steps(...domain, count).filter((v) => !whole || Number.isInteger(v))), format: format ?? tickText });
}

// The range of values with a margin; of none, or of one, a range around it.
function extent(values, pad = 0.06) {
  const kept = values.filter(isNumber);
  if (!kept.length) return [0, 1];
  let low = Infinity;
  let high = -Infinity;
  for (const value of kept) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const more = (high - low || Math.abs(high) || 1) * pad;
  return [low - more, high + more];
}

function logExtent(values, pad = 0.06) {
  const kept = values.filter((v) => isNumber(v) && v > 0);
  if (!kept.length) return [0.1, 1];
  return extent(kept.map(Math.log10), pad).map((v) => 10 ** v);
}

// Heights of labels, pushed apart and kept within [low, high].
function spread(heights, gap = 13, low = -Infinity, high = Infinity) {
  const order = heights.map((_, i) => i).sort((i, j) => heights[i] - heights[j]);
  const out = [...heights];
  for (let pass = 0; pass < 60; pass++) {
    for (let k = 1; k < order.length; k++) {
      const [i, j] = [order[k - 1], order[k]];
      const lack = gap - (out[j] - out[i]);
      if (lack > 0) {
        out[i] -= lack / 2;
        out[j] += lack / 2;
      }
    }
    for (const i of order) out[i] = Math.max(low, Math.min(high, out[i]));
  }
  return out;
}

const SHAPES = {
  circle: (r) => node("circle", { r, class: "face" }),
  square: (r) => node("rect", { x: -r, y: -r, width: 2 * r, height: 2 * r, class: "face" }),
  triangle: (r) => node("polygon", { points: `0,${-r * 1.25} ${r * 1.15},${r * 0.85} ${-r * 1.15},${r * 0.85}`, class: "face" }),
  diamond: (r) => node("polygon", { points: `0,${-r * 1.3} ${r * 1.3},0 0,${r * 1.3} ${-r * 1.3},0`, class: "face" }),
  cross: (r) => node("path", { d: `M${-r} ${-r}L${r} ${r}M${r} ${-r}L${-r} ${r}`, class: "face", "stroke-width": 2 }),
};

// Reading a width makes the browser lay the page out, so it is read once until the window changes.
const widths = new Map();
function widthOf(place) {
  if (!widths.has(place) && place.clientWidth) widths.set(place, place.clientWidth);
  return widths.get(place);
}

// The width of a text of an axis in pixels, and a text cut to a width.
const ruler = Object.assign(node("canvas").getContext("2d"), { font: `650 12px ${getComputedStyle(document.documentElement).getPropertyValue("--ui")}` });
const textWidth = (text) => ruler.measureText(text).width;
function cutTo(width, text) {
  let kept = text;
  while (kept && textWidth(`${kept}…`) > width) kept = kept.slice(0, -1);
  return textWidth(text) <= width ? text : `${kept}…`;
}
// Ticks whose words keep apart: every one, or every second, …, with that of 0 if there is one; of bands those
// that are emphasised, and what fits beside them.
function apart(s, emphasis) {
  const wide = (t) => Math.max(...String(s.format(t)).split("\n").map(textWidth));
  const meet = (t, other) => Math.abs(s(t) - s(other)) < (wide(t) + wide(other)) / 2 + 4;
  if (s.step) {
    const named = s.ticks.filter((t) => String(s.format(t)));
    const kept = named.filter((t) => emphasis?.(t));
    for (const t of named) if (!kept.includes(t) && !kept.some((other) => meet(t, other))) kept.push(t);
    return kept;
  }
  const from = Math.max(0, s.ticks.indexOf(0));
  const every = (n) => s.ticks.filter((_, i) => (i - from) % n === 0);
  let n = 1;
  while (n < s.ticks.length && every(n).some((t, i, all) => i > 0 && meet(t, all[i - 1]))) n++;
  return every(n);
}
const MOST_OF_NAMES = 0.42;

// A chart in `place`; x and y as in scale(), with a label. Marks lie in the order of the calls. Words at
// the axis y have the room that they need, up to a share of the width, unless its margin is `fixed`.
function chart(place, { height = 240, margin = {}, fixed = false, x, y, alt, width, grid = true }) {
  const W = width ?? Math.max(180, widthOf(place) || 480);
  const H = height;
  const m = { top: 12, right: 14, bottom: x.label ? 44 : 28, left: y.type === "band" ? 12 : 46, ...margin };
  const Y = scale(y, y.type === "band" ? [m.top, H - m.bottom] : [H - m.bottom, m.top]);
  const heights = Y.ticks.map((t) => [t, String(Y.format(t))]);
  if (!fixed) m.left = Math.max(m.left, Math.min(MOST_OF_NAMES * W, Math.max(0, ...heights.map(([, name]) => textWidth(name))) + 12));
  const svg = node("svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": alt });
  const X = scale(x, [m.left, W - m.right]);
  const base = H - m.bottom;
  const put = (...nodes) => (svg.append(...nodes), nodes[0]);
  const text = (px, py, content, attributes = {}) => put(node("text", { x: px.toFixed(1), y: py.toFixed(1), ...attributes }, content));
  if (grid && y.type !== "band") for (const t of Y.ticks) put(node("line", { class: "grid", x1: m.left, x2: W - m.right, y1: Y(t), y2: Y(t) }));
  if (grid && y.type === "band" && x.type !== "band") for (const t of X.ticks) put(node("line", { class: "grid", x1: X(t), x2: X(t), y1: m.top, y2: base }));
  for (const [t, name] of heights) text(m.left - 8, Y(t) + 4, fixed ? name : cutTo(m.left - 10, name), { "text-anchor": "end", class: y.emphasis?.(t) ? "strong" : null });
  for (const t of apart(X, x.emphasis)) String(X.format(t)).split("\n").forEach((line, k) => text(X(t), base + 17 + 13 * k, line, { "text-anchor": "middle", class: x.emphasis?.(t) ? "strong" : null }));
  put(node("line", { class: "axis", x1: m.left, x2: W - m.right, y1: base, y2: base }));
  if (x.label) text((m.left + W - m.right) / 2, H - 6, x.label, { "text-anchor": "middle" });
  if (y.label) text(Math.max(0, m.left - 38), m.top - 12, y.label, { "text-anchor": "start" });
  place.replaceChildren(svg);

  const clip = (v, s) => Math.max(Math.min(...s.domain), Math.min(Math.max(...s.domain), v));
  const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${X(a).toFixed(1)} ${Y(b).toFixed(1)}`).join("");
  const line = (points, color, extra = {}) => {
    const kept = points.filter((p) => p && isNumber(p[1]));
    return kept.length ? put(node("path", { d: path(kept), fill: "none", style: `stroke:${color}`, "stroke-width": 1.8, "stroke-linejoin": "round", ...extra })) : null;
  };
  const rule = (x1, y1, x2, y2, extra = {}) => put(node("line", { x1: x1.toFixed(1), y1: y1.toFixed(1), x2: x2.toFixed(1), y2: y2.toFixed(1), class: "axis", ...extra }));
  const whisker = (a, low, high, color, extra = {}) => {
    if (!isNumber(low) || !isNumber(high)) return null;
    return rule(X(a), Y(clip(low, Y)), X(a), Y(clip(high, Y)), { style: `stroke:${color}`, "stroke-width": 1.6, ...extra });
  };
  // A point that pointer and arrow keys reach; it is named by what its tip says.
  function point(px, py, { color, shape = "circle", r = 4.5, hollow, tip, name, act, pressed }) {
    const g = node("g", {
      class: hollow ? "mark hollow" : "mark", transform: `translate(${px.toFixed(1)} ${py.toFixed(1)})`, tabindex: svg.querySelector(".mark") ? -1 : 0,
      role: act ? "button" : "img", "aria-label": name, "aria-pressed": act ? String(Boolean(pressed)) : null, onclick: act, tip,
    }, node("circle", { class: "hit", r: 12 }), SHAPES[shape](pressed ? r + 2.5 : r));
    const face = g.querySelector(".face");
    face.style.fill = hollow ? "var(--card)" : color;
    face.style.stroke = pressed ? "var(--ink)" : hollow || shape === "cross" ? color : "var(--card)";
    if (shape !== "cross") face.setAttribute("stroke-width", pressed ? 2.4 : hollow ? 2 : 1.2);
    return put(g);
  }
  return { svg, X, Y, W, H, m, base, put, text, line, rule, point, whisker, clip };
}

// The lines of a tip: a title, rows of cells, a note.
function tipOf(title, rows = [], note = "") {
  return () => [
    node("b", {}, title),
    rows.length ? node("table", {}, rows.map((row) => node("tr", {}, row.map((cell) => node("td", {}, cell))))) : null,
    note ? node("div", {}, note) : null,
  ].filter(Boolean);
}

// One tip and one keyboard walk for all figures.
function startTips() {
  const tip = $("tip");
  const find = (event) => {
    let at = event.target;
    while (at && !at.tip) at = at.parentNode;
    return at;
  };
  const show = (mark) => {
    if (!mark?.tip) return void (tip.hidden = true);
    tip.replaceChildren(...(typeof mark.tip === "function" ? mark.tip() : [mark.tip]));
    tip.hidden = false;
    const at = mark.getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(innerWidth - own.width - 8, at.left + at.width / 2 - own.width / 2))}px`;
    tip.style.top = `${at.top - own.height - 8 > 0 ? at.top - own.height - 8 : at.bottom + 8}px`;
  };
  document.addEventListener("pointerover", (event) => show(find(event)));
  document.addEventListener("focusin", (event) => show(find(event)));
  document.addEventListener("focusout", () => (tip.hidden = true));
  document.addEventListener("scroll", () => (tip.hidden = true), true);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
    const mark = event.target.closest?.(".mark");
    if (!mark) return;
    const all = [...mark.ownerSVGElement.querySelectorAll(".mark")];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      const next = all[(all.indexOf(mark) + step + all.length) % all.length];
      mark.setAttribute("tabindex", -1);
      next.setAttribute("tabindex", 0);
      next.focus();
    }
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      mark.dispatchEvent(new MouseEvent("click"));
    }
  });
}
