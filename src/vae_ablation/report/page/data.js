// The study as the page reads it: see contract.schema.json.
const data = JSON.parse($("data").textContent);
const AXES = data.axes;
const VARIED = AXES.map((axis, i) => ({ ...axis, i })).filter((axis) => axis.varied);
const axisAt = Object.fromEntries(AXES.map((axis, i) => [axis.name, i]));
const ARM_COUNT = data.arms.at.length;
const armKey = (levels) => levels.join();
const armOf = new Map(data.arms.at.map((levels, i) => [armKey(levels), i]));
const runsOf = Array.from({ length: ARM_COUNT }, () => []);
data.runs.arm.forEach((arm, run) => runsOf[arm].push(run));
for (const metric of Object.values(data.runs.flags)) Object.assign(metric, { has: new Set(metric) });
const word = (column, i) => (Array.isArray(column) ? column[i] : column.words[column.at[i]]);
const metricOf = (name) => data.metrics[name] ?? { label: data.labels?.[name] ?? name.replaceAll("_", " "), unit: "", better: 0, help: "", scale: "identity" };

const mean = (arm, metric) => data.arms.m[metric]?.mean[arm] ?? null;
// Equal values show no spread, and have no interval.
function interval(arm, metric) {
  const [low, high] = ["low", "high"].map((end) => data.arms.m[metric]?.[end][arm] ?? null);
  return low === high ? [null, null] : [low, high];
}
const seedValues = (arm, metric) => runsOf[arm].map((run) => data.runs.m[metric]?.[run] ?? null).filter(isNumber);
// The sign of a value that is only a bound in some run of an arm.
function boundSign(arm, metric) {
  const bound = metricOf(metric).bound;
  const flagged = bound && data.runs.flags[bound.flag]?.has;
  return flagged && runsOf[arm].some((run) => flagged.has(run)) ? `${bound.sign} ` : "";
}
const runBound = (run, metric) => {
  const bound = metricOf(metric).bound;
  return bound && data.runs.flags[bound.flag]?.has.has(run) ? `${bound.sign} ` : "";
};
const levelOf = (arm, axis) => AXES[axis].levels[data.arms.at[arm][axis]];
// Levels of an arm on the axes that vary: β first, since it is what most studies change.
function armTitle(arm, skip = []) {
  const shown = VARIED.filter((axis) => !skip.includes(axis.name));
  const first = shown.filter((axis) => axis.name === "beta");
  return [...first, ...shown.filter((axis) => axis.name !== "beta")].map((axis) => levelOf(arm, axis.i).label).join(" · ") || (ARM_COUNT === 1 ? "the only arm" : "all else equal");
}
const titleWithSymbol = (axis, level) => (level.value !== null && axis.symbol !== axis.label ? `${axis.symbol} = ${level.short}` : level.label);
function ciText(arm, metric, digits = 3) {
  const [low, high] = interval(arm, metric);
  return isNumber(low) && isNumber(high) ? `[${number(low, digits)}, ${number(high, digits)}]` : "";
}
const valueText = (arm, metric) => `${boundSign(arm, metric)}${number(mean(arm, metric))}${metricOf(metric).suffix ?? ""}`;
function spoken(arm, metric) {
  if (!isNumber(mean(arm, metric))) return `${metricOf(metric).label} undefined`;
  const [low, high] = interval(arm, metric);
  const doubt = isNumber(low) ? ` (95 % interval ${number(low)} to ${number(high)})` : "";
  return `${metricOf(metric).label} ${valueText(arm, metric)}${doubt}`;
}
const seedsText = (arm) => (data.arms.n[arm] === 1 ? `one ${data.arms.unit[arm]}, no interval` : `mean [95 % interval], ${data.arms.n[arm]} ${data.arms.unit[arm]}s`);
/** What replicates an arm: a seed, or a random split of the data. */
const REPLICATE = data.arms.unit?.includes("split") ? "split" : "seed";
const runText = (run) => `${data.runs.split.length ? `split ${data.runs.split[run]}, ` : ""}seed ${data.runs.seed[run]}`;
function armTip(arm, metrics) {
  const rows = metrics.filter((m) => isNumber(mean(arm, m))).map((m) => [metricOf(m).label, valueText(arm, m), ciText(arm, m)]);
  return tipOf(armTitle(arm), rows, seedsText(arm));
}
// `1 run`, `2,953 contrasts`.
const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
const isLog = (metric) => metricOf(metric).scale === "log";
const betterArrow = (metric) => ({ 1: " ↑", "-1": " ↓", 0: "" })[metricOf(metric).better];

// ---------------------------------------------------------------- compressed parts

const inflated = new Map();
// Bytes of a part, null where the page has none; inflated when first asked for.
function part(name) {
  if (!inflated.has(name)) {
    const place = $(`part-${name}`);
    inflated.set(name, place ? Decoder.inflate(place.textContent) : Promise.resolve(null));
  }
  return inflated.get(name);
}
// A table that lies in a part of its own as JSON.
const partJson = async (name) => JSON.parse(new TextDecoder().decode(await part(name)));
const shownArm = (arm) => data.shown[arm] ?? null;

const loadedArms = new Map();
// Pictures and codes of an arm; null where there are none.
function loadArm(arm) {
  if (!loadedArms.has(arm)) loadedArms.set(arm, loadArmNow(arm));
  return loadedArms.get(arm);
}
async function loadArmNow(arm) {
  const stored = shownArm(arm);
  const bytes = stored && (await part(`arm${arm}`));
  if (!bytes) return null;
  const dataset = AXES[axisAt.dataset].levels[data.arms.at[arm][axisAt.dataset]].id;
  const about = data.datasets[dataset] ?? {};
  const originals = about.originals && imagesFrom(await part(`originals-${dataset}`), about.originals);
  const examples = about.examples && imagesFrom(await part(`examples-${dataset}`), about.examples);
  const steps = stored.steps && (await part(`decoder${arm}`));
  return {
    about, originals, examples,
    stored,
    reconstructions: stored.reconstructions && imagesFrom(bytes, stored.reconstructions),
    samples: stored.samples && imagesFrom(bytes, stored.samples),
    interpolations: stored.interpolations && imagesFrom(bytes, stored.interpolations),
    umap: stored.umap && Decoder.readArray(bytes, stored.umap),
    codes: stored.codes && Decoder.readArray(bytes, stored.codes),
    width: stored.codes?.shape[1] ?? 0,
    steps: steps ? Decoder.readSteps(structuredClone(stored.steps), steps) : null,
  };
}
function imagesFrom(bytes, { at, length, count, size: [height, width, channels] }) {
  return { count, height, width, channels, size: height * width * channels, values: bytes.subarray(at, at + length) };
}
