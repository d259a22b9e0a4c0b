// State, switches, addresses, the drawer of a run, and what is drawn when.
const reference = AXES.map((axis) => axis.reference);
const state = { at: reference, arm: 0 };
let section = "";

// The arm with this level, of those that are wanted, that is nearest to these levels: data set, likelihood and
// dimension count most.
function nearest(axis, level, at, wanted = null) {
  let best = wanted ? undefined : 0;
  let least = Infinity;
  data.arms.at.forEach((levels, arm) => {
    if ((axis >= 0 && levels[axis] !== level) || (wanted && !wanted(arm))) return;
    const far = levels.reduce((sum, v, i) => sum + (v === at[i] ? 0 : 100 - i + Math.min(0.9, Math.abs(v - at[i]) / 100)), 0);
    if (far < least) [best, least] = [arm, far];
  });
  return best;
}

// The arm shown first: the reference, or, where few arms differ from it on one axis alone (a study of
// one change at a time around another arm), the arm that most others are beside.
function firstArm() {
  const beside = (arm) => AXES.reduce((sum, _, axis) => sum + along(axis, data.arms.at[arm]).length - 1, 0);
  const usual = armOf.get(armKey(reference)) ?? nearest(-1, 0, reference);
  let best = usual;
  let most = 2 * beside(usual);
  range(ARM_COUNT).forEach((arm) => {
    const count = beside(arm);
    if (count > most) [best, most] = [arm, count];
  });
  return best;
}

// ---------------------------------------------------------------- drawing

const figures = new Map();
const stale = new Set();
const near = new Set();
function drawFigure(id) {
  const figure = figures.get(id);
  stale.delete(id);
  const focused = document.activeElement?.closest?.(`#${CSS.escape(id)} svg`);
  const order = focused ? [...focused.querySelectorAll(".mark")].indexOf(document.activeElement) : -1;
  const which = focused ? [...figure.place.querySelectorAll("svg")].indexOf(focused) : -1;
  const asked = document.activeElement?.closest?.(`#${CSS.escape(id)} select, #${CSS.escape(id)} button, #${CSS.escape(id)} input`);
  const name = asked?.getAttribute("aria-label") ?? null;
  const said = figure.place.closest("figure").querySelector(".said");
  if (said) said.textContent = "";
  figure.rows = FIGURES[figure.draws](figure.place, state, figure.options, id) ?? [];
  if (order >= 0) {
    const svg = figure.place.querySelectorAll("svg")[which];
    (svg?.querySelector('.mark[aria-pressed="true"]') ?? svg?.querySelectorAll(".mark")[order])?.focus({ preventScroll: true });
  } else if (name) figure.place.querySelector(`[aria-label="${CSS.escape(name)}"]`)?.focus({ preventScroll: true });
}
// Everything is drawn once, so that places keep their height; then only what is near the window.
function redraw(all = false) {
  for (const id of [...stale]) if (all || near.has(id)) drawFigure(id);
}
function update() {
  for (const id of figures.keys()) stale.add(id);
  redraw();
  drawPaper(state);
  drawEffectTables(state);
  showSwitches();
  document.querySelectorAll("[data-when]").forEach((place) => {
    const wanted = JSON.parse(place.dataset.when);
    place.hidden = Object.entries(wanted).some(([name, level]) => axisAt[name] !== undefined && AXES[axisAt[name]].levels[state.at[axisAt[name]]].id !== level);
  });
}
function choose(arm, quiet = false) {
  state.arm = arm;
  state.at = data.arms.at[arm];
  update();
  if (quiet) return;
  address();
  $("live").textContent = `Showing ${armTitle(arm)}`;
}

// ---------------------------------------------------------------- switches

const controls = [];
const MOST_SEGMENTS = 4;
const MOST_LETTERS = innerWidth > 900 ? 64 : 26;
const MOST_CONTROLS = 4;

function segments(axis) {
  const inputs = axis.levels.map((level, i) => node("input", { type: "radio", name: `axis-${axis.i}`, value: i, "aria-label": level.label, onchange: () => choose(nearest(axis.i, i, state.at)) }));
  const element = node("fieldset", {}, node("legend", { class: axis.symbol.length > 2 ? "long" : null }, axis.symbol), node("div", { class: "seg" }, axis.levels.map((level, i) => node("label", {}, inputs[i], node("span", {}, level.short)))));
  return { element, show: (level) => inputs.forEach((input, i) => (input.checked = i === level)) };
}
function slider(axis) {
  const stops = axis.levels.map((level) => node("span", {}, level.short));
  const every = Math.ceil(axis.levels.length / 8);
  stops.forEach((stop, i) => { if (i % every && i !== axis.levels.length - 1) stop.textContent = ""; });
  const input = node("input", { type: "range", id: `slider-${axis.i}`, min: 0, max: axis.levels.length - 1, step: 1, "aria-label": `${axis.label}, from ${axis.levels[0].short} to ${axis.levels.at(-1).short}`, oninput: () => choose(nearest(axis.i, Number(input.value), state.at)) });
  const element = node("fieldset", { class: "slide" }, node("legend", { class: axis.symbol.length > 2 ? "long" : null }, node("label", { for: `slider-${axis.i}` }, axis.symbol)), node("div", {}, input, node("div", { class: "stops", "aria-hidden": "true" }, stops)));
  const show = (level) => {
    input.value = level;
    input.setAttribute("aria-valuetext", axis.levels[level].label);
    stops.forEach((stop, i) => stop.classList.toggle("on", i === level));
    if (every > 1) stops[level].textContent ||= "";
  };
  return { element, show };
}
function selector(axis) {
  const select = node("select", { class: "btn", "aria-label": axis.label, onchange: () => choose(nearest(axis.i, Number(select.value), state.at)) }, axis.levels.map((level, i) => node("option", { value: i }, level.short)));
  return { element: node("label", { class: "pickone" }, node("span", {}, axis.symbol), select), show: (level) => (select.value = level) };
}
function startSwitches() {
  const place = $("switches");
  const tools = place.querySelector(".tools");
  const order = [...VARIED.filter((axis) => axis.name !== "beta"), ...VARIED.filter((axis) => axis.name === "beta")];
  const main = order.length <= MOST_CONTROLS ? order : [...order.slice(0, MOST_CONTROLS - 2), ...order.filter((axis) => axis.name === "beta")];
  const rest = order.filter((axis) => !main.includes(axis));
  const long = main.filter((axis) => axis.ordered && axis.levels.length > MOST_SEGMENTS);
  const slid = long.find((axis) => axis.name === "beta") ?? long[0];
  const control = (axis, plain) => {
    const letters = axis.levels.reduce((sum, level) => sum + level.short.length + 3, 0);
    const made = !plain && axis.levels.length <= MOST_SEGMENTS && letters <= MOST_LETTERS ? segments(axis) : !plain && axis === slid ? slider(axis) : selector(axis);
    controls.push({ axis, ...made });
    return made.element;
  };
  for (const axis of main) tools.before(control(axis, false));
  if (rest.length) {
    const box = node("details", { class: "pick" }, node("summary", { class: "btn" }, `${rest.length} more`), node("div", { class: "column" }, rest.map((axis) => control(axis, true))));
    tools.before(box);
  }
  place.parentElement.hidden = false;
}
const showSwitches = () => controls.forEach(({ axis, show }) => show(state.at[axis.i]));

// ---------------------------------------------------------------- addresses

// #section~level~level…: the levels of the axes that vary, in order; run=path opens a run.
function address(run) {
  const where = run === undefined ? section || "answer" : `run=${data.runs.path[run]}`;
  history.replaceState(null, "", `#${encodeURIComponent(where)}${VARIED.map((axis) => `~${encodeURIComponent(axis.levels[state.at[axis.i]].id)}`).join("")}`);
}
function go(id) {
  section = $(id) ? id : "answer";
  $(section)?.scrollIntoView();
  address();
}
function follow() {
  let parts;
  try {
    parts = location.hash.slice(1).split("~").map(decodeURIComponent);
  } catch {
    return;
  }
  const [where, ...levels] = parts;
  if (levels.length === VARIED.length) {
    const at = [...state.at];
    VARIED.forEach((axis, i) => { const found = axis.levels.findIndex((level) => level.id === levels[i]); if (found >= 0) at[axis.i] = found; });
    choose(armOf.get(armKey(at)) ?? nearest(-1, 0, at), true);
  }
  if (where?.startsWith("run=")) {
    const run = data.runs.path.indexOf(where.slice(4));
    if (run >= 0) openRun(run);
  } else if (where && $(where)) {
    section = where;
    $(where).scrollIntoView({ behavior: "instant" });
  }
}

// ---------------------------------------------------------------- the drawer of a run

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
// Removes the run, then trains and evaluates what is missing, which it then is.
function commandOf(run) {
  const { config } = data.reproduce;
  if (!config) return null;
  const study = `results/${data.study}`;
  return `rm -rf ${quoted(`${study}/runs/${data.runs.path[run]}`)}\nsnakemake --cores all --configfile ${quoted(config)} -- ${quoted(`${study}/tables/metrics.csv`)}`;
}

function openRun(run) {
  const arm = data.runs.arm[run];
  const drawer = $("drawer");
  const status = word(data.runs.status, run);
  const reason = word(data.runs.reason, run);
  const command = commandOf(run);
  const curve = node("div", { class: "curve" });
  const pictures = node("div", {});
  const entry = (k, v) => [node("dt", {}, k), node("dd", {}, v)];
  const log = data.logs[run];
  const metrics = Object.keys(data.runs.m).filter((m) => isNumber(data.runs.m[m][run]));
  $("drawer-body").replaceChildren(...[
    node("h2", { id: "drawer-title" }, armTitle(arm)),
    node("p", { class: "note" }, node("bdi", {}, data.runs.path[run])),
    node("p", { class: "seeds" }, runsOf[arm].slice(0, 30).map((other) => node("button", { class: "btn", type: "button", "aria-pressed": String(other === run), onclick: () => openRun(other) }, runText(other)))),
    status !== "ok" || reason ? node("p", { class: "failed" }, node("b", {}, status === "ok" ? "incomplete" : status), reason ? `: ${reason}` : "") : null,
    log && node("h3", {}, "Last lines of the log"), log && node("pre", { tabindex: 0 }, log.join("\n")),
    ...(Object.keys(data.curves).length ? [node("h3", {}, "Training"), curve] : []), pictures,
    node("h3", {}, "Settings"), node("dl", { class: "config" }, AXES.map((axis, i) => entry(axis.label, levelOf(arm, i).short)), entry("replicate", runText(run)), Object.entries(data.settings.training).filter(([k]) => !["device", "kl_warmup_epochs"].includes(k) && axisAt[`training.${k}`] === undefined).map(([k, v]) => entry(k.replaceAll("_", " "), v)), Object.entries(data.settings.model).filter(([k]) => axisAt[`model.${k}`] === undefined).map(([k, v]) => entry(k.replaceAll("_", " "), v))),
    command && node("h3", {}, "Make this run again"), command && node("pre", { tabindex: 0, id: "command" }, command),
    node("p", { class: "seeds" }, command && node("button", { class: "btn", type: "button", onclick: () => copy(command, "Command copied") }, "Copy command"), node("button", { class: "btn", type: "button", onclick: () => copy(location.href, "Link copied") }, "Copy link to this run")),
    node("h3", {}, "Metrics of this run beside its arm"),
    node("div", { class: "scroll short" }, node("table", { class: "data" }, node("caption", { class: "sr" }, "Metrics of this run beside its arm"), node("thead", {}, node("tr", {}, ["Metric", "This run", "Arm, mean [95 % interval]"].map((t, k) => node("th", { scope: "col", class: k ? null : "t" }, t)))), node("tbody", {}, metrics.map((m) => node("tr", {}, node("th", { scope: "row", class: "t", tip: () => [metricOf(m).help] }, titled(metricOf(m)), node("small", {}, ` ${metricOf(m).unit}`)), node("td", {}, runBound(run, m) + number(data.runs.m[m][run], 4)), node("td", {}, `${number(mean(arm, m), 4)} ${ciText(arm, m)}`)))))),
  ].filter(Boolean));
  if (!drawer.open) drawer.showModal();
  widths.delete(curve);
  drawCurve(curve, run);
  drawSnapshots(pictures, arm);
  address(run);
  drawer.scrollTop = 0;
}

// Reconstructions over the epochs of training, with a slider.
async function drawSnapshots(place, arm) {
  const stored = shownArm(arm)?.snapshots;
  const bytes = stored && (await part(`snapshots${arm}`));
  if (!bytes) return;
  const images = imagesFrom(bytes, stored.images);
  const originals = imagesFrom(bytes, stored.originals);
  const each = images.count / stored.epochs.length;
  const spot = node("div", { class: "snapshots" });
  const said = node("output", {});
  const input = node("input", { type: "range", min: 0, max: stored.epochs.length - 1, step: 1, "aria-label": "Epoch of the reconstructions", oninput: () => show(Number(input.value)) });
  const show = (k) => {
    spot.replaceChildren(tiles(originals, range(Math.min(each, originals.count)), each, "Test examples"), tiles(images, range(each).map((i) => k * each + i), each, `Their reconstructions after epoch ${stored.epochs[k]}`));
    said.textContent = stored.epochs[k] === 0 ? "before training" : `after epoch ${stored.epochs[k]}`;
    input.setAttribute("aria-valuetext", said.textContent);
  };
  place.replaceChildren(node("h3", {}, "Reconstructions over training ", node("small", {}, runText(data.runs.path.indexOf(shownArm(arm).run)))), spot, node("label", { class: "ui" }, input, " ", said));
  input.value = stored.epochs.length - 1;
  show(stored.epochs.length - 1);
}

// ---------------------------------------------------------------- files of a figure

// The charts of a figure as one SVG with its colours resolved, to stand alone.
function figureSvg(place) {
  const box = place.getBoundingClientRect();
  const probe = node("i", {});
  document.body.append(probe);
  const resolved = new Map();
  const resolve = (text) => text.replace(/color-mix\([^()]*(?:\([^()]*\)[^()]*)*\)|var\((--[\w-]+)\)/g, (value) => {
    if (!resolved.has(value)) {
      probe.style.color = "";
      probe.style.color = value;
      resolved.set(value, getComputedStyle(probe).color);
    }
    return resolved.get(value);
  });
  const whole = node("svg", { xmlns: SVG, viewBox: `0 0 ${box.width.toFixed(0)} ${box.height.toFixed(0)}`, width: box.width.toFixed(0), height: box.height.toFixed(0) });
  whole.append(node("rect", { width: "100%", height: "100%", style: "fill:var(--page)" }));
  for (const title of place.querySelectorAll("h3, .ladder b, .ladder small")) {
    const at = title.getBoundingClientRect();
    whole.append(node("text", { x: (at.left - box.left).toFixed(1), y: (at.top - box.top + 13).toFixed(1), class: "strong" }, title.textContent));
  }
  for (const canvas of place.querySelectorAll("canvas")) {
    const at = canvas.getBoundingClientRect();
    const image = document.createElementNS(SVG, "image");
    for (const [name, value] of Object.entries({ x: at.left - box.left, y: at.top - box.top, width: at.width, height: at.height, href: picture(canvas), style: "image-rendering:pixelated" })) image.setAttribute(name, isNumber(value) ? value.toFixed(1) : value);
    whole.append(image);
  }
  for (const svg of place.querySelectorAll("svg")) {
    const at = svg.getBoundingClientRect();
    const copied = svg.cloneNode(true);
    for (const [name, value] of Object.entries({ x: at.left - box.left, y: at.top - box.top, width: at.width, height: at.height })) copied.setAttribute(name, value.toFixed(1));
    whole.append(copied);
  }
  const style = node("style", {}, "text{font:12px sans-serif;fill:var(--soft)}.strong{fill:var(--ink);font-weight:650}.axis{stroke:var(--faint)}.grid{stroke:var(--rule)}.halo{paint-order:stroke;stroke:var(--card);stroke-width:3.5px}.hit{fill:none}.band{fill:var(--rule);opacity:.5}.small{font-size:11px}");
  whole.prepend(style);
  const text = resolve(new XMLSerializer().serializeToString(whole));
  probe.remove();
  return { text, width: box.width, height: box.height };
}
// Pixels as the page shows them: ink on paper in the light scheme.
function picture(canvas) {
  const copied = node("canvas", { width: canvas.width, height: canvas.height });
  const pen = copied.getContext("2d");
  if (getComputedStyle(canvas).filter.includes("invert")) pen.filter = "invert(1)";
  pen.drawImage(canvas, 0, 0);
  return copied.toDataURL("image/png");
}
async function savePng(place, file) {
  const { text, width, height } = figureSvg(place);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = node("canvas", { width: Math.round(2 * width), height: Math.round(2 * height) });
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => save(blob, `${file}.png`), "image/png");
}
function startFigures() {
  document.querySelectorAll("figure[data-draws]").forEach((element) => {
    const place = element.querySelector(".drawing");
    const id = element.dataset.figure;
    figures.set(id, { draws: element.dataset.draws, options: JSON.parse(element.dataset.options), place, rows: [] });
    const file = `${key(data.study)}-${id}`;
    const button = (text, act) => node("button", { type: "button", "aria-label": `${text} of “${element.dataset.title}”`, onclick: act }, text);
    element.querySelector("figcaption").before(node("div", { class: "figtools noprint" }, button("CSV", () => save(csvText(figures.get(id).rows), `${file}.csv`)), button("SVG", () => save(figureSvg(place).text, `${file}.svg`, "image/svg+xml")), button("PNG", () => savePng(place, file))));
    nearby.observe(element);
  });
}

// ---------------------------------------------------------------- start

const nearby = new IntersectionObserver((seen) => {
  for (const entry of seen) entry.isIntersecting ? near.add(entry.target.dataset.figure) : near.delete(entry.target.dataset.figure);
  redraw();
}, { rootMargin: "500px 0px" });
const watcher = new IntersectionObserver((seen) => seen.forEach((entry) => {
  if (!entry.isIntersecting) return;
  section = entry.target.id;
  document.querySelectorAll(".contents a").forEach((link) => (link.hash === `#${section}` ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
}), { rootMargin: "-20% 0px -70%" });

// The height of the bar, below which what an address names has to begin.
const measureBar = () => document.documentElement.style.setProperty("--bar", `${document.querySelector(".bar").offsetHeight}px`);

async function start() {
  const [columns, curves] = await Promise.all([partJson("contrasts"), partJson("curves")]);
  readContrasts(columns);
  data.curves = curves;
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  });
  $("link").addEventListener("click", () => { address(); copy(location.href, "Link to this view copied"); });
  $("closer").addEventListener("click", () => $("drawer").close());
  $("drawer").addEventListener("close", () => address());
  $("drawer").addEventListener("click", (event) => event.target === $("drawer") && $("drawer").close());
  startTips();
  startSwitches();
  measureBar();
  startFigures();
  startTables();
  drawCosts();
  choose(firstArm(), true);
  redraw(true);
  follow();
  addEventListener("hashchange", follow);
  document.querySelectorAll("section[id]").forEach((part) => watcher.observe(part));
  let width = innerWidth;
  let wait = 0;
  addEventListener("resize", () => {
    clearTimeout(wait);
    wait = setTimeout(() => {
      if (innerWidth === width) return;
      width = innerWidth;
      measureBar();
      widths.clear();
      update();
    }, 120);
  });
  const folded = () => document.querySelectorAll(".findings details");
  const paged = (on) => {
    folded().forEach((one) => (one.open = on));
    document.documentElement.classList.toggle("printing", on);
    widths.clear();
    update();
    redraw(on);
  };
  addEventListener("beforeprint", () => paged(true));
  addEventListener("afterprint", () => paged(false));
  document.documentElement.dataset.ready = Math.round(performance.now());
}
start();
