// Test examples beside the live decoder, and dimensions of a code that are moved one at a time.

const codeOf = (loaded, k) => loaded.codes.subarray(k * loaded.width, (k + 1) * loaded.width);
const exampleName = (about, k) => (about.classes?.[about.labels?.[k]] === undefined ? `test example ${k + 1}` : `test example of class ${about.classes[about.labels[k]]}`);
// Rank among the examples of the one whose code is nearest to z.
const examplesOf = (loaded) => loaded.about.examples?.places ?? range(loaded.codes.length / loaded.width);
function nearestExample(loaded, z) {
  let best = 0;
  let least = Infinity;
  examplesOf(loaded).forEach((k, rank) => {
    const far = codeOf(loaded, k).reduce((sum, v, i) => sum + (v - z[i]) ** 2, 0);
    if (far < least) [best, least] = [rank, far];
  });
  return best;
}
// The example nearest to z: its name, and of pictures the original beside what its code is decoded to.
function nearestView(loaded, view) {
  const { examples } = loaded;
  const name = node("span", {});
  const canvas = (label) => node("canvas", { width: examples.width, height: examples.height, class: examples.channels >= 3 ? "pixels color" : "pixels", role: "img", "aria-label": label });
  const [original, decoded] = examples && view.images ? [canvas("Nearest test example"), canvas("Its reconstruction")] : [];
  const element = node("span", { class: "nearest" }, original, decoded, name);
  let shown = -1;
  const show = (z) => {
    const rank = nearestExample(loaded, z);
    if (rank === shown) return rank;
    shown = rank;
    const k = examplesOf(loaded)[rank];
    name.textContent = `Nearest ${exampleName(loaded.about, k)}${original ? ", reconstructed" : ""}`;
    if (!original) return rank;
    const own = loaded.about.labels?.[k] ?? -1;
    stamp(original.getContext("2d"), examples, rank, 0, 0);
    stamp(decoded.getContext("2d"), view.asImages(decodeAt(loaded, codeOf(loaded, k), Math.max(0, own))), 0, 0, 0);
    return rank;
  };
  return { element, show };
}

const WALKS = 8;
const WALK_STEPS = 9;
// Each of the largest dimensions from one end to the other, the others as in the code of a test example.
function walksOf(loaded, arm) {
  const view = loaded?.steps && loaded.width > 2 && decodedView(loaded, loaded.about.observed?.shape ?? []);
  if (!view?.images) return null;
  const start = codeOf(loaded, 0);
  const rows = loaded.stored.dimensions.slice(0, WALKS).map(({ index, size }) => {
    const values = range(loaded.codes.length / loaded.width).map((k) => codeOf(loaded, k)[index]);
    const [low, high] = isOff(arm) ? [Math.min(...values), Math.max(...values)] : [-3, 3];
    const all = { ...view.images, values: new Uint8Array(WALK_STEPS * view.images.size) };
    for (const step of range(WALK_STEPS)) {
      const z = start.slice();
      z[index] = low + ((high - low) * step) / (WALK_STEPS - 1);
      all.values.set(view.asImages(decodeAt(loaded, z, Math.max(0, loaded.about.labels?.[0] ?? 0))).values, step * all.size);
    }
    const ends = `${number(low, 2)} to ${number(high, 2)}`;
    return [node("small", {}, `z${index + 1}, ${size}`, node("br"), ends), tiles(all, range(WALK_STEPS), WALK_STEPS, `Dimension ${index + 1} from ${ends}, ${armTitle(arm)}`)];
  });
  return node("div", { class: "walks" }, rows);
}

// ---------------------------------------------------------------- curves of training

const CURVES = ["elbo", "objective", "distortion", "rate"];
// Curves of a run: epochs, and the values of each split and column; null where none are held.
async function curvesOf(run) {
  const stored = data.curves[run];
  const bytes = stored && (await part(stored.part));
  if (!bytes) return null;
  const splits = Object.entries(stored.splits).map(([split, columns]) => [split, Object.fromEntries(Object.entries(columns).map(([name, one]) => [name, [...Decoder.readArray(bytes, one)]]))]);
  return { run, epochs: stored.epochs, splits: Object.fromEntries(splits) };
}
// The chosen arm's seeds over the epochs, and in grey one run of each other level of an axis.
FIGURES.curves = (place, state, options, id) => {
  const { free, axis } = contextAxis(id, []);
  const others = contextLevels(axis, state.at).map((level) => armOf.get(armKey(withLevel(state.at, axis.i, level)))).filter((arm) => arm !== undefined);
  const grid = node("div", { class: "three pairs" });
  place.className = "drawing";
  place.replaceChildren(grid, node("div", { class: "ui askbar noprint" }, contextSelect(id, free, axis)));
  drawCurves(grid, id, runsOf[state.arm], others, axis);
  return figures.get(id)?.rows ?? [];
};
async function drawCurves(grid, id, own, others, axis) {
  const firsts = others.map((arm) => runsOf[arm].find((run) => data.curves[run])).filter((run) => run !== undefined);
  const load = async (runs) => (await Promise.all(runs.map(curvesOf))).filter(Boolean);
  const [mine, grey] = [await load(own), await load(firsts)];
  const held = (name) => mine.some((one) => Object.values(one.splits).some((columns) => columns[name]));
  const shown = CURVES.filter(held);
  if (!shown.length) grid.replaceChildren(node("p", { class: "note" }, "No curves of this arm are held here."));
  const panels = shown.map((name) => node("div", { class: "cell" }, node("h3", {}, titled(metricOf(name)), node("small", {}, " nats")), node("div", {})));
  if (panels.length) grid.replaceChildren(...panels);
  shown.forEach((name, k) => drawTerm(panels[k].lastChild, name, mine, grey, axis, k === 0));
  if (figures.has(id)) figures.get(id).rows = [["run", "split", "epoch", ...shown], ...[...mine, ...grey].flatMap((one) => Object.entries(one.splits).flatMap(([split, columns]) => one.epochs.map((epoch, i) => [data.runs.path[one.run], split, epoch, ...shown.map((name) => columns[name]?.[i] ?? null)])))];
}
function drawTerm(place, name, mine, grey, axis, named) {
  const late = (values) => values.slice(Math.floor(values.length * 0.08));
  const inside = mine.flatMap((one) => Object.values(one.splits)).flatMap((columns) => late(columns[name] ?? [])).filter(isNumber);
  const last = Math.max(1, ...[...mine, ...grey].map((one) => one.epochs.at(-1)));
  const c = chart(place, {
    height: 190, margin: { left: 52, bottom: 40, top: 14, right: 8 }, x: { domain: [mine[0].epochs[0], Math.max(last, mine[0].epochs[0] + 1)], count: 4, label: "epoch" }, y: { domain: extent(inside), count: 4 },
    alt: `${metricOf(name).label} by epoch, ${armTitle(data.runs.arm[mine[0].run])}. ${mine.map((one) => `${runText(one.run)} ends at ${Object.entries(one.splits).filter(([, columns]) => columns[name]).map(([split, columns]) => `${number(columns[name].at(-1))} (${split})`).join(", ")}`).join(". ")}.`,
  });
  const draw = (one, split, shade, extra) => {
    const values = one.splits[split]?.[name];
    if (!values) return null;
    const points = one.epochs.map((epoch, i) => [epoch, values[i]]).filter(([, v]) => isNumber(v) && v >= c.Y.domain[0] && v <= c.Y.domain[1]);
    c.line(points, shade, extra);
    return points.at(-1);
  };
  const ends = grey.map((one) => [one, draw(one, "validation", "var(--faint)", { "stroke-width": 1.2 })]);
  for (const one of mine) {
    draw(one, "train", "var(--accent)", { "stroke-width": 1, "stroke-dasharray": "4 3" });
    draw(one, "validation", "var(--accent)", { "stroke-width": 2 });
  }
  const known = named && axis ? ends.filter(([, end]) => end) : [];
  const heights = spread(known.map(([, end]) => c.Y(end[1]) - 4), 12, c.m.top + 8, c.base - 2);
  for (const [k, [one, end]] of known.entries()) {
    c.text(c.X(end[0]) - 2, heights[k], shorten(titleWithSymbol(axis, levelOf(data.runs.arm[one.run], axis.i)), 16), { class: "small halo", "text-anchor": "end" });
  }
}
