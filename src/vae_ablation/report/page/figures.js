// Every figure is a function of a place, the state and its options. It returns the rows of its data.
const FIGURES = {};
const MULTIPLES = 6;
const color = (on) => (on ? "var(--accent)" : "var(--faint)");
const isOff = (arm) => data.arms.kind[arm] !== "beta";
const strength = axisAt.beta;
const CONTEXT_LINES = 6;

// Arms along an axis, the other levels as in `at`: [level, arm] for each level that has an arm.
function along(axis, at) {
  return AXES[axis].levels.map((_, level) => {
    const levels = [...at];
    levels[axis] = level;
    return [level, armOf.get(armKey(levels))];
  }).filter(([, arm]) => arm !== undefined);
}

// The state of a figure by an axis: the chosen levels, or the nearest at which the axis has several.
function stateBy(axis, state) {
  const several = (levels) => along(axis, levels).length > 1;
  if (several(state.at)) return state;
  const arm = nearest(-1, 0, state.at, (one) => several(data.arms.at[one]));
  return arm === undefined ? state : { ...state, at: data.arms.at[arm] };
}
// Where a figure shows other levels than the chosen ones, in a sentence.
function elsewhere(axis, shown, state) {
  const moved = VARIED.filter((one) => one.i !== axis && shown.at[one.i] !== state.at[one.i]).map((one) => one.levels[shown.at[one.i]].label);
  return moved.length ? `The arms chosen above do not vary in the ${AXES[axis].label} alone; the nearest that do are shown: ${moved.join(" · ")}.` : "";
}

// The axis whose other levels are drawn in grey: what the reader chose, else the first that suits.
const contextChoice = {};
function contextAxis(id, taken) {
  const free = VARIED.filter((axis) => !taken.includes(axis.name) && axis.name !== "dataset");
  const usual = ["latent_dim", ...free.filter((axis) => axis.ordered).map((axis) => axis.name), ...free.map((axis) => axis.name)];
  const wanted = contextChoice[id] ?? usual.find((name) => free.some((axis) => axis.name === name));
  return { free, axis: free.find((axis) => axis.name === wanted) ?? null };
}
function contextSelect(id, free, chosen, words = "grey") {
  if (free.length < 2) return null;
  const select = node("select", { class: "btn", "aria-label": "Axis whose other levels are grey", onchange: () => { contextChoice[id] = select.value; drawFigure(id); } },
    free.map((axis) => node("option", { value: axis.name, selected: axis === chosen ? "" : null }, axis.label)));
  return node("label", { class: "ask" }, `${words}: `, select);
}
// The other levels of the context axis, at most six, those nearest to the chosen one.
function contextLevels(axis, at) {
  if (!axis) return [];
  const own = at[axis.i];
  return axis.levels.map((_, level) => level).filter((level) => level !== own).sort((p, q) => Math.abs(p - own) - Math.abs(q - own)).slice(0, CONTEXT_LINES);
}
const withLevel = (at, axis, level) => at.map((v, i) => (i === axis ? level : v));

// ---------------------------------------------------------------- pictures

function stamp(pen, images, index, x, y) {
  const { height, width, channels, size, values } = images;
  const image = pen.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    const from = index * size + i * channels;
    const [r, g, b] = channels >= 3 ? [values[from], values[from + 1], values[from + 2]] : [values[from], values[from], values[from]];
    image.data.set([r, g, b, 255], i * 4);
  }
  pen.putImageData(image, x, y);
}
// Images side by side with a gap between them.
function tiles(images, indices, columns, label) {
  const gap = Math.max(1, Math.round(images.width / 16));
  const rows = Math.ceil(indices.length / columns);
  const canvas = node("canvas", {
    role: "img", "aria-label": label, class: images.channels >= 3 ? "pixels color" : "pixels",
    width: columns * (images.width + gap) - gap, height: Math.max(1, rows * (images.height + gap) - gap),
  });
  const pen = canvas.getContext("2d");
  indices.forEach((index, i) => stamp(pen, images, index, (i % columns) * (images.width + gap), Math.floor(i / columns) * (images.height + gap)));
  return canvas;
}
const range = (n) => Array.from({ length: Math.max(0, n) }, (_, i) => i);
function samplesOf(loaded, arm, side = 5) {
  if (!loaded?.samples?.count) return null;
  return tiles(loaded.samples, range(Math.min(side * side, loaded.samples.count)), side, `Samples decoded from draws of the prior, ${armTitle(arm)}`);
}
function reconstructionsOf(loaded, arm) {
  if (!loaded?.reconstructions?.count || !loaded.originals) return null;
  const count = Math.min(10, loaded.reconstructions.count, loaded.originals.count);
  const both = { ...loaded.reconstructions, values: new Uint8Array(2 * count * loaded.reconstructions.size) };
  both.values.set(loaded.originals.values.subarray(0, count * both.size));
  both.values.set(loaded.reconstructions.values.subarray(0, count * both.size), count * both.size);
  return tiles(both, range(2 * count), count, `${count} test examples above their reconstructions, ${armTitle(arm)}`);
}

// ---------------------------------------------------------------- codes and the live decoder

const CLASS_COLORS = 10;
const planes = new WeakMap();
// Codes of test examples on two dimensions; with `probe` the decoder answers to pointer and arrow keys.
function plane(place, arm, loaded, { reach, height = 260, probe = null, mosaic = false, dims = null } = {}) {
  const { codes, width: size, stored, about } = loaded;
  if (dims === "umap") return umapPlane(place, arm, loaded, height);
  const [i, j] = dims ?? (size > 1 ? stored.dimensions.slice(0, 2).map((one) => one.index) : [0, 0]);
  const n = codes.length / size;
  const xs = range(n).map((k) => codes[k * size + i]);
  const ys = size > 1 ? range(n).map((k) => codes[k * size + j]) : range(n).map((k) => ((k * 0.618034) % 1) * 4 - 2);
  const far = reach ?? Math.max(3.02, ...xs.map(Math.abs), ...(size > 1 ? ys.map(Math.abs) : [])) * 1.03;
  const width = widthOf(place) || 280;
  const side = Math.max(80, Math.min(width - 48, height - 36));
  const c = chart(place, {
    width, height: side + 36, fixed: true, margin: { left: 38, right: Math.max(8, width - side - 38), top: 4, bottom: 32 }, grid: false,
    x: { domain: [-far, far], count: 4 }, y: { domain: [-far, far], count: 4 },
    alt: `Codes of ${n} test examples, ${armTitle(arm)}, ${size > 1 ? `latent dimensions ${i + 1} and ${j + 1}` : "the only latent dimension, heights spread by hand"}; they reach ${number(Math.max(...xs.map(Math.abs)), 2)} in absolute value.${stored.prior ? "" : " Circles: 1, 2 and 3 standard deviations of the prior."}`,
  });
  if (size > 1 && !stored.prior) for (const r of [1, 2, 3]) c.put(node("circle", { cx: c.X(0), cy: c.Y(0), r: c.X(r) - c.X(0), fill: "none", class: "axis", "stroke-dasharray": r === 2 ? null : "2 3" }));
  drawCodes(c, about, xs, ys, side);
  if (!probe) return c;
  liveDecoder(place, c, arm, loaded, { probe, far, side, mosaic, i, j });
  return c;
}
function drawCodes(c, about, xs, ys, side) {
  const n = xs.length;
  const brief = about.classes?.every((name) => name.length === 1) && about.classes.length <= CLASS_COLORS;
  for (let k = 0; k < n; k++) {
    const rank = about.labels?.[k] ?? -1;
    const fill = rank < 0 ? "var(--faint)" : `var(--k${rank % CLASS_COLORS})`;
    if (brief && rank >= 0) c.text(c.X(xs[k]), c.Y(ys[k]) + 4, about.classes[rank], { class: "code", "text-anchor": "middle", style: `fill:${fill};font-size:${side < 240 ? 9 : 11}px`, "aria-hidden": "true" });
    else c.put(node("circle", { cx: c.X(xs[k]).toFixed(1), cy: c.Y(ys[k]).toFixed(1), r: n > 200 ? 1.8 : 2.4, style: `fill:${fill}`, opacity: 0.8 }));
  }
}
// Names of the classes with their colours, where they are not written at the codes.
function classKey(about) {
  const { classes } = about;
  if (!classes?.length || classes.every((name) => name.length === 1)) return null;
  return node("ul", { class: "key classes" }, classes.slice(0, 2 * CLASS_COLORS).map((name, rank) => node("li", {}, node("i", { style: `background:var(--k${rank % CLASS_COLORS})` }), shorten(name, 24))));
}
// UMAP of the codes, whose axes have no unit.
function umapPlane(place, arm, loaded, height) {
  const { umap, about } = loaded;
  const [xs, ys] = [0, 1].map((axis) => range(umap.length / 2).map((k) => umap[2 * k + axis]));
  const far = Math.max(...umap.map(Math.abs)) * 1.05 || 1;
  const width = widthOf(place) || 280;
  const side = Math.max(80, Math.min(width - 16, height - 12));
  const c = chart(place, {
    width, height: side + 12, margin: { left: 8, right: Math.max(8, width - side - 8), top: 4, bottom: 8 }, grid: false, x: { domain: [-far, far], ticks: [] }, y: { domain: [-far, far], ticks: [] },
    alt: `UMAP of the codes of ${xs.length} test examples, ${armTitle(arm)}; its axes have no unit.`,
  });
  drawCodes(c, about, xs, ys, side);
  return c;
}

// E[x | z], of a conditional decoder with the chosen class.
let chosenClass = 0;
function decodeAt(loaded, z, label = chosenClass) {
  const { conditions } = loaded.stored;
  if (!conditions) return Decoder.decode({ steps: loaded.steps }, z);
  const both = new Float32Array(z.length + conditions);
  both.set(z);
  both[z.length + Math.min(label, conditions - 1)] = 1;
  return Decoder.decode({ steps: loaded.steps }, both);
}
function classSelect(loaded) {
  if (!loaded.stored.conditions) return null;
  const select = node("select", { class: "btn", "aria-label": "Class that the decoder is conditioned on", onchange: () => { chosenClass = Number(select.value); redrawCard(); } },
    range(loaded.stored.conditions).map((k) => node("option", { value: k, selected: k === chosenClass ? "" : null }, loaded.about.classes?.[k] ?? String(k))));
  return node("label", { class: "pickone" }, node("span", {}, "class"), select);
}
// Draws of the prior decoded with each class, a row for each.
function classSamples(loaded, arm) {
  const view = loaded?.stored.conditions && loaded.steps && decodedView(loaded, loaded.about.observed?.shape ?? []);
  if (!view?.images) return null;
  const across = 10;
  const rows = Math.min(10, loaded.stored.conditions);
  const draws = normals(across * loaded.width);
  const all = { ...view.images, values: new Uint8Array(rows * across * view.images.size) };
  for (const k of range(rows * across)) {
    const from = (k % across) * loaded.width;
    const drawn = decodeAt(loaded, Float32Array.from(draws.slice(from, from + loaded.width)), Math.floor(k / across));
    all.values.set(view.asImages(drawn).values, k * view.images.size);
  }
  return tiles(all, range(rows * across), across, `Draws of the prior decoded with each class, a row for each class, ${armTitle(arm)}`);
}
// Pictures between two test examples, a row for each pair of labels.
function interpolationsOf(loaded, arm) {
  if (!loaded?.interpolations?.count) return null;
  const { labels, steps } = loaded.stored.interpolations;
  const pairs = labels.map(([from, to]) => `${loaded.about.classes?.[from] ?? from} → ${loaded.about.classes?.[to] ?? to}`).join(", ");
  return [pairs, tiles(loaded.interpolations, range(loaded.interpolations.count), steps, `Between test examples, ${pairs}, ${armTitle(arm)}`)];
}

function meanCode(loaded) {
  const { codes, width } = loaded;
  const n = codes.length / width;
  const rest = new Float32Array(width);
  for (let k = 0; k < codes.length; k++) rest[k % width] += codes[k] / n;
  return rest;
}

function liveDecoder(place, c, arm, loaded, { probe, far, side, mosaic, i, j }) {
  if (!loaded.steps) {
    probe.replaceChildren(node("span", {}, loaded.stored.undrawable ? `The decoder cannot be drawn here: ${loaded.stored.undrawable}.` : ""));
    return;
  }
  let rest = meanCode(loaded);
  let from = "at their mean";
  const shape = loaded.about.observed?.shape ?? [];
  const view = decodedView(loaded, shape);
  const said = node("span", {});
  const beside = nearestView(loaded, view);
  let near = 0;
  const cross = c.put(node("circle", { r: 5, fill: "none", style: "stroke:var(--ink)", "stroke-width": 2 }));
  let [x, y] = planes.get(place)?.at ?? [0, 0];
  const move = (a, b) => {
    x = Math.max(-far, Math.min(far, a));
    y = Math.max(-far, Math.min(far, b));
    planes.set(place, { at: [x, y] });
    cross.setAttribute("cx", c.X(x));
    cross.setAttribute("cy", c.Y(loaded.width > 1 ? y : 0));
    const z = rest.slice();
    z[i] = x;
    if (loaded.width > 1) z[j] = y;
    view.show(decodeAt(loaded, z));
    near = beside.show(z);
    place.dataset.z = JSON.stringify([...z]);
    said.textContent = `Decoded at ${loaded.width > 1 ? `(${number(x)}, ${number(y)})` : number(x)}, ${number(Math.hypot(...z), 2)} from the origin${loaded.width > 2 ? `, other dimensions ${from}` : ""}. Point, or use the arrow keys; press a code, or Page Down, for that of a test example.`;
  };
  const take = (code, words) => {
    [rest, from] = [code.slice(), words];
    move(code[i], loaded.width > 1 ? code[j] : 0);
  };
  const takeExample = (rank) => take(codeOf(loaded, examplesOf(loaded)[rank]), "as in the example");
  c.svg.setAttribute("tabindex", 0);
  c.svg.setAttribute("role", "application");
  c.svg.setAttribute("aria-roledescription", "plane of codes with a live decoder");
  for (const kind of ["pointermove", "pointerdown"]) {
    c.svg.addEventListener(kind, (event) => {
      const box = c.svg.getBoundingClientRect();
      const k = c.W / box.width;
      const [a, b] = [(event.clientX - box.left) * k, (event.clientY - box.top) * k];
      const hit = kind === "pointerdown" ? examplesOf(loaded).findIndex((one) => Math.hypot(c.X(codeOf(loaded, one)[i]) - a, c.Y(loaded.width > 1 ? codeOf(loaded, one)[j] : 0) - b) < 8) : -1;
      hit < 0 ? move(c.X.invert(a), c.Y.invert(b)) : takeExample(hit);
    });
  }
  c.svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const count = examplesOf(loaded).length;
    const jump = { Home: () => take(new Float32Array(loaded.width), "at 0"), PageDown: () => takeExample((near + 1) % count), PageUp: () => takeExample((near + count - 1) % count) }[event.key];
    if (!step && !jump) return;
    event.preventDefault();
    if (jump) return void jump();
    move(x + (step[0] * far) / 20, y + (step[1] * far) / 20);
  });
  if (mosaic && view.images) drawMosaic(place, c, loaded, { far, side, i, j, rest, view });
  probe.replaceChildren(view.element, beside.element, said);
  move(x, y);
}

const MOSAIC = 9;
function drawMosaic(place, c, loaded, { far, side, i, j, rest, view }) {
  const { width, height } = view.images;
  const canvas = node("canvas", { class: "pixels behind", width: MOSAIC * width, height: MOSAIC * height, "aria-hidden": "true", style: `left:${c.m.left}px;top:${c.m.top}px;width:${side}px;height:${side}px` });
  const pen = canvas.getContext("2d");
  for (let k = 0; k < MOSAIC ** 2; k++) {
    const z = rest.slice();
    z[i] = far * (-1 + (2 * (k % MOSAIC) + 1) / MOSAIC);
    if (loaded.width > 1) z[j] = far * (1 - (2 * Math.floor(k / MOSAIC) + 1) / MOSAIC);
    stamp(pen, view.asImages(decodeAt(loaded, z)), 0, (k % MOSAIC) * width, Math.floor(k / MOSAIC) * height);
  }
  place.prepend(canvas);
}

// What a decoded example looks like: a picture, or a profile of the largest features.
function decodedView(loaded, shape) {
  if (shape.length >= 2) {
    const [height, width, channels = 1] = shape;
    const images = { count: 1, height, width, channels, size: height * width * channels, values: new Uint8ClampedArray(height * width * channels) };
    const asImages = (values) => {
      for (let k = 0; k < images.size; k++) images.values[k] = Math.round(255 * values[k]);
      return images;
    };
    const element = node("canvas", { width, height, class: channels >= 3 ? "pixels color" : "pixels", role: "img", "aria-label": "Decoded example" });
    return { element, images, asImages, show: (values) => stamp(element.getContext("2d"), asImages(values), 0, 0, 0) };
  }
  const element = node("div", { class: "profile", role: "img", "aria-label": "Decoded profile" });
  return { element, images: null, show: (values) => profile(element, values, loaded.about) };
}

// Profiles of test cells, or of draws of the prior, as rows of a heat map.
function profileMap(place, rows, about, label) {
  const { features } = about.profile;
  const top = Math.max(1e-6, ...rows.flatMap(([, values]) => values.filter(isNumber)));
  const c = chart(place, {
    height: 15 * rows.length + 64, margin: { bottom: 58, top: 4, right: 4 }, grid: false,
    x: { type: "band", domain: range(features.length), format: () => "" }, y: { type: "band", domain: range(rows.length), format: (k) => rows[k][0] },
    alt: `${label}. ${rows.slice(0, 8).map(([name, values]) => `${name}: ${values.slice(0, 5).map((v) => number(v, 2)).join(", ")}`).join(". ")}.`,
  });
  features.forEach((feature, i) => c.put(node("text", { class: "small", "text-anchor": "end", transform: `translate(${(c.X(i) + 4).toFixed(1)} ${c.base + 8}) rotate(-60)` }, shorten(featureName(about, feature), 9))));
  rows.forEach(([name, values], k) => values.forEach((value, i) => isNumber(value) && c.put(node("rect", {
    x: c.X(i) - c.X.step / 2 + 0.5, y: c.Y(k) - c.Y.step / 2 + 0.5, width: Math.max(0.5, c.X.step - 1), height: Math.max(0.5, c.Y.step - 1), class: "heatcell",
    style: `fill:color-mix(in srgb, var(--accent) ${Math.round((90 * Math.max(0, value)) / top)}%, var(--card))`, tip: tipOf(featureName(about, features[i]), [[name, number(value)]]),
  }))));
}
// Normal draws that are the same in every page.
function normals(count) {
  let state = 20260;
  const uniform = () => { // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  return range(count).map(() => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}
// Rows of test cells, each above its reconstruction, and of draws of the prior.
function profileRows(loaded) {
  const { cells, features, values } = loaded.about.profile;
  const decoded = (z) => { const out = decodeAt(loaded, z); return features.map((k) => out[k]); };
  const name = (cell) => loaded.about.classes?.[loaded.about.labels?.[cell]] ?? `cell ${cell + 1}`;
  const pairs = cells.flatMap((cell, k) => [[name(cell), values[k]], ["decoded", decoded(loaded.codes.subarray(cell * loaded.width, (cell + 1) * loaded.width))]]);
  const draws = normals(8 * loaded.width);
  const samples = range(8).map((k) => [`sample ${k + 1}`, decoded(Float32Array.from(draws.slice(k * loaded.width, (k + 1) * loaded.width)))]);
  return { pairs, samples };
}
const hasProfiles = (loaded) => Boolean(loaded?.steps && loaded.codes && loaded.about.profile?.features.length);

const PROFILE = 12;
// The features with the largest decoded values, as bars; negative ones lie left of 0.
function profile(place, values, about) {
  const order = range(values.length).sort((p, q) => Math.abs(values[q]) - Math.abs(values[p])).slice(0, PROFILE);
  const low = Math.min(0, ...order.map((k) => values[k]));
  const whole = Math.max(1e-9, Math.max(0, ...order.map((k) => values[k])) - low);
  const share = (v) => `${((100 * v) / whole).toFixed(1)}%`;
  place.setAttribute("aria-label", `Largest decoded features: ${order.slice(0, 5).map((k) => `${featureName(about, k)} ${number(values[k])}`).join(", ")}`);
  place.replaceChildren(...order.flatMap((k) => [node("span", {}, featureName(about, k)), node("i", { style: `width:${share(Math.abs(values[k]))};margin-left:${share(Math.min(0, values[k]) - low)}` }), node("span", {}, number(values[k]))]));
}
const featureName = (about, k) => about.features?.[k] ?? `feature ${k + 1}`;

// ---------------------------------------------------------------- KL per dimension

function klOf(arm) {
  return runsOf[arm].map((run) => data.kl[run]).filter((kl) => kl?.length && kl.every(isNumber));
}
function klBars(place, arm, { height = 150, top } = {}) {
  const seeds = klOf(arm);
  if (!seeds.length) return place.replaceChildren(node("p", { class: "note" }, "No KL is defined for this arm."));
  const means = seeds[0].map((_, i) => seeds.reduce((sum, kl) => sum + (kl[i] ?? 0), 0) / seeds.length);
  const high = top ?? Math.max(0.5, ...seeds.flat()) * 1.08;
  const every = Math.ceil(means.length / 10);
  const c = chart(place, {
    height, margin: { left: 40, bottom: 24, top: 8, right: 4 },
    x: { type: "band", domain: means.map((_, i) => i + 1), format: (v) => ((v - 1) % every ? "" : v) }, y: { domain: [0, high], count: 3 },
    alt: `KL per latent dimension, sorted, ${armTitle(arm)}: ${means.slice(0, 16).map((v) => number(v, 2)).join(", ")} nats.`,
  });
  means.forEach((v, i) => {
    c.put(node("rect", { x: c.X(i + 1) - c.X.step * 0.36, width: c.X.step * 0.72, y: c.Y(v), height: Math.max(1, c.base - c.Y(v)), style: `fill:${isOff(arm) ? "var(--warm)" : "var(--accent)"}`, opacity: 0.75 }));
    for (const kl of seeds) if (isNumber(kl[i])) c.put(node("circle", { cx: c.X(i + 1), cy: c.Y(kl[i]), r: 1.8, style: "fill:var(--ink)" }));
  });
  return null;
}

// ---------------------------------------------------------------- the map

const MAP_METRICS = ["rate", "distortion", "elbo", "mse", "sample_fid"].filter((m) => data.arms.m[m]);
let zoomed = false;

FIGURES.map = (place, state) => {
  place.className = "drawing two";
  const panel = node("div", { class: "panel" });
  const card = node("div", { class: "panel" });
  const below = node("div", { class: "panel card-grid below" });
  place.replaceChildren(node("div", { class: "stack" }, panel, below), card);
  const { free, axis } = contextAxis("map", ["beta"]);
  const canvas = node("div", {});
  const tools = node("div", { class: "ui askbar noprint" }, contextSelect("map", free, axis), axis ? node("button", { class: "btn", type: "button", "aria-pressed": String(zoomed), onclick: () => { zoomed = !zoomed; redrawCard(); } }, "only the chosen levels") : null);
  panel.append(node("h3", {}, ARM_COUNT === 1 ? "The only arm" : "All arms", VARIED.every((one) => ["beta", axis?.name].includes(one.name)) ? null : node("small", {}, ` · ${armTitle(state.arm, ["beta", axis?.name])}`)), canvas, tools);
  drawMap(canvas, state, axis);
  drawCard(card, state.arm, below);
  return [["arm", "likelihood", "rate", "rate low", "rate high", "distortion", "distortion low", "distortion high", "elbo"],
    ...visibleOnMap(state, axis).flat().map((arm) => [armTitle(arm), data.arms.name[arm], mean(arm, "rate"), ...interval(arm, "rate"), mean(arm, "distortion"), ...interval(arm, "distortion"), mean(arm, "elbo")])];
};
FIGURES.card = (place, state) => {
  const card = node("div", { class: "panel" });
  place.replaceChildren(card);
  drawCard(card, state.arm);
  return [["metric", "mean", "low", "high"], ...Object.keys(data.arms.m).map((m) => [m, mean(state.arm, m), ...interval(state.arm, m)])];
};

function visibleOnMap(state, axis) {
  const levels = zoomed || !axis ? [] : contextLevels(axis, state.at);
  const lines = [...levels.map((level) => withLevel(state.at, axis.i, level)), state.at].map((at) => along(strength, at).map(([, arm]) => arm).filter((arm) => isNumber(mean(arm, "rate")) && isNumber(mean(arm, "distortion"))));
  return lines.filter((line) => comparable("distortion", [...line, ...lines.at(-1)]));
}

function drawMap(place, state, axis) {
  const lines = visibleOnMap(state, axis);
  const inside = lines.flat().filter((arm) => !isOff(arm));
  const all = inside.length ? inside : lines.flat();
  if (!all.length) return void place.replaceChildren(node("p", { class: "note" }, "No arm with these levels has a rate and a distortion."));
  const most = Math.max(...all.map((arm) => mean(arm, "rate")));
  const own = lines.at(-1);
  const offs = own.filter(isOff).map((arm) => mean(arm, "rate"));
  const right = Math.max(1e-3, offs.length && Math.max(...offs) < 1.5 * most ? Math.max(most, ...offs) : most) * 1.06;
  const [low, high] = extent(all.map((arm) => mean(arm, "distortion")), 0.08);
  const width = widthOf(place) || 560;
  const c = chart(place, {
    height: width < 460 ? 400 : width < 560 ? 500 : 560, margin: { left: 56, right: 68, top: 32, bottom: 46 }, grid: false,
    x: { domain: [-right * 0.015, right], label: "rate (nats): what the code carries", ticks: steps(0, right, 6) },
    y: { domain: [low, high], label: "distortion (nats): what reconstruction loses", count: 6 },
    alt: `Rate and distortion, ${armTitle(state.arm, ["beta"])}. ${own.map((arm) => `${levelOf(arm, strength).label}: ${spoken(arm, "rate")}, ${spoken(arm, "distortion")}`).join(". ")}.`,
  });
  c.names = [];
  drawElboLines(c, all, own);
  for (const arms of lines) drawMapLine(c, arms, arms === own, state, axis);
}

// distortion + rate = −ELBO: straight lines of slope −1, cut at the frame
function drawElboLines(c, arms, own) {
  const [low, high] = c.Y.domain;
  const R = c.X.domain[1];
  // heights of names at the right edge: of arms without a KL term, and of the last arm of the line
  const busy = own.filter((arm) => isOff(arm) || c.X(mean(arm, "rate")) > c.W - c.m.right - 44).map((arm) => [c.Y(c.clip(mean(arm, "distortion"), c.Y)), isOff(arm)]);
  const feet = [];
  const level = (elbo, extra, label) => {
    const cut = ([r, y]) => (y > high ? [-elbo - high, high] : y < low ? [-elbo - low, low] : [r, y]);
    const [p, q] = [[0, -elbo], [R, -elbo - R]].map(cut);
    if (p[0] > R || q[0] < 0 || q[0] - p[0] < R * 0.04) return;
    c.rule(c.X(p[0]), c.Y(p[1]), c.X(q[0]), c.Y(q[1]), extra);
    if (q[1] !== low && busy.some(([y, off]) => Math.abs(c.Y(q[1]) - y) < (off ? 40 : 22))) return;
    if (q[1] !== low) {
      const left = Math.min(c.X(q[0]) + 4, c.W - textWidth(label));
      c.names.push({ left, right: left + textWidth(label), y: c.Y(q[1]) + 4 });
      return void c.text(left, c.Y(q[1]) + 4, label, { class: "halo small" });
    }
    // at the foot of the chart, labels keep apart from one another and from the axis
    const needs = 6 * label.length + 6;
    const right = Math.max(c.X(q[0]) - 2, c.m.left + needs);
    if (feet.some(([from, to]) => right > from && right - needs < to)) return;
    feet.push([right - needs, right]);
    c.names.push({ left: right - needs, right, y: c.Y(low) - 5 });
    c.text(right, c.Y(low) - 5, label, { class: "halo small", "text-anchor": "end" });
  };
  const elbos = arms.map((arm) => -(mean(arm, "rate") + mean(arm, "distortion")));
  const best = Math.max(...elbos);
  const worst = Math.min(...elbos);
  level(best, { "stroke-dasharray": "5 4", style: "stroke:var(--good)" }, `ELBO ${number(best)}`);
  for (const value of steps(worst - 0.2 * (best - worst), best, 6)) if (best - value > 0.06 * (best - worst)) level(value, { class: "grid" }, tickText(value));
}

// The arm of the chosen line that lies farthest right.
function lastOnMap(state) {
  const own = along(strength, state.at).map(([, arm]) => arm).filter((arm) => !isOff(arm) && isNumber(mean(arm, "rate")) && isNumber(mean(arm, "distortion")));
  return own.length ? own.reduce((p, q) => (mean(q, "rate") > mean(p, "rate") ? q : p)) : undefined;
}
function drawMapLine(c, arms, on, state, axis) {
  const shade = color(on);
  const inside = arms.filter((arm) => !isOff(arm));
  c.line(inside.map((arm) => [mean(arm, "rate"), mean(arm, "distortion")]), shade, { "stroke-width": on ? 2.4 : 1.4 });
  const last = axis && inside.length ? inside.reduce((p, q) => (mean(q, "rate") > mean(p, "rate") ? q : p)) : null;
  const placed = last === null ? [] : [nameMapLine(c, last, on, state, axis)];
  const ordered = [...inside.filter((arm) => arm !== state.arm), ...inside.filter((arm) => arm === state.arm)];
  for (const arm of ordered) {
    const [x, y] = [c.X(mean(arm, "rate")), c.Y(mean(arm, "distortion"))];
    if (on) drawDoubt(c, arm, shade, x, y);
    c.point(x, y, { color: shade, r: on ? 5 : 3.4, pressed: arm === state.arm, tip: armTip(arm, MAP_METRICS), name: `${armTitle(arm)}. ${spoken(arm, "rate")}. ${spoken(arm, "distortion")}`, act: () => choose(arm) });
  }
  if (on) {
    for (const arm of [...ordered].reverse()) {
      const [x, y] = [c.X(mean(arm, "rate")), c.Y(mean(arm, "distortion"))];
      const name = arm === state.arm ? levelOf(arm, strength).label : levelOf(arm, strength).short;
      const box = { left: x + 9, right: x + 9 + textWidth(name), y: y - 9 };
      if (arm !== state.arm && placed.some((other) => box.left < other.right + 3 && other.left < box.right + 3 && Math.abs(other.y - box.y) < 13)) continue;
      placed.push(box);
      c.text(box.left, box.y, name, { class: "strong halo" });
    }
  }
  if (on) for (const arm of arms.filter(isOff)) drawOff(c, arm, state);
}

// The level of the grey axis at the last arm of a line; the room that it takes.
function nameMapLine(c, last, on, state, axis) {
  const [x, y] = [c.X(mean(last, "rate")), c.Y(mean(last, "distortion"))];
  const end = lastOnMap(state);
  // a name that would meet the last one of the chosen line moves up
  const meets = !on && end !== undefined && Math.abs(c.X(mean(end, "rate")) - x - 34) < 44 && Math.abs(c.Y(mean(end, "distortion")) - 9 - y) < 15;
  const name = shorten(titleWithSymbol(axis, levelOf(last, axis.i)), 24);
  const wide = textWidth(name);
  const under = y + 20 > c.base - 16 ? -12 : 20; // the foot of the chart has words of its own
  const left = on ? Math.max(c.m.left + 2, x - wide) : Math.min(x + 8, c.W - wide);
  const first = y + (on ? under : meets || left < x + 8 ? -9 : 4);
  const free = (top) => top < c.base - 2 && !c.names.some((other) => left < other.right + 3 && other.left < left + wide + 3 && Math.abs(other.y - top) < 13);
  const box = { left, right: left + wide, y: [0, -13, 13, -26].map((more) => first + more).find(free) ?? first };
  if (!on) c.names.push(box);
  c.text(box.left, box.y, name, { class: on ? "strong halo" : "halo", style: on ? "fill:var(--accent)" : null });
  return box;
}

function drawDoubt(c, arm, shade, x, y) {
  for (const run of runsOf[arm]) {
    const [r, d] = [data.runs.m.rate?.[run], data.runs.m.distortion?.[run]];
    if (isNumber(r) && isNumber(d)) c.put(node("circle", { cx: c.X(c.clip(r, c.X)), cy: c.Y(c.clip(d, c.Y)), r: 2.4, style: `fill:${shade}`, opacity: 0.45 }));
  }
  const [r1, r2] = interval(arm, "rate");
  const [d1, d2] = interval(arm, "distortion");
  if (isNumber(r1)) c.rule(c.X(c.clip(r1, c.X)), y, c.X(c.clip(r2, c.X)), y, { style: `stroke:${shade}` });
  if (isNumber(d1)) c.rule(x, c.Y(c.clip(d1, c.Y)), x, c.Y(c.clip(d2, c.Y)), { style: `stroke:${shade}` });
}

function drawOff(c, arm, state) {
  const R = c.X.domain[1];
  const rate = mean(arm, "rate");
  const within = rate <= R;
  const x = within ? c.X(rate) : c.W - 16;
  const y = c.Y(c.clip(mean(arm, "distortion"), c.Y));
  c.point(x, y, { color: "var(--warm)", shape: "square", r: 5, pressed: arm === state.arm, tip: armTip(arm, MAP_METRICS), name: `${armTitle(arm)}. ${spoken(arm, "rate")}. ${spoken(arm, "distortion")}`, act: () => choose(arm) });
  // below the mark or above it, where no name of a line is
  const free = (top) => top + 15 < c.H - 8 && !c.names.some((name) => name.right > c.W - 68 && Math.abs(name.y - top - 7) < 20);
  const first = [y + 19, y - 26].find(free) ?? y + 19;
  c.text(within ? x + 10 : c.W, within ? y + 4 : first, levelOf(arm, strength).label, { class: "strong halo", "text-anchor": within ? "start" : "end", style: "fill:var(--warm)" });
  if (!within) c.text(c.W, first + 14, `${number(rate)} nats →`, { class: "halo small", "text-anchor": "end", style: "fill:var(--warm)" });
}

// ---------------------------------------------------------------- the card of an arm

const CARD = ["elbo", "rate", "mse", "mse_log1p", "sample_fid", "probe_accuracy"].filter((m) => data.arms.m[m]);
let mosaicOn = false;
// The figure that the card of the chosen arm is in.
const redrawCard = () => drawFigure(figures.has("map") ? "map" : "card");
const planeDims = {};

function statList(arm) {
  return node("dl", { class: "stat" }, CARD.filter((m) => isNumber(mean(arm, m))).slice(0, 4).map((m) => node("div", {}, node("dt", { tip: () => [metricOf(m).help] }, titled(metricOf(m))), node("dd", {}, boundSign(arm, m) + number(mean(arm, m)), node("small", {}, ciText(arm, m))))));
}

// What lies under the map is the same arm's, so that both columns are of a height.
async function drawCard(card, arm, below) {
  const picks = node("div", { class: "card-grid" });
  const runs = runsOf[arm];
  card.replaceChildren(
    node("h3", {}, armTitle(arm)), statList(arm), picks,
    node("p", { class: "note noprint" }, "Runs: ", runs.slice(0, 12).map((run) => [node("button", { class: "textual", type: "button", onclick: () => openRun(run) }, runText(run)), word(data.runs.status, run) === "ok" ? " " : ` (${word(data.runs.status, run)}) `])),
  );
  const kl = node("div", {});
  const loaded = await loadArm(arm);
  if (!card.isConnected && card.parentNode === null) return;
  const samples = samplesOf(loaded, arm);
  const recon = reconstructionsOf(loaded, arm);
  const between = interpolationsOf(loaded, arm);
  const ofClasses = classSamples(loaded, arm);
  const walks = walksOf(loaded, arm);
  const codes = loaded?.codes ? node("div", { class: "plane", id: "card-plane" }) : null;
  const probe = node("div", { class: "probe noprint", id: "card-probe" });
  const profiles = hasProfiles(loaded) ? node("div", {}) : null;
  const drawnProfiles = profiles && node("div", {});
  const axes = codes && loaded.width > 2 ? dimensionSelects(arm, loaded) : null;
  picks.replaceChildren(...[
    samples && node("div", { class: "cell" }, node("h3", {}, "Samples from the prior"), samples),
    codes && node("div", { class: "cell" }, node("h3", {}, "Codes of test examples", axes), codes, classKey(loaded.about)),
    codes && node("div", { class: samples ? "cell wide" : "cell" }, probe, classSelect(loaded), planeDims[arm] !== "umap" && loaded.steps && loaded.about.observed?.shape?.length > 1 ? node("label", { class: "note noprint" }, node("input", { type: "checkbox", id: "mosaic", checked: mosaicOn ? "" : null, onchange: (event) => { mosaicOn = event.target.checked; redrawCard(); } }), " show what the decoder draws behind the codes") : null),
    recon && node("div", { class: "cell wide" }, node("h3", {}, "Test examples above, reconstructions below"), recon),
    between && node("div", { class: "cell wide" }, node("h3", {}, "Between codes ", node("small", {}, between[0])), between[1]),
    ofClasses && node("div", { class: "cell wide" }, node("h3", {}, "Draws of the prior, decoded with each class"), ofClasses),
    walks && node("div", { class: "cell wide" }, node("h3", {}, "Each dimension moved by itself ", node("small", {}, "from the code of a test example")), walks),
    profiles && node("div", { class: "cell wide" }, node("h3", {}, "Test cells above, reconstructions below ", node("small", {}, "log counts")), profiles),
    drawnProfiles && node("div", { class: "cell wide" }, node("h3", {}, "Samples from the prior ", node("small", {}, "log counts")), drawnProfiles),
    klOf(arm).length && node("div", { class: "cell wide" }, node("h3", {}, "KL per latent dimension ", node("small", {}, "nats; bars are means, dots seeds")), kl),
    !loaded && node("p", { class: "note wide" }, "No pictures or codes of this arm are held."),
  ].filter(Boolean));
  below?.replaceChildren(...[between?.[1], kl].map((one) => one?.closest?.(".cell")).filter(Boolean));
  if (codes) plane(codes, arm, loaded, { height: 300, probe, mosaic: mosaicOn, dims: planeDims[arm] });
  if (klOf(arm).length) klBars(kl, arm, { height: 118 });
  if (!profiles) return;
  const { pairs, samples: drawn } = profileRows(loaded);
  profileMap(profiles, pairs, loaded.about, `Profiles of test cells and their reconstructions, ${armTitle(arm)}`);
  profileMap(drawnProfiles, drawn, loaded.about, `Profiles decoded from draws of the prior, ${armTitle(arm)}`);
}

function dimensionSelects(arm, loaded) {
  const chosen = planeDims[arm] ?? loaded.stored.dimensions.slice(0, 2).map((one) => one.index);
  if (chosen === "umap") return node("span", { class: "dims noprint" }, node("button", { class: "btn", type: "button", onclick: () => { planeDims[arm] = undefined; redrawCard(); } }, "latent dimensions"));
  const embedding = loaded.umap ? node("button", { class: "btn", type: "button", onclick: () => { planeDims[arm] = "umap"; redrawCard(); } }, "UMAP") : null;
  const one = (side) => {
    const select = node("select", { class: "btn", "aria-label": side ? "Vertical latent dimension" : "Horizontal latent dimension", onchange: () => {
      const dims = [...chosen];
      const picked = Number(select.value);
      if (dims[1 - side] === picked) dims[1 - side] = dims[side];
      dims[side] = picked;
      planeDims[arm] = dims;
      redrawCard();
    } }, loaded.stored.dimensions.map((dimension) => node("option", { value: dimension.index, selected: dimension.index === chosen[side] ? "" : null }, `z${dimension.index + 1} (${dimension.size})`)));
    return select;
  };
  return node("span", { class: "dims noprint" }, one(0), one(1), embedding);
}

// ---------------------------------------------------------------- samples along an axis

FIGURES.ladder = (place, state, { axis }) => {
  const at = axisAt[axis];
  const shown = stateBy(at, state);
  const arms = along(at, shown.at);
  say(place, elsewhere(at, shown, state));
  const metric = data.arms.m.sample_fid ? "sample_fid" : data.multiples[0];
  place.className = "drawing ladder";
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", `Samples by ${AXES[at].label}; choose one`);
  place.replaceChildren(...arms.map(([level, arm]) => {
    const spot = node("div", { class: "spot" });
    loadArm(arm).then((loaded) => spot.replaceChildren(samplesOf(loaded, arm, 4) ?? node("span", { class: "note" }, word(data.runs.status, runsOf[arm][0]) === "ok" ? "no pictures" : word(data.runs.status, runsOf[arm][0]))));
    return node("button", { type: "button", "aria-pressed": String(arm === state.arm), onclick: () => choose(arm) },
      node("b", {}, titleWithSymbol(AXES[at], AXES[at].levels[level])), spot, node("small", {}, `${titled(metricOf(metric))} ${number(mean(arm, metric))}`));
  }));
  return [[AXES[at].label, metric, "low", "high"], ...arms.map(([level, arm]) => [AXES[at].levels[level].id, mean(arm, metric), ...interval(arm, metric)])];
};

// ---------------------------------------------------------------- metrics by the levels of an axis

const moreMetrics = {};
// Whether a metric may be compared between these arms: scores in nats only where they have one measure.
function comparable(metric, arms) {
  const measures = { measure: data.arms.measure, levels: data.arms.levels }[metricOf(metric).comparable];
  return !measures || new Set(arms.filter((arm) => isNumber(mean(arm, metric))).map((arm) => measures[arm])).size < 2;
}
function comparableMetrics(arms) {
  return data.multiples.filter((m) => comparable(m, arms) && arms.some((arm) => isNumber(mean(arm, m))));
}

FIGURES.response = (place, chosen, { axis }, id) => {
  const at = axisAt[axis];
  const state = stateBy(at, chosen);
  say(place, elsewhere(at, state, chosen));
  const { free, axis: context } = contextAxis(id, [axis]);
  const own = along(at, state.at).map(([, arm]) => arm);
  const usable = comparableMetrics(own);
  const shown = [...new Set([...usable.slice(0, MULTIPLES), ...(moreMetrics[id] ?? [])])].filter((m) => usable.includes(m));
  // two panels side by side on a phone, unless names below an axis need the room
  const longest = AXES[at].ordered ? 0 : Math.max(...AXES[at].levels.flatMap((level) => level.short.split(" ").map((part) => part.length)));
  const grid = node("div", { class: longest * 6.6 * AXES[at].levels.length > 120 ? "three names" : "three pairs" });
  const rest = usable.filter((m) => !shown.includes(m));
  const more = rest.length ? node("select", { class: "btn", "aria-label": "Add a metric", onchange: (event) => { moreMetrics[id] = [...(moreMetrics[id] ?? []), event.target.value]; drawFigure(id); } }, node("option", { value: "" }, "add a metric …"), rest.map((m) => node("option", { value: m }, metricOf(m).label))) : null;
  place.className = "drawing";
  place.replaceChildren(grid, node("div", { class: "ui askbar noprint" }, contextSelect(id, free, context), more));
  const rows = [[AXES[at].label, ...(context ? [context.label] : []), "metric", "mean", "low", "high", "n"]];
  for (const metric of shown) {
    const spot = node("div", {});
    grid.append(node("div", { class: "cell" }, node("h3", { tip: () => [metricOf(metric).help] }, titled(metricOf(metric)), node("small", {}, ` ${metricOf(metric).unit}${betterArrow(metric)}`)), spot));
    rows.push(...drawResponse(spot, state, AXES[at], at, context, metric));
  }
  if (!shown.length) grid.replaceChildren(node("p", { class: "note" }, "No metric is defined for these arms."));
  if (grid.querySelector(".hollow")) say(place, "Hollow marks are bounds, or lie outside the frame.");
  const apart = data.multiples.filter((m) => !comparable(m, own)).map((m) => metricOf(m).label);
  if (apart.length) say(place, `Left out, since these levels measure them on different scales: ${apart.join(", ")}.`);
  return rows;
};

// Adds a sentence to the caption of a figure, for as long as what is drawn stands.
function say(place, text) {
  const said = place.closest("figure")?.querySelector(".said");
  if (said && text) said.textContent += `${text} `;
}

function drawResponse(place, state, axis, at, context, metric) {
  const lines = [...contextLevels(context, state.at).map((level) => withLevel(state.at, context.i, level)), state.at].map((levels) => along(at, levels).filter(([, arm]) => isNumber(mean(arm, metric))));
  const own = lines.pop();
  const armsOf = (line) => line.map(([, arm]) => arm);
  const others = lines.filter((line) => comparable(metric, [...armsOf(own), ...armsOf(line)]));
  lines.splice(0, lines.length, ...others, own);
  const arms = lines.flatMap(armsOf);
  const values = arms.map((arm) => mean(arm, metric));
  if (!values.length) {
    place.replaceChildren(node("p", { class: "note" }, "Undefined for these arms."));
    return [];
  }
  const log = isLog(metric) && values.every((v) => v > 0) && Math.max(...values) / Math.min(...values) > 8;
  const focus = [...own.map(([, arm]) => mean(arm, metric)), ...own.filter(([, arm]) => !isOff(arm)).flatMap(([, arm]) => interval(arm, metric))];
  const domain = responseDomain(values, focus, arms, metric, log);
  const names = lines.map((line) => (line.length && context ? shorten(titleWithSymbol(context, levelOf(line[0][1], context.i)), 18) : ""));
  const named = context && !place.closest(".cell")?.previousElementSibling;
  // half a band is free behind the last level
  const half = ((widthOf(place) || 300) - 56) / axis.levels.length / 2;
  const right = named ? Math.max(8, Math.min(90, 6.4 * Math.max(...names.map((name) => name.length)) + 18 - half)) : 8;
  const tall = axis.ordered ? 1 : Math.max(...axis.levels.map((_, level) => shortText(axis, level, place).split("\n").length));
  const c = chart(place, {
    height: 177 + 13 * tall, margin: { left: 48, bottom: 13 + 13 * tall, top: 14, right },
    x: { type: "band", domain: axis.levels.map((_, level) => level), format: (level) => shortText(axis, level, place, state.at[at]), emphasis: (level) => level === state.at[at] },
    y: { type: log ? "log" : "linear", domain, count: 4, whole: metricOf(metric).whole },
    alt: `${metricOf(metric).label} by ${axis.label}, ${armTitle(own[0]?.[1] ?? state.arm, [axis.name])}. ${own.map(([level, arm]) => `${axis.levels[level].label} ${spoken(arm, metric)}`).join(", ")}.`,
  });
  if (own.some(([level]) => level === state.at[at])) c.rule(c.X(state.at[at]), c.m.top, c.X(state.at[at]), c.base, { style: "stroke:var(--accent)", opacity: 0.35 });
  for (const line of lines) drawResponseLine(c, line, line === own, state, axis, at, metric);
  if (named) nameLines({ ...c, metric }, lines, own, names, axis.ordered ? 9 : 15);
  return lines.flatMap((line) => line.map(([level, arm]) => [axis.levels[level].id, ...(context ? [levelOf(arm, context.i).id] : []), metric, mean(arm, metric), ...interval(arm, metric), data.arms.n[arm]]));
}

// Names of the lines of the first panel, at whichever ends lie further apart.
function nameLines(c, lines, own, names, gap) {
  const known = lines.map((line, k) => ({ own: line === own, name: names[k], ends: [line.find(([, arm]) => !isOff(arm)), line.findLast(([, arm]) => !isOff(arm))] })).filter((line) => line.ends[0]);
  const height = ([, arm]) => c.Y(c.clip(mean(arm, c.metric), c.Y));
  const apart = [0, 1].map((end) => spread(known.map((line) => height(line.ends[end]))).reduce((sum, y, k) => sum + Math.abs(y - height(known[k].ends[end])), 0));
  const end = apart[0] < apart[1] ? 0 : 1;
  const heights = spread(known.map((line) => height(line.ends[end]) + (end ? 4 : -7)), 12, c.m.top + 4, c.base - 2);
  known.forEach((line, k) => c.text(Math.min(c.X(line.ends[end][0]) + (end ? gap : 5), c.W - textWidth(line.name)), heights[k], line.name, { class: line.own ? "small strong halo" : "small halo", style: line.own ? "fill:var(--accent)" : null }));
}

// Arms without a KL term may lie far off on metrics that then have no optimum: they do not set the frame.
function responseDomain(values, focus, arms, metric, log) {
  const kept = metricOf(metric).needs_kl && arms.some((arm) => !isOff(arm)) ? values.filter((_, i) => !isOff(arms[i])) : values;
  const inside = [...kept, ...focus.filter((v) => isNumber(v) && (!log || v > 0) && v >= Math.min(...kept) - (Math.max(...kept) - Math.min(...kept)) && v <= Math.max(...kept) + (Math.max(...kept) - Math.min(...kept)))];
  if (log) return logExtent(inside);
  const [low, high] = extent(inside);
  const few = metricOf(metric).whole && Math.floor(high) - Math.ceil(low) < 1; // of whole numbers, for ticks
  return few ? [Math.floor(low), Math.ceil(high)] : [low, high];
}

// The text of a level below an axis: cut where it is a name, left out where numbers would touch.
function shortText(axis, level, place, chosen = -1) {
  const text = axis.levels[level].short;
  const each = ((widthOf(place) || 300) - 56) / axis.levels.length;
  if (axis.ordered) {
    const every = Math.ceil((7 * Math.max(...axis.levels.map((one) => one.short.length)) + 4) / each);
    const near = chosen >= 0 && level !== chosen && Math.abs(level - chosen) < every;
    return every === 1 || level === chosen || (level % every === 0 && !near) ? text : "";
  }
  const room = Math.max(2, Math.floor(each / 6.6));
  return folded(text, room).map((line) => shorten(line, room)).join("\n");
}
// Words in lines of about as many letters, two at most.
function folded(text, room) {
  const words = text.split(" ");
  if (text.length <= room || words.length < 2) return [text];
  const cuts = range(words.length - 1).map((k) => [words.slice(0, k + 1).join(" "), words.slice(k + 1).join(" ")]);
  return cuts.reduce((p, q) => (Math.max(...q.map((line) => line.length)) < Math.max(...p.map((line) => line.length)) ? q : p));
}

function drawResponseLine(c, line, on, state, axis, at, metric) {
  const joined = line.filter(([, arm]) => !(axis.name === "beta" && isOff(arm)));
  const [low, high] = c.Y.domain;
  if (axis.ordered) c.line(joined.map(([level, arm]) => [level, c.clip(mean(arm, metric), c.Y)]), color(on), { "stroke-width": on ? 2.2 : 1.2 });
  for (const [level, arm] of line) {
    const value = mean(arm, metric);
    const off = isOff(arm);
    const shade = off ? (on ? "var(--warm)" : "var(--faint)") : color(on);
    const outside = value < low || value > high;
    if (on) {
      c.whisker(level, ...interval(arm, metric), shade);
      if (!axis.ordered && data.arms.n[arm] > 1) for (const v of seedValues(arm, metric)) c.put(node("circle", { cx: c.X(level) + 9, cy: c.Y(c.clip(v, c.Y)), r: 1.8, style: `fill:${shade}`, opacity: 0.6 }));
    }
    c.point(c.X(level), c.Y(c.clip(value, c.Y)), {
      color: shade, r: on ? 3.8 : 2.4, shape: off ? "square" : "circle", hollow: boundSign(arm, metric) !== "" || outside, pressed: on && arm === state.arm,
      tip: armTip(arm, [metric]), name: `${armTitle(arm)}. ${spoken(arm, metric)}`, act: () => choose(arm),
    });
    if (outside && on) c.text(c.X(level), c.Y(c.clip(value, c.Y)) + (value < low ? -9 : 18), `${number(value, 2)} ${value < low ? "↓" : "↑"}`, { class: "small halo", "text-anchor": "middle" });
  }
}

// ---------------------------------------------------------------- two arms side by side

FIGURES.pair = (place, state, { axis, levels }) => {
  const at = axisAt[axis];
  const ids = levels.map((level) => (level === "reference" ? AXES[at].reference : AXES[at].levels.findIndex((one) => one.id === level)));
  // Two arms that differ in this axis alone: of the levels chosen above, else of the nearest ones that have both.
  const partner = (arm, k) => armOf.get(armKey(withLevel(data.arms.at[arm], at, ids[k])));
  const first = nearest(at, ids[0], state.at, (arm) => partner(arm, 1) !== undefined);
  if (first === undefined) return void place.replaceChildren(node("p", { class: "note" }, "No two arms differ in this alone."));
  return sideBySide(place, [first, partner(first, 1)]);
};

// The chosen arm beside any other, whose levels the reader picks.
let otherArm = null;
FIGURES.compare = (place, state, options, id) => {
  if (otherArm === null || otherArm === state.arm) otherArm = anotherThan(state.arm);
  const picks = VARIED.map((axis) => {
    const select = node("select", { class: "btn", "aria-label": `${axis.label} of the other arm`, onchange: () => { otherArm = nearest(axis.i, Number(select.value), data.arms.at[otherArm]); drawFigure(id); } },
      axis.levels.map((level, i) => node("option", { value: i, selected: i === data.arms.at[otherArm][axis.i] ? "" : null }, level.short)));
    return node("label", { class: "pickone" }, node("span", {}, axis.symbol), select);
  });
  const grid = node("div", {});
  place.replaceChildren(node("div", { class: "ui askbar noprint" }, "Compare with: ", picks), grid);
  return sideBySide(grid, [state.arm, otherArm]);
};
// The arm without a KL term at the same levels, else the nearest other arm.
function anotherThan(arm) {
  const at = data.arms.at[arm];
  const beside = along(strength, at).map(([, one]) => one).filter((one) => one !== arm);
  const off = beside.find(isOff) ?? beside[0];
  if (off !== undefined) return off;
  const axis = VARIED[0];
  return axis ? nearest(axis.i, (at[axis.i] + 1) % axis.levels.length, at) : arm;
}
function sideBySide(place, arms) {
  place.className = "drawing even keep";
  const panels = arms.map((arm) => node("div", { class: "panel" }, node("h3", {}, armTitle(arm)), statList(arm), node("div", { class: "card-grid" })));
  place.replaceChildren(...panels);
  drawPair(panels, arms);
  return [["metric", ...arms.flatMap((arm) => [armTitle(arm), "low", "high"])], ...Object.keys(data.arms.m).map((m) => [m, ...arms.flatMap((arm) => [mean(arm, m), ...interval(arm, m)])])];
}

async function drawPair(panels, arms) {
  const loaded = await Promise.all(arms.map(loadArm));
  const reach = Math.max(3.02, ...loaded.flatMap((one) => (one?.codes ? planeReach(one) : []))) * 1.04;
  const top = Math.max(0.5, ...arms.flatMap((arm) => klOf(arm).flat())) * 1.08;
  arms.forEach((arm, k) => {
    const one = loaded[k];
    const grid = panels[k].querySelector(".card-grid");
    const samples = samplesOf(one, arm);
    const recon = reconstructionsOf(one, arm);
    const codes = one?.codes ? node("div", { class: "plane" }) : null;
    const kl = klOf(arm).length ? node("div", {}) : null;
    grid.replaceChildren(...[
      samples && node("div", { class: "cell" }, node("h3", {}, "Samples"), samples),
      codes && node("div", { class: samples ? "cell" : "cell wide" }, node("h3", {}, "Codes, same axes"), codes),
      recon && node("div", { class: "cell wide" }, node("h3", {}, "Reconstructions"), recon),
      hasProfiles(one) && node("div", { class: "cell wide" }, node("h3", {}, "Samples ", node("small", {}, "log counts")), node("div", { class: "drawn" })),
      kl && node("div", { class: "cell wide" }, node("h3", {}, "KL per dimension (nats)"), kl),
    ].filter(Boolean));
    if (hasProfiles(one)) profileMap(grid.querySelector(".drawn"), profileRows(one).samples, one.about, `Profiles decoded from draws of the prior, ${armTitle(arm)}`);
    if (codes) plane(codes, arm, one, { reach, height: 280 });
    if (kl) klBars(kl, arm, { height: 120, top });
  });
}
function planeReach(loaded) {
  const dims = loaded.width > 1 ? loaded.stored.dimensions.slice(0, 2).map((one) => one.index) : [0];
  return range(loaded.codes.length / loaded.width).flatMap((k) => dims.map((i) => Math.abs(loaded.codes[k * loaded.width + i])));
}

// ---------------------------------------------------------------- a metric over β and another axis

FIGURES.heat = (place, state, { metric }, id) => {
  const { free, axis } = contextAxis(id, ["beta"]);
  const columns = AXES[strength].levels.map((_, level) => level).filter((level) => AXES[strength].levels[level].value !== null);
  const levels = axis ? axis.levels.map((_, level) => level) : [null];
  const canvas = node("div", {});
  place.className = "drawing panel";
  place.replaceChildren(canvas, node("div", { class: "ui askbar noprint" }, contextSelect(id, free, axis, "rows")));
  const armAt = (row, column) => armOf.get(armKey(withLevel(row === null ? state.at : withLevel(state.at, axis.i, row), strength, column)));
  const rows = levels.filter((row) => columns.some((column) => armAt(row, column) !== undefined));
  if (!rows.length) return void canvas.replaceChildren(node("p", { class: "note" }, "No arm with these levels has a KL term."));
  const label = (row) => (row === null ? "" : titleWithSymbol(axis, axis.levels[row]));
  const c = chart(canvas, {
    height: 34 * rows.length + 52, margin: { bottom: 46, top: 6, right: 6 },
    x: { type: "band", domain: columns, format: (level) => AXES[strength].levels[level].short, label: "β", emphasis: (level) => level === state.at[strength] },
    y: { type: "band", domain: rows, format: label, emphasis: (row) => row === null || row === state.at[axis?.i] },
    alt: `${metricOf(metric).label} by β${axis ? ` and ${axis.label}` : ""}, ${armTitle(state.arm, ["beta", axis?.name])}. ${rows.map((row) => `${label(row)}: ${columns.map((column) => number(mean(armAt(row, column), metric), 2)).join(", ")}`).join(". ")}.`,
  });
  const out = [[axis?.label ?? "", "beta", metric, "low", "high"]];
  for (const row of rows) {
    for (const column of columns) {
      const arm = armAt(row, column);
      const value = arm === undefined ? null : mean(arm, metric);
      if (!isNumber(value)) continue;
      out.push([row === null ? "" : axis.levels[row].id, AXES[strength].levels[column].id, value, ...interval(arm, metric)]);
      const size = levelOf(arm, axisAt.latent_dim).value ?? 1;
      heatCell(c, column, row, value, Math.min(1, value / size), arm, metric, state);
    }
  }
  return out;
};
const shorten = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function heatCell(c, column, row, value, share, arm, metric, state) {
  const [w, h] = [c.X.step - 3, c.Y.step - 3];
  const g = node("g", { class: "mark", transform: `translate(${c.X(column).toFixed(1)} ${c.Y(row).toFixed(1)})`, role: "button", tabindex: c.svg.querySelector(".mark") ? -1 : 0, "aria-pressed": String(arm === state.arm), "aria-label": `${armTitle(arm)}. ${spoken(arm, metric)}`, tip: armTip(arm, [metric]), onclick: () => choose(arm) },
    node("rect", { x: -w / 2, y: -h / 2, width: w, height: h, rx: 3, class: "face heatcell", style: `fill:color-mix(in srgb, var(--accent) ${Math.round(88 * share)}%, var(--card));stroke:${arm === state.arm ? "var(--ink)" : "var(--rule)"}`, "stroke-width": arm === state.arm ? 2.4 : 1 }),
    node("text", { y: 4, "text-anchor": "middle", style: `fill:${share > 0.55 ? "var(--page)" : "var(--ink)"}` }, number(value, 3).replace(/\.00?$/, "")));
  c.put(g);
}

FIGURES.spectrum = (place, state) => {
  const arms = along(strength, state.at).map(([, arm]) => arm).filter((arm) => klOf(arm).length);
  place.className = "drawing panel";
  if (!arms.length) {
    place.replaceChildren(node("p", { class: "note" }, "No arm with these levels has a KL per dimension."));
    return [];
  }
  const means = arms.map((arm) => {
    const seeds = klOf(arm);
    return seeds[0].map((_, i) => seeds.reduce((sum, kl) => sum + (kl[i] ?? 0), 0) / seeds.length);
  });
  const width = Math.max(...means.map((m) => m.length));
  const middle = arms.indexOf(along(strength, state.at).find(([level]) => level === AXES[strength].reference)?.[1]);
  const top = Math.max(0.5, ...(means[middle] ?? means.filter((_, k) => !isOff(arms[k])).flat()), middle < 0 && !means.some((_, k) => !isOff(arms[k])) ? Math.max(...means.flat()) : 0);
  const every = Math.ceil(width / 16);
  const c = chart(place, {
    height: 24 * arms.length + 52, margin: { bottom: 44, top: 6, right: 6 },
    x: { type: "band", domain: range(width), format: (i) => (i % every ? "" : i + 1), label: "latent dimensions, by KL" },
    y: { type: "band", domain: arms, format: (arm) => levelOf(arm, strength).label, emphasis: (arm) => arm === state.arm },
    alt: `KL per latent dimension of each arm, ${armTitle(state.arm, ["beta"])}. ${arms.map((arm, k) => `${levelOf(arm, strength).label}: ${means[k].slice(0, 8).map((v) => number(v, 2)).join(", ")}`).join(". ")} nats.`,
  });
  const share = (v) => Math.min(1, Math.max(0, v / top));
  means.forEach((values, k) => values.forEach((v, i) => c.put(node("rect", {
    x: c.X(i) - c.X.step / 2 + 0.5, y: c.Y(arms[k]) - c.Y.step / 2 + 1, width: Math.max(0.5, c.X.step - 1), height: c.Y.step - 2, class: "heatcell",
    style: `fill:color-mix(in srgb, ${isOff(arms[k]) ? "var(--warm)" : "var(--accent)"} ${Math.round(90 * share(v))}%, var(--card));stroke:var(--rule)`, "stroke-width": 0.6,
    tip: tipOf(levelOf(arms[k], strength).label, [[`dimension ${i + 1} by KL`, `${number(v)} nats`]]),
  }))));
  say(place, `Full colour at ${number(top)} nats.`);
  return [["arm", "rank", "kl"], ...means.flatMap((values, k) => values.map((v, i) => [data.arms.name[arms[k]], i + 1, v]))];
};

// ---------------------------------------------------------------- levels at equal rate

// Orange is left out: it is no KL term's.
const LEVEL_COLORS = ["var(--k0)", "var(--k3)", "var(--k2)", "var(--k4)", "var(--k5)", "var(--k6)", "var(--k8)", "var(--k9)"];
const LEVEL_SHAPES = ["circle", "square", "triangle", "diamond"];
FIGURES.matched = (place, chosen, { axis }) => {
  const at = axisAt[axis];
  const state = stateBy(at, chosen);
  say(place, elsewhere(at, state, chosen));
  const levels = AXES[at].levels.map((level, i) => ({ ...level, i, color: LEVEL_COLORS[i % LEVEL_COLORS.length], shape: LEVEL_SHAPES[i % LEVEL_SHAPES.length], arms: along(strength, withLevel(state.at, at, i)).map(([, arm]) => arm).filter((arm) => isNumber(mean(arm, "rate"))) })).filter((level) => level.arms.length);
  const all = levels.flatMap((level) => level.arms);
  const metrics = ["mse", "mse_log1p", "sample_fid", "probe_accuracy", ...data.multiples].filter((m, i, list) => list.indexOf(m) === i && m !== "rate" && data.arms.m[m] && metricOf(m).better && comparable(m, all) && all.some((arm) => isNumber(mean(arm, m)))).slice(0, 3);
  place.className = "drawing";
  const grid = node("div", { class: "three" });
  place.replaceChildren(node("ul", { class: "key" }, levels.map((level) => node("li", {}, keyMark(level), level.label))), grid);
  const rows = [[AXES[at].label, "arm", "rate", "metric", "mean", "low", "high"]];
  for (const metric of metrics) {
    const spot = node("div", {});
    grid.append(node("div", { class: "cell" }, node("h3", { tip: () => [metricOf(metric).help] }, titled(metricOf(metric)), node("small", {}, ` ${metricOf(metric).unit}${betterArrow(metric)}`)), spot));
    drawMatched(spot, levels, metric, state);
    for (const level of levels) for (const arm of level.arms) rows.push([level.id, data.arms.name[arm], mean(arm, "rate"), metric, mean(arm, metric), ...interval(arm, metric)]);
  }
  return rows;
};
function keyMark({ color: shade, shape }) {
  const face = SHAPES[shape](4.5);
  face.style.fill = shade;
  return node("svg", { viewBox: "-13 -6 26 12", "aria-hidden": "true" }, node("path", { d: "M-13 0H13", style: `stroke:${shade}`, "stroke-width": 2 }), face);
}
function drawMatched(place, levels, metric, state) {
  const usable = (arm) => isNumber(mean(arm, metric)) && mean(arm, "rate") >= 0.01;
  const arms = levels.flatMap((level) => level.arms).filter(usable);
  if (!arms.length) return void place.replaceChildren(node("p", { class: "note" }, "Undefined for these arms."));
  const values = arms.map((arm) => mean(arm, metric));
  const log = isLog(metric) && values.every((v) => v > 0);
  const c = chart(place, {
    height: 230, margin: { left: 48, bottom: 44, top: 10, right: 8 },
    x: { type: "log", domain: logExtent(arms.map((arm) => mean(arm, "rate"))), label: "rate (nats, log scale)" }, y: { type: log ? "log" : "linear", domain: log ? logExtent(values) : extent(values), count: 4 },
    alt: `${metricOf(metric).label} against rate. ${levels.map((level) => `${level.label}: ${level.arms.filter(usable).map((arm) => `${number(mean(arm, metric))} at ${number(mean(arm, "rate"))} nats`).join(", ")}`).join(". ")}.`,
  });
  for (const level of levels) {
    const own = level.arms.filter(usable);
    c.line(own.filter((arm) => !isOff(arm)).map((arm) => [mean(arm, "rate"), mean(arm, metric)]), level.color);
    for (const arm of own) {
      const chosen = data.arms.at[arm][strength] === state.at[strength];
      if (chosen) c.whisker(mean(arm, "rate"), ...interval(arm, metric).map((v) => (log && isNumber(v) && v <= 0 ? c.Y.domain[0] : v)), level.color);
      c.point(c.X(mean(arm, "rate")), c.Y(mean(arm, metric)), { color: level.color, shape: level.shape, r: 3.6, hollow: isOff(arm), pressed: chosen, tip: armTip(arm, ["rate", metric]), name: `${armTitle(arm)}. ${spoken(arm, metric)} at ${spoken(arm, "rate")}`, act: () => choose(arm) });
    }
  }
}

// ---------------------------------------------------------------- effects

let contrastColumns = {};
const contrastCount = data.contrasts.count;
const contrast = (name, i) => (contrastColumns[name] ? word(contrastColumns[name], i) : null);
let QUESTIONS = [];
let forestQuestion = null;
const settingRows = new Map();
// The columns of contrasts, once they are inflated.
function readContrasts(columns) {
  contrastColumns = columns;
  QUESTIONS = [...new Set(range(contrastCount).map((i) => contrast("question", i)))];
  forestQuestion = QUESTIONS.includes("kl_off") ? "kl_off" : QUESTIONS[0];
  for (const i of range(contrastCount)) {
    if (contrast("scope", i) !== "setting") continue;
    const name = [contrast("question", i), contrast("level", i), contrast("metric", i)].join("\u0000");
    settingRows.set(name, [...(settingRows.get(name) ?? []), i]);
  }
}
const questionWords = (question) => ({ kl_off: "KL off", least_beta: "KL off, against the least β", point: "deterministic", model: "models made elsewhere" })[question] ?? AXES[axisAt[question]]?.label ?? question;
const VERDICT_CLASS = { better: "good", worse: "bad", higher: "moved", lower: "moved", equivalent: "same", depends: "moved", undecided: "open" };
const isTrue = (value) => value === true || value === "True";

function levelWords(question, level) {
  if (question === "model") return level === "vae" ? "the VAE" : String(level);
  const axis = AXES[axisOf(question)];
  const found = axis?.levels.find((one) => one.id === String(level) || (String(level) === "off" && one.id === "kl-off"));
  return found ? found.label : question === "kl_off" ? "KL off" : `${questionWords(question)} ${level}`;
}
// The axis that a question is about; undefined of models made elsewhere.
const axisOf = (question) => axisAt[["kl_off", "least_beta", "point"].includes(question) ? "beta" : question];
// Rows of a question at the chosen levels, or at the nearest at which its axis has several.
function effectRows(question, state) {
  const rows = effectRowsAt(question, state);
  const axis = axisOf(question);
  return rows.length || axis === undefined ? rows : effectRowsAt(question, stateBy(axis, state));
}
// Pooled rows of a question; where none is pooled, those of the chosen setting.
function effectRowsAt(question, state) {
  const own = range(contrastCount).filter((i) => contrast("question", i) === question);
  const dataset = AXES[axisAt.dataset].levels[state.at[axisAt.dataset]].id;
  const here = own.filter((i) => [null, dataset].includes(contrast("dataset", i)));
  const pooled = here.filter((i) => contrast("scope", i) === "pooled" && VARIED.every((axis) => axis.name === "dataset" || [null, AXES[axis.i].levels[state.at[axis.i]].id].includes(contrast(axis.name, i))));
  if (pooled.length) return pooled;
  return here.filter((i) => contrast("scope", i) === "setting" && VARIED.every((axis) => axis.name === question || (axis.name === "beta" && ["kl_off", "point"].includes(question)) || [null, AXES[axis.i].levels[state.at[axis.i]].id].includes(contrast(axis.name, i))));
}
function effectText(i) {
  const scaleOf = contrast("scale", i);
  const value = contrast("effect", i) ?? contrast("estimate", i);
  const [low, high] = contrast("effect", i) === null ? [contrast("ci_low", i), contrast("ci_high", i)] : [contrast("effect_low", i), contrast("effect_high", i)];
  const sign = scaleOf === "log" ? "×" : value > 0 ? "+" : "";
  const equal = contrast("estimate", i) === 0 && contrast("n", i) > 1 ? `equal in every ${REPLICATE}` : "";
  return { value: isNumber(value) ? `${sign}${number(value)}` : "–", ci: isNumber(low) && isNumber(high) ? `[${number(low)}, ${number(high)}]` : equal };
}
const verdictTag = (i) => node("span", { class: `verdict ${VERDICT_CLASS[contrast("verdict", i)] ?? "open"}` }, [contrast("verdict", i) ?? "undecided", contrast("verdict", i) === "depends" && contrast("depends_on", i) ? ` on ${AXES[axisAt[contrast("depends_on", i)]]?.label ?? contrast("depends_on", i)}` : ""]);

// A question's effects in its own section: levels down, primary metrics across. Where the pooled
// verdict is "depends", the rows of each level that it depends on follow.
function drawEffectTables(state) {
  document.querySelectorAll(".effects[data-question]").forEach((place) => drawEffects(place, place.dataset.question, state));
}
function drawEffects(place, question, state) {
  const rows = effectRows(question, state).filter((i) => isTrue(contrast("primary", i)));
  if (!rows.length) return void place.replaceChildren();
  const metrics = [...new Set(rows.map((i) => contrast("metric", i)))].sort((p, q) => data.primary.indexOf(p) - data.primary.indexOf(q));
  const lines = effectLines(question, rows, state);
  const cell = (i, part) => {
    if (i === undefined) return node("td", { class: "t" }, part ? "" : "–");
    const text = effectText(i);
    return node("td", { class: "t" }, node("span", { class: "effect" }, text.value), node("small", {}, ` ${text.ci}`), node("br"), verdictTag(i));
  };
  const pooled = contrast("scope", rows[0]) === "pooled";
  const apart = (i) => contrast("verdict", i) === "undecided" && Math.sign(contrast("ci_low", i)) * Math.sign(contrast("ci_high", i)) > 0;
  const notes = [
    metrics.some((m) => isLog(m) && lines.some((line) => !line.part && !line.by.has(m))) ? `–: no ratio is taken of arms that have collapsed${question === "model" ? ", and nothing that a model does not give" : ""}.` : "",
    pooled ? `Paired by ${REPLICATE} and pooled over all other settings${rows.some((i) => isNumber(contrast("ci_low", i))) ? ", with 95 % intervals" : ""}; × is a ratio.` : `At the levels chosen above, paired by ${REPLICATE}, with 95 % intervals; × is a ratio.`,
    rows.some(apart) ? "Verdicts are adjusted for the number of comparisons, so that one can be undecided though its interval excludes no difference." : "",
    whereOf(rows, state),
  ];
  place.replaceChildren(
    node("div", { class: "scroll short", tabindex: 0, role: "region", "aria-label": `Effects: ${questionWords(question)}` }, node("table", { class: "data" },
      node("caption", { class: "sr" }, `Effects of ${questionWords(question)} on the primary metrics`),
      node("thead", {}, node("tr", {}, node("th", { scope: "col", class: "t" }, `against ${levelWords(question, contrast("reference", rows[0]))}`), metrics.map((m) => node("th", { scope: "col", class: "t", tip: () => [metricOf(m).help] }, titled(metricOf(m)) + betterArrow(m).replace(" ", "\u00a0"), node("small", {}, metricOf(m).unit || "\u00a0"))))),
      node("tbody", {}, lines.map((line) => node("tr", {}, node("th", { scope: "row", class: "t" }, line.name), metrics.map((m) => cell(line.by.get(m), line.part))))))),
    node("p", { class: "note" }, notes.filter(Boolean).join(" ")),
  );
}
// Levels of rows that are not the chosen ones.
function whereOf(rows, state) {
  const moved = VARIED.filter((axis) => ![null, AXES[axis.i].levels[state.at[axis.i]].id].includes(contrast(axis.name, rows[0]))).map((axis) => axis.levels.find((level) => level.id === String(contrast(axis.name, rows[0])))?.label).filter(Boolean);
  return moved.length ? `At other levels than the chosen ones: ${moved.join(" · ")}.` : "";
}
function effectLines(question, rows, state) {
  const lines = new Map();
  const line = (name, part = false) => lines.get(name) ?? lines.set(name, { name, part, by: new Map() }).get(name);
  for (const i of rows) {
    line(levelWords(question, contrast("level", i))).by.set(contrast("metric", i), i);
    if (contrast("verdict", i) !== "depends") continue;
    for (const k of range(contrastCount)) {
      const same = ["question", "dataset", "level", "metric"].every((name) => contrast(name, k) === contrast(name, i));
      const [axis, level] = String(contrast("scope", k)).split("=");
      if (same && level !== undefined) line(`${levelWords(question, contrast("level", i))}, ${AXES[axisAt[axis]]?.levels.find((one) => one.id === level)?.label ?? `${axis} ${level}`}`, true).by.set(contrast("metric", i), k);
    }
  }
  return [...lines.values()];
}

let forestAll = false;
FIGURES.forest = (place, state) => {
  const whole = effectRows(forestQuestion, state);
  const primary = whole.filter((i) => isTrue(contrast("primary", i)));
  const rows = (forestAll || !primary.length ? whole : primary).slice(0, 60);
  const select = node("select", { class: "btn", "aria-label": "Question", onchange: () => { forestQuestion = select.value; drawFigure("forest"); } }, QUESTIONS.map((q) => node("option", { value: q, selected: q === forestQuestion ? "" : null }, questionWords(q))));
  const all = node("label", {}, node("input", { type: "checkbox", checked: forestAll ? "" : null, onchange: (event) => { forestAll = event.target.checked; drawFigure("forest"); } }), " every metric");
  const grid = node("div", { class: "forest" });
  place.className = "drawing panel";
  place.replaceChildren(node("div", { class: "ui askbar noprint" }, node("label", {}, "Question: ", select), all), grid);
  if (!rows.length) grid.append(node("p", { class: "note" }, "No comparison of this question at these levels."));
  const byMetric = new Map();
  for (const i of rows) byMetric.set(contrast("metric", i), [...(byMetric.get(contrast("metric", i)) ?? []), i]);
  for (const [metric, own] of byMetric) drawForest(grid, metric, own);
  const names = ["question", "level", "reference", "metric", "estimate", "ci_low", "ci_high", "effect", "effect_low", "effect_high", "verdict", "scope"].filter((name) => contrastColumns[name]);
  return [names, ...rows.map((i) => names.map((name) => contrast(name, i)))];
};

// Round ratios within a range of logarithms, 1 among them.
function ratioTicks([low, high]) {
  const found = decades(Math.exp(low), Math.exp(high)).map(Math.log);
  const kept = found.length > 5 ? found.filter((v) => Math.abs(v / Math.LN10 - Math.round(v / Math.LN10)) < 1e-6 || v === 0) : found;
  return kept.length > 1 ? kept : found;
}
// The margin on both sides as it is drawn; shares are turned back at the reference's mean.
function marginOf(i) {
  const margin = contrast("margin", i);
  if (!isNumber(margin) || margin <= 0) return null;
  if (contrast("scale", i) !== "arcsine") return [-margin, margin];
  const share = contrast("reference_mean", i);
  if (!isNumber(share)) return null;
  const middle = 2 * Math.asin(Math.sqrt(Math.max(0, Math.min(1, share))));
  return [-margin, margin].map((step) => Math.sin(Math.max(0, Math.min(Math.PI, middle + step)) / 2) ** 2 - share);
}
function drawForest(grid, metric, rows) {
  const spot = node("div", {});
  const scaleWords = { log: "ratio, log scale", arcsine: "difference of shares" }[contrast("scale", rows[0])] ?? `difference${metricOf(metric).suffix ? ` in${metricOf(metric).suffix}` : ""}`;
  grid.append(node("div", { class: "cell" }, node("h3", { tip: () => [metricOf(metric).help] }, titled(metricOf(metric)), node("small", {}, ` ${scaleWords}${betterArrow(metric)}`)), spot));
  // differences of shares are drawn as such, ratios by their logarithm
  const shares = contrast("scale", rows[0]) === "arcsine";
  const SHARES = { estimate: "effect", ci_low: "effect_low", ci_high: "effect_high" };
  const pick = (i, name) => contrast((shares && SHARES[name]) || name, i);
  const bounded = rows.flatMap((i) => [pick(i, "estimate"), pick(i, "ci_low"), pick(i, "ci_high")]).filter(isNumber);
  const margin = marginOf(rows[0]);
  const domain = extent([...bounded, 0, ...(margin ?? [])], 0.08);
  const log = pick(rows[0], "scale") === "log";
  const c = chart(spot, {
    height: 30 * rows.length + 34, margin: { right: 92, top: 4, bottom: 28 },
    x: { domain, count: 4, ticks: log ? ratioTicks(domain) : undefined, format: log ? (v) => `×${number(+Math.exp(v).toPrecision(6), 2)}` : tickText }, y: { type: "band", domain: rows, format: (i) => levelWords(pick(i, "question"), pick(i, "level")) },
    alt: `${metricOf(metric).label}. ${rows.map((i) => `${levelWords(pick(i, "question"), pick(i, "level"))} against ${levelWords(pick(i, "question"), pick(i, "reference"))}: ${effectText(i).value} ${effectText(i).ci}, ${pick(i, "verdict") ?? "undecided"}`).join(". ")}.`,
  });
  if (margin) c.put(node("rect", { x: c.X(margin[0]), width: Math.max(0, c.X(margin[1]) - c.X(margin[0])), y: c.m.top, height: c.base - c.m.top, class: "band" }));
  c.rule(c.X(0), c.m.top, c.X(0), c.base);
  for (const i of rows) {
    const verdict = pick(i, "verdict") ?? "undecided";
    const shade = { good: "var(--good)", bad: "var(--warm)", moved: "var(--accent)", same: "var(--soft)", open: "var(--faint)" }[VERDICT_CLASS[verdict] ?? "open"];
    const [low, high] = [pick(i, "ci_low"), pick(i, "ci_high")];
    if (isNumber(low) && isNumber(high)) c.rule(c.X(low), c.Y(i), c.X(high), c.Y(i), { style: `stroke:${shade}`, "stroke-width": 2 });
    if (!isNumber(pick(i, "estimate"))) continue;
    const text = effectText(i);
    const name = `${levelWords(pick(i, "question"), pick(i, "level"))} against ${levelWords(pick(i, "question"), pick(i, "reference"))}`;
    c.point(c.X(pick(i, "estimate")), c.Y(i), { color: shade, r: 4.2, hollow: verdict === "undecided", name: `${name}. ${metricOf(metric).label} ${text.value} ${text.ci}, ${verdict}`, tip: tipOf(name, [[metricOf(metric).label, text.value, text.ci], ["verdict", verdict], ...(isNumber(pick(i, "p_adjusted")) ? [["adjusted p", number(pick(i, "p_adjusted"), 2)]] : []), ...(marginOf(i) ? [["margin", log ? `×${number(Math.exp(marginOf(i)[1]))}` : number(marginOf(i)[1]), pick(i, "margin_from") ?? ""]] : [])], pick(i, "settings") ? `${pick(i, "settings")} settings, ${pick(i, "n")} ${REPLICATE}s each` : `${pick(i, "n")} ${REPLICATE}s`) });
    c.text(c.W - 86, c.Y(i) + 4, verdict, { style: `fill:${shade === "var(--faint)" ? "var(--soft)" : shade}` });
  }
}

// ---------------------------------------------------------------- applications and what to trust

const MOST_SCORES = 12;
FIGURES.applications = (place, state) => {
  const dataset = AXES[axisAt.dataset].levels[state.at[axisAt.dataset]].id;
  const own = data.applications.filter((one) => one.dataset === dataset);
  const groups = new Map();
  for (const one of own) {
    const key = [one.application, one.subject, one.metric].filter(Boolean).join(" · ");
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const grid = node("div", { class: "three names" });
  place.className = "drawing";
  place.replaceChildren(grid);
  for (const [name, rows] of [...groups].slice(0, MOST_SCORES)) drawApplication(grid, name, rows);
  if (groups.size > MOST_SCORES) say(place, `${groups.size - MOST_SCORES} more scores are in the table of applications below.`);
  return [["application", "subject", "metric", "method", "arm", "mean", "low", "high", "n"], ...own.map((one) => [one.application, one.subject, one.metric, one.method, one.arm, one.mean, one.ci_low, one.ci_high, one.n])];
};
function drawApplication(grid, name, rows) {
  const methods = [...new Set(rows.map((row) => row.method))].sort((p, q) => (q === "vae") - (p === "vae"));
  const spot = node("div", {});
  grid.append(node("div", { class: "cell" }, node("h3", {}, capital(name.replaceAll("_", " "))), spot));
  const values = rows.map((row) => row.mean).filter(isNumber);
  const c = chart(spot, {
    height: 26 * methods.length + 40, margin: { bottom: 28, top: 4, right: 10 }, x: { domain: extent([...values]), count: 3 }, y: { type: "band", domain: methods, format: (method) => method.replaceAll("_", " "), emphasis: (method) => method === "vae" },
    alt: `${name}. ${methods.map((method) => `${method}: ${rows.filter((row) => row.method === method).slice(0, 8).map((row) => number(row.mean)).join(", ")}`).join(". ")}.`,
  });
  for (const row of rows.filter((one) => isNumber(one.mean))) {
    c.point(c.X(row.mean), c.Y(row.method), { color: row.method === "vae" ? "var(--accent)" : "var(--soft)", r: 4, shape: row.method === "vae" ? "circle" : "diamond", name: `${row.method}${row.arm ? ` ${row.arm}` : ""}: ${number(row.mean)}`, tip: tipOf(row.arm ? `${row.method}, ${row.likelihood ?? ""} d = ${row.latent_dim ?? ""} ${row.arm}` : row.method, [["mean", number(row.mean)], ["seeds", String(row.count)]]) });
  }
}

const MOST_MARKS = 600;
FIGURES.trust = (place, state, { metric, limit }) => {
  const dataset = axisAt.dataset;
  const own = range(data.runs.arm.length).filter((run) => data.arms.at[data.runs.arm[run]][dataset] === state.at[dataset] && isNumber(data.runs.m[metric]?.[run]));
  place.className = "drawing panel";
  if (!own.length) {
    place.replaceChildren(node("p", { class: "note" }, "No run is long enough to tell."));
    return [];
  }
  const every = Math.ceil(own.length / MOST_MARKS);
  const runs = own.filter((run, k) => k % every === 0 || Math.abs(data.runs.m[metric][run]) >= limit).slice(0, 3 * MOST_MARKS);
  const values = runs.map((run) => data.runs.m[metric][run]);
  const bound = Math.min(12 * limit, Math.max(3 * limit, ...values.map(Math.abs)));
  const by = AXES[strength].varied ? strength : VARIED.find((axis) => axis.name !== "dataset")?.i ?? strength;
  const c = chart(place, {
    height: AXES[by].ordered ? 250 : 263, margin: { left: 56, bottom: AXES[by].ordered ? 44 : 57, top: 26, right: 10 },
    x: { type: "band", domain: AXES[by].levels.map((_, level) => level), format: (level) => shortText(AXES[by], level, place), label: AXES[by].label }, y: { domain: [-bound * 1.08, bound * 1.08], count: 5, label: `${metricOf(metric).label} (nats)` },
    alt: `${metricOf(metric).label} of ${own.length} runs; ${own.filter((run) => Math.abs(data.runs.m[metric][run]) >= limit).length} are at or beyond ${number(limit)} nats.`,
  });
  for (const side of [-limit, limit]) c.rule(c.m.left, c.Y(side), c.W - c.m.right, c.Y(side), { "stroke-dasharray": "5 4" });
  const counts = new Map();
  for (const run of runs) {
    const level = data.arms.at[data.runs.arm[run]][by];
    const k = counts.get(level) ?? 0;
    counts.set(level, k + 1);
    const value = data.runs.m[metric][run];
    const beyond = Math.abs(value) > bound;
    const x = c.X(level) + c.X.step * 0.8 * (((k * 0.618034 + 0.5) % 1) - 0.5);
    c.point(x, c.Y(c.clip(value, c.Y)), { color: Math.abs(value) >= limit ? "var(--warm)" : "var(--faint)", r: 2.8, hollow: beyond, name: `${armTitle(data.runs.arm[run])}, ${runText(run)}: ${number(value)} nats`, tip: tipOf(armTitle(data.runs.arm[run]), [[runText(run), `${number(value)} nats`]]), act: () => openRun(run) });
  }
  if (place.querySelector(".hollow")) say(place, "Hollow marks lie outside the frame.");
  if (every > 1) say(place, `Of ${own.length} runs every ${every}th is drawn, and those that had not converged.`);
  return [["run", metric], ...own.map((run) => [data.runs.path[run], data.runs.m[metric][run]])];
};

// ---------------------------------------------------------------- curves of a run

async function drawCurve(place, run) {
  const stored = data.curves[run];
  const bytes = stored && (await part(stored.part));
  if (!bytes) return void place.replaceChildren(node("p", { class: "note" }, "No curve of this run is held here."));
  const name = ["elbo", "objective", "distortion"].find((one) => stored.splits.validation?.[one] || stored.splits.train?.[one]);
  const series = Object.entries(stored.splits).filter(([, columns]) => columns[name]).map(([split, columns]) => [split, Decoder.readArray(bytes, columns[name])]);
  const inside = series.flatMap(([, values]) => [...values].slice(Math.floor(values.length * 0.08)));
  const c = chart(place, {
    height: 210, margin: { left: 56, bottom: 42, top: 26 }, x: { domain: [stored.epochs[0], Math.max(stored.epochs.at(-1), stored.epochs[0] + 1)], label: "epoch" }, y: { domain: extent(inside), count: 4, label: `${metricOf(name).label} (nats)` },
    alt: `${metricOf(name).label} by epoch. ${series.map(([split, values]) => `${split} ends at ${number(values.at(-1))} nats`).join(", ")}.`,
  });
  const ends = series.map(([, values]) => values.at(-1));
  for (const [split, values] of series) {
    const above = values.at(-1) >= Math.max(...ends);
    const points = [...values].map((v, i) => [stored.epochs[i] ?? i, v]).filter(([, v]) => v >= c.Y.domain[0] && v <= c.Y.domain[1]);
    c.line(points, split === "validation" ? "var(--accent)" : "var(--faint)", { "stroke-width": split === "validation" ? 2.2 : 1.6 });
    const last = points.at(-1);
    if (last) c.text(c.X(last[0]), c.Y(last[1]) + (above ? -8 : 16), split, { "text-anchor": "end", class: "halo", style: split === "validation" ? "fill:var(--accent)" : null });
  }
}
