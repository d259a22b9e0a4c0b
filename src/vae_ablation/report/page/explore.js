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
    name.textContent = `Nearest: ${exampleName(loaded.about, k)}${original ? " and its reconstruction" : ""}`;
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
