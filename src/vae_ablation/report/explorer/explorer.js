"use strict";
(() => {
const page = JSON.parse(document.getElementById("page").textContent);
const $ = (id) => document.getElementById(id);
const IMAGE = page.shape.length > 1;
const CHANNELS = page.shape[2] ?? 1;
const REACH = 4; // half the side of the plane in prior σ
const MOSAIC = 15; // tiles along each side
const MARGIN = { left: 46, bottom: 38, top: 8, right: 8 };
const TILE_MS = 7; // of a frame that the mosaic may take

const { inflate, readArray, readSteps, decode } = Decoder;

// ---------------------------------------------------------------- runs

const ready = new Map(); // run → its arrays, read when it is first shown

function unpack(run) {
  if (!ready.has(run)) ready.set(run, unpackNow(run));
  return ready.get(run);
}

async function unpackNow(run) {
  const bytes = await inflate(run.arrays);
  readSteps(run.steps ?? [], bytes);
  run.codes = readArray(bytes, run.codes);
  delete run.arrays;
}

function codeOf(run, example) {
  return run.codes.subarray(example * run.latent_dim, (example + 1) * run.latent_dim);
}

// ---------------------------------------------------------------- state

const state = {
  run: null, z: null, plane: [0, 1], anchor: null, hover: null, restOf: null, view: "prior", mosaic: false,
};
const wanted = {}; // what was last asked for, also where the present run has no such choice
let originals = null;
let shownAxes = null; // { x, y, span }: lower corner and side of what the axes show
let drawnExample = ""; // what the two small pictures show
let staticDirty = true;
let scheduled = false;

function invalidate(whole = false) {
  staticDirty ||= whole;
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(frame);
}

function frame() {
  scheduled = false;
  if (!state.run) return;
  if (state.mosaic && drawTiles()) staticDirty = true;
  if (staticDirty) drawCodes();
  staticDirty = false;
  drawPoint();
  drawPictures();
  writeNumbers();
  if (state.mosaic && mosaic.next < MOSAIC * MOSAIC) invalidate();
}

function moveTo(x, y) {
  state.z[state.plane[0]] = x;
  state.z[state.plane[1]] = y;
  state.anchor = null;
  announce();
  invalidate(state.mosaic && state.run.latent_dim > 2);
}

function choose(example) {
  state.anchor = state.restOf = example;
  state.z.set(codeOf(state.run, example));
  announce();
  invalidate(true);
}

function toOrigin() {
  state.z.fill(0);
  state.anchor = state.restOf = null;
  announce();
  invalidate(true);
}

let asked = 0;
async function show(run) {
  const turn = ++asked;
  await unpack(run);
  if (turn !== asked) return;
  const before = state.run;
  state.run = run;
  state.hover = null;
  const sameSpace = before && before.latent_dim === run.latent_dim;
  if (!sameSpace) state.z = new Float32Array(run.latent_dim);
  if (before !== run) state.plane = planeOf(run);
  if (state.anchor !== null) state.z.set(codeOf(run, state.anchor));
  else if (!sameSpace) state.restOf = null;
  writeAxes();
  writeMetrics();
  announce();
  invalidate(true);
}

function planeOf(run) {
  return run.chosenPlane ?? [run.dimensions[0].index, run.dimensions[1].index];
}

// ---------------------------------------------------------------- switches

function segments(fieldset, options, current, change) {
  const box = document.createElement("div");
  for (const option of options) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const text = document.createElement("span");
    Object.assign(input, { type: "radio", name: fieldset.id, value: option.value, checked: option.value === current });
    input.onchange = () => change(option.value);
    if (option.color) text.append(dot(option.color));
    text.append(option.label);
    label.append(input, text);
    box.append(label);
  }
  fieldset.querySelector("div")?.remove();
  fieldset.append(box);
}

function dot(color) {
  const mark = document.createElement("i");
  mark.className = "dot";
  mark.style.background = color;
  return mark;
}

const unique = (values) => [...new Set(values)];

function showLikelihoods() {
  const names = unique(page.runs.map((run) => run.likelihood));
  const options = names.map((name) => ({ value: name, label: name.replaceAll("_", " ") }));
  segments($("likelihood"), options, wanted.likelihood, (name) => {
    wanted.likelihood = name;
    showLatentDims();
  });
  showLatentDims();
}

function showLatentDims() {
  const of = page.runs.filter((run) => run.likelihood === wanted.likelihood);
  const dims = unique(of.map((run) => run.latent_dim));
  const current = dims.includes(wanted.latentDim) ? wanted.latentDim : dims[0];
  segments($("latent-dim"), dims.map((d) => ({ value: d, label: String(d) })), current, (dim) => {
    wanted.latentDim = dim;
    showArms(dim);
  });
  showArms(current);
}

function showArms(latentDim) {
  const of = page.runs.filter((run) => run.likelihood === wanted.likelihood && run.latent_dim === latentDim);
  const options = of.map((run) => ({ value: run.arm, label: run.label, color: run.color }));
  const run = of.find((one) => one.arm === wanted.arm) ?? of.find((one) => one.kind === wanted.kind) ?? of[0];
  segments($("arm"), options, run.arm, (arm) => {
    const chosen = of.find((one) => one.arm === arm);
    Object.assign(wanted, { arm, kind: chosen.kind });
    show(chosen);
  });
  show(run);
}

function showView() {
  const options = [{ value: "prior", label: "prior ±4σ" }, { value: "codes", label: "fit to the codes" }];
  segments($("view"), options, state.view, (view) => {
    state.view = view;
    invalidate(true);
  });
}

function writeAxes() {
  const { run } = state;
  $("axes").hidden = run.latent_dim === 2;
  for (const [side, id] of ["axis-x", "axis-y"].entries()) {
    const select = $(id);
    select.replaceChildren(...run.dimensions.map((one) => {
      const option = document.createElement("option");
      option.value = one.index;
      option.textContent = `z${one.index + 1} (${one.size})`;
      return option;
    }));
    select.value = state.plane[side];
  }
}

// The axis taken from the other select goes to that one instead.
function changeAxis(side, index) {
  const plane = [...state.plane];
  if (plane[1 - side] === index) plane[1 - side] = plane[side];
  plane[side] = index;
  state.plane = state.run.chosenPlane = plane;
  writeAxes();
  announce();
  invalidate(true);
}

function writeMetrics() {
  const { run } = state;
  const parts = [["", run.label], ...run.metrics].map(([name, value]) => {
    const part = document.createElement("span");
    const strong = document.createElement("b");
    strong.textContent = value;
    part.append(name ? `${name} ` : "", strong);
    return part;
  });
  $("metrics").replaceChildren(...parts);
}

// ---------------------------------------------------------------- the plane

const codesCanvas = $("codes");
const planeCanvas = $("plane");
let side = 0; // of the plot area, CSS pixels

function resize() {
  const beside = document.querySelector("aside").offsetWidth + 36;
  const whole = $("explorer").clientWidth;
  const free = whole - beside < 360 ? whole : whole - beside;
  const width = Math.min(free, Math.max(360, window.innerHeight - 272));
  side = Math.floor(width - MARGIN.left - MARGIN.right);
  const height = side + MARGIN.top + MARGIN.bottom;
  const density = window.devicePixelRatio || 1;
  for (const canvas of [codesCanvas, planeCanvas]) {
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
    canvas.getContext("2d").setTransform(density, 0, 0, density, 0, 0);
  }
  $("frame").style.width = `${width}px`;
  $("frame").style.height = `${height}px`;
  invalidate(true);
}

function chooseWindow() {
  if (state.view === "prior") return { x: -REACH, y: -REACH, span: 2 * REACH };
  const { run, plane } = state;
  const low = [Infinity, Infinity];
  const high = [-Infinity, -Infinity];
  for (let i = 0; i < run.codes.length; i += run.latent_dim) {
    for (let k = 0; k < 2; k++) {
      low[k] = Math.min(low[k], run.codes[i + plane[k]]);
      high[k] = Math.max(high[k], run.codes[i + plane[k]]);
    }
  }
  const span = Math.max(1, 1.1 * (high[0] - low[0]), 1.1 * (high[1] - low[1]));
  return { x: (low[0] + high[0] - span) / 2, y: (low[1] + high[1] - span) / 2, span };
}

const toX = (x) => MARGIN.left + ((x - shownAxes.x) / shownAxes.span) * side;
const toY = (y) => MARGIN.top + side - ((y - shownAxes.y) / shownAxes.span) * side;
const fromX = (px) => shownAxes.x + ((px - MARGIN.left) / side) * shownAxes.span;
const fromY = (py) => shownAxes.y + ((MARGIN.top + side - py) / side) * shownAxes.span;

function drawCodes() {
  shownAxes = chooseWindow();
  const ctx = codesCanvas.getContext("2d");
  ctx.clearRect(0, 0, codesCanvas.width, codesCanvas.height);
  drawGrid(ctx);
  ctx.save();
  ctx.beginPath();
  ctx.rect(MARGIN.left, MARGIN.top, side, side);
  ctx.clip();
  if (state.mosaic && mosaic.key === mosaicKey()) drawMosaic(ctx);
  drawPrior(ctx);
  drawScatter(ctx);
  namePrior(ctx);
  ctx.restore();
}

function ticks() {
  const rough = shownAxes.span / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((size) => size >= rough);
  const from = (low) => Math.ceil(low / step - 1e-9) * step;
  const list = (low) => {
    const found = [];
    for (let value = from(low); value <= low + shownAxes.span + 1e-9; value += step) found.push(value);
    return found;
  };
  return { xs: list(shownAxes.x), ys: list(shownAxes.y), digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

function drawGrid(ctx) {
  const { xs, ys, digits } = ticks();
  const right = MARGIN.left + side;
  const bottom = MARGIN.top + side;
  ctx.font = "11px system-ui, sans-serif";
  ctx.fillStyle = "#6b6b6b";
  ctx.strokeStyle = "#ededed";
  ctx.lineWidth = 1;
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  for (const x of xs) {
    line(ctx, toX(x), MARGIN.top, toX(x), bottom);
    ctx.fillText(plain(x, digits), toX(x), bottom + 5);
  }
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  for (const y of ys) {
    line(ctx, MARGIN.left, toY(y), right, toY(y));
    ctx.fillText(plain(y, digits), MARGIN.left - 6, toY(y));
  }
  ctx.strokeStyle = "#d0d2d5";
  ctx.strokeRect(MARGIN.left + 0.5, MARGIN.top + 0.5, side - 1, side - 1);
  ctx.fillStyle = "#4a4a4a";
  ctx.textAlign = "center";
  ctx.textBaseline = "alphabetic";
  ctx.fillText(`${zName(state.plane[0])} (prior σ)`, MARGIN.left + side / 2, bottom + 33);
  ctx.save();
  ctx.translate(13, MARGIN.top + side / 2);
  ctx.rotate(-Math.PI / 2);
  ctx.fillText(`${zName(state.plane[1])} (prior σ)`, 0, 0);
  ctx.restore();
}

function line(ctx, x0, y0, x1, y1) {
  ctx.beginPath();
  ctx.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5);
  ctx.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
  ctx.stroke();
}

function drawPrior(ctx) {
  ctx.strokeStyle = state.mosaic ? "#fff" : "#7d838a";
  ctx.lineWidth = 1;
  ctx.setLineDash([4, 4]);
  for (const radius of [1, 2]) {
    ctx.beginPath();
    ctx.arc(toX(0), toY(0), (radius / shownAxes.span) * side, 0, 2 * Math.PI);
    ctx.stroke();
  }
  ctx.setLineDash([]);
}

// On the diagonal, where neither axis nor crosshair runs; not where the circles are tiny.
function namePrior(ctx) {
  if (side / shownAxes.span < 24) return;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.lineWidth = 3;
  ctx.strokeStyle = state.mosaic ? "#000" : "#fff";
  ctx.fillStyle = state.mosaic ? "#fff" : "#4a4a4a";
  for (const radius of [1, 2]) {
    const at = [toX(radius * Math.SQRT1_2), toY(-radius * Math.SQRT1_2)];
    ctx.strokeText(`${radius}σ`, ...at);
    ctx.fillText(`${radius}σ`, ...at);
  }
}

// After ten classes the colours come again with another shape.
const SHAPES = [
  (ctx, x, y, r) => ctx.arc(x, y, r, 0, 2 * Math.PI),
  (ctx, x, y, r) => { ctx.moveTo(x, y - r); ctx.lineTo(x + r, y + r); ctx.lineTo(x - r, y + r); ctx.closePath(); },
  (ctx, x, y, r) => ctx.rect(x - r, y - r, 2 * r, 2 * r),
  (ctx, x, y, r) => { ctx.moveTo(x, y - r); ctx.lineTo(x + r, y); ctx.lineTo(x, y + r); ctx.lineTo(x - r, y); ctx.closePath(); },
];

function colorOf(example) {
  const rank = page.ranks[example];
  return rank < 0 ? page.unlabelled : page.classes[rank].color;
}

function mark(ctx, example, x, y, radius) {
  ctx.beginPath();
  SHAPES[Math.floor(Math.max(0, page.ranks[example]) / 10) % SHAPES.length](ctx, x, y, radius);
  ctx.fillStyle = colorOf(example);
  ctx.fill();
}

function drawScatter(ctx) {
  const { run, plane } = state;
  let outside = 0;
  ctx.strokeStyle = "#ffffffcc";
  ctx.lineWidth = 0.8;
  for (let example = 0; example < page.ranks.length; example++) {
    const code = codeOf(run, example);
    const x = toX(code[plane[0]]);
    const y = toY(code[plane[1]]);
    const inside = x >= MARGIN.left && x <= MARGIN.left + side && y >= MARGIN.top && y <= MARGIN.top + side;
    if (!inside) outside++;
    ctx.globalAlpha = 0.85;
    mark(ctx, example, x, y, 3.4);
    ctx.globalAlpha = 1;
    ctx.stroke();
  }
  $("outside").textContent = outside ? `${outside} of ${page.ranks.length} codes are outside the plot` : "";
}

function drawPoint() {
  const ctx = planeCanvas.getContext("2d");
  ctx.clearRect(0, 0, planeCanvas.width, planeCanvas.height);
  ctx.save();
  ctx.beginPath();
  ctx.rect(MARGIN.left, MARGIN.top, side, side);
  ctx.clip();
  const x = toX(state.z[state.plane[0]]);
  const y = toY(state.z[state.plane[1]]);
  const shown = shownExample();
  ring(ctx, shown.example, shown.why === "nearest" ? 5.5 : 7);
  ctx.lineWidth = 1;
  ctx.strokeStyle = state.mosaic ? "#ffffff99" : "#1a1a1a66";
  line(ctx, x, MARGIN.top, x, MARGIN.top + side);
  line(ctx, MARGIN.left, y, MARGIN.left + side, y);
  ctx.beginPath();
  ctx.arc(x, y, 8, 0, 2 * Math.PI);
  ctx.lineWidth = 4.5;
  ctx.strokeStyle = "#fff";
  ctx.stroke();
  ctx.lineWidth = 2.2;
  ctx.strokeStyle = "#1a1a1a";
  ctx.stroke();
  ctx.restore();
}

function ring(ctx, example, radius) {
  const code = codeOf(state.run, example);
  const x = toX(code[state.plane[0]]);
  const y = toY(code[state.plane[1]]);
  mark(ctx, example, x, y, radius - 2);
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.lineWidth = 1.5;
  ctx.strokeStyle = "#1a1a1a";
  ctx.stroke();
}

// ---------------------------------------------------------------- mosaic of the plane

const mosaic = { key: "", next: 0, canvas: document.createElement("canvas") };

function mosaicKey() {
  const rest = Array.from(state.z, (value, d) => (state.plane.includes(d) ? "" : value));
  return JSON.stringify([page.runs.indexOf(state.run), state.plane, state.view, rest]);
}

// Decode further tiles within the time that a frame leaves; whether there is something new to see.
function drawTiles() {
  if (!IMAGE || !state.run.steps) return false;
  shownAxes = chooseWindow();
  const [height, width] = page.shape;
  if (mosaic.key !== mosaicKey()) {
    Object.assign(mosaic, { key: mosaicKey(), next: 0 });
    Object.assign(mosaic.canvas, { width: MOSAIC * width, height: MOSAIC * height });
  }
  if (mosaic.next === MOSAIC * MOSAIC) return false;
  const ctx = mosaic.canvas.getContext("2d");
  const started = performance.now();
  while (mosaic.next < MOSAIC * MOSAIC && performance.now() - started < TILE_MS) {
    const column = mosaic.next % MOSAIC;
    const row = Math.floor(mosaic.next / MOSAIC);
    const z = Float32Array.from(state.z);
    z[state.plane[0]] = shownAxes.x + ((column + 0.5) / MOSAIC) * shownAxes.span;
    z[state.plane[1]] = shownAxes.y + (1 - (row + 0.5) / MOSAIC) * shownAxes.span;
    ctx.putImageData(picture(decode(state.run, z)), column * width, row * height);
    mosaic.next++;
  }
  return true;
}

function drawMosaic(ctx) {
  const [height, width] = page.shape;
  const cell = side / MOSAIC;
  const gap = Math.min(2, cell / 12);
  ctx.fillStyle = "#000";
  ctx.fillRect(MARGIN.left, MARGIN.top, side, side);
  ctx.imageSmoothingEnabled = width > cell;
  ctx.globalAlpha = 0.6; // the codes stay in front
  for (let tile = 0; tile < mosaic.next; tile++) {
    const column = tile % MOSAIC;
    const row = Math.floor(tile / MOSAIC);
    const at = [MARGIN.left + column * cell + gap / 2, MARGIN.top + row * cell + gap / 2, cell - gap, cell - gap];
    ctx.drawImage(mosaic.canvas, column * width, row * height, width, height, ...at);
  }
  ctx.globalAlpha = 1;
}

// ---------------------------------------------------------------- pictures

// One channel is grey, two are red and green, and of more the first three are drawn.
function picture(values) {
  const [height, width] = page.shape;
  const image = new ImageData(width, height);
  const level = (value) => Math.round(255 * Math.min(1, Math.max(0, value)));
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) {
      const channel = CHANNELS === 1 ? 0 : c;
      image.data[4 * i + c] = channel < CHANNELS ? level(values[i * CHANNELS + channel]) : 0;
    }
    image.data[4 * i + 3] = 255;
  }
  return image;
}

function paint(canvas, values) {
  const ctx = canvas.getContext("2d", { willReadFrequently: true }); // a few pixels: no matter for a GPU
  if (IMAGE) return ctx.putImageData(picture(values), 0, 0);
  const { width, height } = canvas;
  ctx.clearRect(0, 0, width, height);
  ctx.fillStyle = "#3f6f9f";
  const bar = width / values.length;
  for (let i = 0; i < values.length; i++) {
    const size = (Math.min(page.top, Math.max(0, values[i])) / page.top) * height;
    ctx.fillRect(i * bar, height - size, Math.max(1, bar * 0.85), size);
  }
}

function preparePictures() {
  for (const id of ["drawn", "original", "reconstruction"]) {
    const [height, width] = IMAGE ? page.shape : id === "drawn" ? [360, 600] : [180, 300];
    Object.assign($(id), { width, height });
    $(id).parentElement.classList.toggle("profile", !IMAGE);
  }
}

// The example under the pointer, else the one chosen, else the one whose code is nearest.
function shownExample() {
  if (state.hover !== null && state.hover !== state.anchor) return { example: state.hover, why: "hover" };
  if (state.anchor !== null) return { example: state.anchor, why: "anchor" };
  return { example: nearest(), why: "nearest" };
}

function nearest() {
  const { run, z } = state;
  let best = 0;
  let least = Infinity;
  for (let example = 0; example < page.ranks.length; example++) {
    let distance = 0;
    for (let d = 0; d < run.latent_dim; d++) distance += (run.codes[example * run.latent_dim + d] - z[d]) ** 2;
    if (distance < least) [best, least] = [example, distance];
  }
  return best;
}

const TITLES = { hover: "Example under the pointer", anchor: "Selected example", nearest: "Nearest example" };

function drawPictures() {
  const { run } = state;
  $("undrawable").hidden = Boolean(run.steps);
  $("drawn").parentElement.hidden = !run.steps;
  $("reconstruction").parentElement.parentElement.hidden = !run.steps;
  if (run.steps) paint($("drawn"), decode(run, state.z));
  else $("undrawable").textContent = `This decoder cannot be computed in the page: it has ${run.undrawable}.`;
  const { example, why } = shownExample();
  const known = `${example} ${page.runs.indexOf(run)}`;
  $("example-title").textContent = TITLES[why];
  if (drawnExample === known) return;
  drawnExample = known;
  $("example-name").firstElementChild.style.background = colorOf(example);
  $("example-name").lastElementChild.textContent = nameOf(example);
  const size = page.shape.reduce((a, b) => a * b, 1);
  paint($("original"), Float32Array.from(originals.subarray(example * size, (example + 1) * size), (x) => (x / 255) * page.top));
  if (run.steps) paint($("reconstruction"), decode(run, codeOf(run, example)));
}

function nameOf(example) {
  const rank = page.ranks[example];
  return `${rank < 0 ? "no label" : `label ${page.classes[rank].name}`}, test example ${page.rows[example]}`;
}

// ---------------------------------------------------------------- numbers

const SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉";
const zName = (index) => `z${[...String(index + 1)].map((digit) => SUBSCRIPTS[digit]).join("")}`;
const plain = (value, digits) => (Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits).replace("-", "−");

function writeNumbers() {
  const { run, z, plane } = state;
  let square = 0;
  for (const value of z) square += value * value;
  const logPrior = -0.5 * (square + z.length * Math.log(2 * Math.PI));
  $("z-name").textContent = plane.map(zName).join(", ");
  $("z").textContent = plane.map((d) => plain(z[d], 2)).join(", ");
  $("norm").textContent = `${plain(Math.sqrt(square), 2)} prior σ`;
  $("log-prior").textContent = `${plain(logPrior, 2)} nats`;
  $("rest-line").hidden = run.latent_dim === 2;
  $("rest").textContent = state.restOf === null ? "at 0" : `as in example ${page.rows[state.restOf]}`;
  planeCanvas.dataset.z = JSON.stringify(Array.from(z));
  planeCanvas.dataset.run = run.run;
  planeCanvas.dataset.example = shownExample().example;
}

let speaking = 0;
function announce() {
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    const where = state.plane.map((d) => `${zName(d)} ${plain(state.z[d], 2)}`).join(", ");
    const { example, why } = shownExample();
    $("spoken").textContent = `${state.run.label}: ${where}. ${TITLES[why]}: ${nameOf(example)}.`;
  }, 500);
}

// ---------------------------------------------------------------- pointer and keys

let held = null; // where the pointer went down

function hit(x, y, reach) {
  const { run, plane } = state;
  let best = null;
  let least = reach * reach;
  for (let example = 0; example < page.ranks.length; example++) {
    const code = codeOf(run, example);
    const distance = (toX(code[plane[0]]) - x) ** 2 + (toY(code[plane[1]]) - y) ** 2;
    if (distance < least) [best, least] = [example, distance];
  }
  return best;
}

function pointAt(event) {
  const x = Math.min(MARGIN.left + side, Math.max(MARGIN.left, event.offsetX));
  const y = Math.min(MARGIN.top + side, Math.max(MARGIN.top, event.offsetY));
  return { x, y, example: hit(x, y, event.pointerType === "touch" ? 14 : 8) };
}

function listen() {
  planeCanvas.onpointerdown = (event) => {
    if (event.button !== 0) return;
    planeCanvas.setPointerCapture(event.pointerId);
    held = pointAt(event);
    if (held.example === null) moveTo(fromX(held.x), fromY(held.y));
    else choose(held.example);
  };
  planeCanvas.onpointermove = (event) => {
    const at = pointAt(event);
    if (held && (held.moved || Math.hypot(at.x - held.x, at.y - held.y) > 3)) {
      held.moved = true;
      state.hover = null;
      moveTo(fromX(at.x), fromY(at.y));
    } else if (!held && at.example !== state.hover) {
      state.hover = at.example;
      invalidate();
    }
  };
  planeCanvas.onpointerup = planeCanvas.onpointercancel = () => { held = null; };
  planeCanvas.onpointerleave = () => {
    state.hover = null;
    invalidate();
  };
  planeCanvas.onkeydown = onKey;
  $("mosaic").onchange = (event) => {
    state.mosaic = event.target.checked;
    invalidate(true);
  };
  $("mosaic").parentElement.hidden = !IMAGE;
  $("axis-x").onchange = (event) => changeAxis(0, Number(event.target.value));
  $("axis-y").onchange = (event) => changeAxis(1, Number(event.target.value));
  window.addEventListener("resize", resize);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function onKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const { z, plane } = state;
  if (event.key in ARROWS) {
    const step = (shownAxes.span / 160) * (event.shiftKey ? 10 : 1);
    const [right, up] = ARROWS[event.key];
    moveTo(z[plane[0]] + right * step, z[plane[1]] + up * step);
  } else if (event.key === "Home") toOrigin();
  else if (event.key === "PageDown" || event.key === "PageUp") {
    const count = page.ranks.length;
    const by = event.key === "PageDown" ? 1 : count - 1;
    choose(state.anchor === null ? nearest() : (state.anchor + by) % count);
  } else if (event.key === "Escape") {
    state.anchor = null;
    invalidate();
  } else return;
  event.preventDefault();
}

// ---------------------------------------------------------------- start

function writeLegend() {
  const shown = [...page.classes];
  if (page.ranks.includes(-1)) shown.push({ name: "no label", color: page.unlabelled });
  $("legend").replaceChildren(...shown.map((one) => {
    const item = document.createElement("li");
    item.append(dot(one.color), one.name);
    return item;
  }));
}

async function start() {
  $("dataset").textContent = page.dataset;
  $("left-out").hidden = !page.note;
  $("left-out").textContent = page.note;
  if (!page.runs.length) {
    $("explorer").hidden = true;
    $("nothing").hidden = false;
    $("nothing").textContent = page.note;
    return;
  }
  originals = (await inflate(page.arrays)).subarray(page.originals.at);
  const first = page.runs[page.start];
  Object.assign(wanted, { likelihood: first.likelihood, latentDim: first.latent_dim, arm: first.arm, kind: first.kind });
  preparePictures();
  writeLegend();
  showView();
  listen();
  resize();
  showLikelihoods();
}

start();
})();
