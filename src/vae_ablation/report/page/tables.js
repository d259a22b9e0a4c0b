// Tables that sort, filter, choose columns, and are copied as CSV, Markdown, LaTeX and BibTeX.
const ROWS_AT_ONCE = 200;

const csvCell = (value) => {
  if (value === null || value === undefined) return "";
  const text = String(value);
  // a cell that a spreadsheet would run as a formula is text
  const safe = /^[=+@\t\r]/.test(text) && !isNumber(value) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
const csvText = (rows) => rows.map((row) => row.map(csvCell).join(",")).join("\n") + "\n";
const markdownCell = (value) => String(value ?? "").replace(/([\\|`*_<[\]])/g, "\\$1").replace(/\s+/g, " ");
function markdownText([head, ...rows]) {
  const line = (cells) => `| ${cells.map(markdownCell).join(" | ")} |`;
  return [line(head), `|${head.map(() => "---").join("|")}|`, ...rows.map(line)].join("\n") + "\n";
}
const TEX = { "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", $: "\\$", "#": "\\#", _: "\\_", "{": "\\{", "}": "\\}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "−": "$-$", "±": "$\\pm$", "×": "$\\times$", "≤": "$\\le$", "≥": "$\\ge$", "↑": "$\\uparrow$", "↓": "$\\downarrow$", "²": "$^2$", "β": "$\\beta$", "σ": "$\\sigma$", "Δ": "$\\Delta$", "–": "--" };
const tex = (value) => String(value ?? "").replace(/[\\&%$#_{}~^−±×≤≥↑↓²βσΔ–]/g, (letter) => TEX[letter]);
function latexText([head, ...rows], caption) {
  const line = (cells) => `    ${cells.map(tex).join(" & ")} \\\\`;
  return ["% \\usepackage{booktabs}", "\\begin{table}", `  \\caption{${tex(caption)}}`, "  \\centering", `  \\begin{tabular}{l${"r".repeat(Math.max(0, head.length - 1))}}`, "    \\toprule", line(head), "    \\midrule", ...rows.map(line), "    \\bottomrule", "  \\end{tabular}", "\\end{table}", ""].join("\n");
}
const key = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "study";
function bibtexText() {
  const { version } = data.provenance;
  return ["@misc{vae-ablation-" + key(data.study) + ",", `  title = {Ablation study ${tex(data.study)}},`, `  note = {${ARM_COUNT} arms, ${data.runs.arm.length} runs; vae-ablation ${tex(version)}${Object.keys(data.provenance.code).length ? `, training code ${tex(Object.keys(data.provenance.code)[0])}` : ""}}`, "}", ""].join("\n");
}

async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = node("textarea", { class: "sr" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(said);
}
let toasted = 0;
function toast(text) {
  const place = $("toast");
  place.textContent = text;
  place.classList.add("on");
  clearTimeout(toasted);
  toasted = setTimeout(() => place.classList.remove("on"), 1800);
}
function save(content, file, type = "text/csv") {
  const link = node("a", { href: URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type })), download: file });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// ---------------------------------------------------------------- the filter's grammar

// `gaussian beta1 d=8 elbo>28`: words that equal an entry or are part of its text, comparisons of a column.
function parseFilter(text) {
  const terms = text.match(/"[^"]*"|\S+/g) ?? [];
  return terms.map((term) => {
    const found = /^([^<>=!"]+)(<=|>=|!=|<|>|=)(.+)$/.exec(term);
    if (found) return { column: found[1].toLowerCase(), how: found[2], value: found[3].replaceAll("−", "-") };
    return { word: term.replaceAll('"', "").toLowerCase() };
  });
}
const COMPARE = { "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b, "!=": (a, b) => a !== b };
function fits(term, row, columns, words) {
  if (term.word !== undefined) {
    const texts = words(row);
    const exact = columns.some((column) => column.words?.has(term.word));
    return exact ? texts.includes(term.word) : texts.some((text) => text.includes(term.word));
  }
  const column = columns.find((one) => [one.id, one.alias, one.label].some((name) => name?.toLowerCase() === term.column));
  if (!column) return false;
  const value = column.value(row);
  if (value === null || value === undefined) return false;
  const wanted = Number(term.value);
  if (isNumber(value) && !Number.isNaN(wanted)) return COMPARE[term.how](value, wanted);
  const [a, b] = [String(value).toLowerCase(), term.value.toLowerCase()];
  return COMPARE[term.how](a, b);
}

// ---------------------------------------------------------------- one table

// columns: { id, label, alias, unit, help, text, value(row), cell(row), print(row) for files, said(row) for words }
function startTable({ place, caption, file, rows, columns, shown, open }) {
  const state = { shown: new Set(shown), sort: null, up: true, most: ROWS_AT_ONCE, found: rows };
  const input = node("input", { type: "search", placeholder: "filter, e.g. gaussian beta1 d=8", "aria-label": `Filter ${caption}` });
  const count = node("output", { "aria-live": "polite" });
  const scroll = node("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption });
  const more = node("button", { class: "btn", type: "button", onclick: () => { state.most += 5 * ROWS_AT_ONCE; draw(); } });
  for (const column of columns) if (column.text) column.words = new Set(rows.map((row) => String(column.value(row) ?? "").toLowerCase()));
  const texts = new Map();
  const words = (row) => {
    if (!texts.has(row)) texts.set(row, columns.filter((column) => column.text).flatMap((column) => [column.value(row), column.said?.(row)]).filter((v) => v !== null && v !== undefined).map((v) => String(v).toLowerCase()));
    return texts.get(row);
  };
  const visible = () => columns.filter((column) => state.shown.has(column.id));
  const filtered = () => {
    const terms = parseFilter(input.value);
    const found = rows.filter((row) => terms.every((term) => fits(term, row, columns, words)));
    if (!state.sort) return found;
    const of = columns.find((column) => column.id === state.sort).value;
    const missing = (v) => v === null || v === undefined || v === "";
    return [...found].sort((p, q) => {
      const [a, b] = [of(p), of(q)];
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      const order = isNumber(a) && isNumber(b) ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      return state.up ? order : -order;
    });
  };
  const heading = (column) => node("th", { scope: "col", class: column.text ? "t" : null, "aria-sort": state.sort === column.id ? (state.up ? "ascending" : "descending") : "none" },
    node("button", { type: "button", tip: column.help ? () => [column.help] : null, onclick: () => { state.up = state.sort === column.id ? !state.up : column.text ? true : false; state.sort = column.id; draw(column.id); } }, column.label, (column.arrow ?? "").replace(" ", "\u00a0")), node("small", {}, column.unit ?? ""));
  function draw(focus) {
    state.found = filtered();
    const some = state.found.slice(0, state.most);
    const cells = visible();
    const body = some.map((row) => node("tr", {}, cells.map((column, k) => {
      const content = (column.cell ?? ((r) => String(column.value(r) ?? "–")))(row);
      return k === 0 ? node("th", { scope: "row", class: "t" }, open ? node("button", { class: "link", type: "button", onclick: () => open(row) }, content) : content) : node("td", { class: column.text ? "t" : null }, content);
    })));
    scroll.replaceChildren(node("table", { class: "data" }, node("caption", { class: "sr" }, caption), node("thead", {}, node("tr", {}, cells.map(heading))), node("tbody", {}, body)));
    if (focus) [...scroll.querySelectorAll("thead button")][cells.findIndex((column) => column.id === focus)]?.focus();
    more.hidden = some.length === state.found.length;
    more.textContent = `show ${Math.min(5 * ROWS_AT_ONCE, state.found.length - some.length)} more`;
    count.textContent = `${state.found.length.toLocaleString("en")} of ${counted(rows.length, "row")}`;
  }
  const matrix = (plain) => [visible().map((column) => (plain ? column.id : column.label + (column.unit ? ` (${column.unit})` : ""))), ...state.found.map((row) => visible().map((column) => (plain ? column.value(row) : column.print?.(row) ?? column.value(row))))];
  const picker = node("details", { class: "pick" }, node("summary", { class: "btn" }, "Columns"), node("div", {}, columns.map((column, k) => node("label", { tip: column.help ? () => [column.help] : null }, node("input", { type: "checkbox", checked: state.shown.has(column.id) ? "" : null, disabled: k === 0 ? "" : null, onchange: (event) => { event.target.checked ? state.shown.add(column.id) : state.shown.delete(column.id); draw(); } }), ` ${column.label}`))));
  picker.addEventListener("keydown", (event) => { if (event.key === "Escape") { picker.open = false; picker.querySelector("summary").focus(); } });
  input.addEventListener("input", () => { state.most = ROWS_AT_ONCE; draw(); });
  const button = (text, act) => node("button", { class: "btn", type: "button", onclick: act }, text);
  place.replaceChildren(node("div", { class: "tablebar noprint" }, input, count, picker, button("CSV", () => save(csvText(matrix(true)), `${file}.csv`)), button("Markdown", () => copy(markdownText(matrix()), "Markdown copied")), button("LaTeX", () => copy(latexText(matrix(), caption), "LaTeX copied")), button("BibTeX", () => copy(bibtexText(), "BibTeX copied"))), scroll, node("div", { class: "noprint" }, more));
  draw();
  place.table = { filter: (text) => { input.value = text; draw(); return state.found.length; }, matrix };
}

// ---------------------------------------------------------------- the study's tables

const arms = range(ARM_COUNT);
function axisColumns(armOfRow) {
  return VARIED.map((axis) => ({
    id: axis.name, alias: axis.symbol, label: titled(axis), text: !axis.ordered || axis.name === "beta", help: axis.label,
    value: (row) => { const level = levelOf(armOfRow(row), axis.i); return axis.ordered && level.value !== null ? level.value : level.id; },
    said: (row) => levelOf(armOfRow(row), axis.i).label, cell: (row) => levelOf(armOfRow(row), axis.i).short,
  }));
}
const armColumn = (armOfRow) => ({ id: "arm", label: "Arm", text: true, help: "Name of the arm in paths and tables.", value: (row) => data.arms.name[armOfRow(row)], cell: (row) => data.arms.name[armOfRow(row)] });
const metricColumn = (m, value, cell, print) => ({ id: m, label: titled(metricOf(m)), unit: metricOf(m).unit, arrow: betterArrow(m), help: metricOf(m).help, value, cell, print });

function startTables() {
  const place = $("every-number");
  const results = Object.keys(data.arms.m);
  const own = (m) => metricOf(m).role === "result";
  const firsts = data.multiples.slice(0, 7);
  const panels = [
    ["arms", counted(ARM_COUNT, "arm"), (panel) => startTable({
      place: panel, caption: `Arms: mean over ${REPLICATE}s, 95 % interval`, file: `${key(data.study)}-arms`, rows: arms, open: (arm) => { choose(arm); go("map"); },
      shown: ["arm", ...VARIED.map((axis) => axis.name), "n", ...firsts],
      columns: [armColumn((arm) => arm), ...axisColumns((arm) => arm), { id: "n", label: "Seeds", help: "Seeds that ended well.", value: (arm) => data.arms.n[arm] }, ...results.map((m) => metricColumn(m, (arm) => mean(arm, m), (arm) => node("span", {}, isNumber(mean(arm, m)) ? boundSign(arm, m) + number(mean(arm, m)) : "–", node("small", {}, ciText(arm, m) ? ` ${ciText(arm, m)}` : "")), (arm) => (isNumber(mean(arm, m)) ? `${boundSign(arm, m)}${number(mean(arm, m), 4)} ${ciText(arm, m)}`.trim() : "")))],
    })],
    ["runs", counted(data.runs.arm.length, "run"), (panel) => startTable({
      place: panel, caption: "Runs", file: `${key(data.study)}-runs`, rows: range(data.runs.arm.length), open: openRun,
      shown: ["run", "status", ...firsts, "drift"],
      columns: [{ id: "run", label: "Run", text: true, help: "Opens the run: curve, settings, metrics, command.", value: (run) => data.runs.path[run] }, armColumn((run) => data.runs.arm[run]), ...axisColumns((run) => data.runs.arm[run]), { id: "seed", label: "Seed", help: "Seed of initialisation, order and noise.", value: (run) => data.runs.seed[run] }, ...(data.runs.split.length ? [{ id: "split", label: "Split", help: "Seed of the random split of the data.", value: (run) => data.runs.split[run] }] : []), { id: "status", label: "Status", text: true, help: "ok, diverged or failed.", value: (run) => word(data.runs.status, run) }, { id: "reason", label: "Reason", text: true, help: "Why a run is not ok, or what of it is missing.", value: (run) => word(data.runs.reason, run) || null }, ...Object.keys(data.runs.m).map((m) => metricColumn(m, (run) => data.runs.m[m][run], (run) => (isNumber(data.runs.m[m][run]) ? runBound(run, m) + number(data.runs.m[m][run], 4) : "–"), (run) => (isNumber(data.runs.m[m][run]) ? runBound(run, m) + number(data.runs.m[m][run], 4) : "")))],
    })],
  ];
  if (contrastCount) panels.push(["contrasts", counted(contrastCount, "contrast"), startContrasts]);
  if (data.controls.length) panels.push(["controls", "controls", startControls]);
  if (data.applications.length) panels.push(["scores", "applications", (panel) => startPlain(panel, "applications", data.applications)]);
  for (const [name, columns] of Object.entries(data.tables)) panels.push([name, name === "pareto" ? "Pareto fronts" : name, (panel) => startPlain(panel, name, rowsOf(columns))]);
  panels.push(["metrics", "definitions", startDefinitions]);
  const tabs = panels.map(([id, label], k) => node("button", { class: "btn", type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `table-${id}`, "aria-selected": String(k === 0), tabindex: k ? -1 : 0 }, label));
  const bodies = panels.map(([id], k) => node("div", { id: `table-${id}`, role: "tabpanel", "aria-labelledby": `tab-${id}`, hidden: k ? "" : null }));
  place.replaceChildren(node("div", { class: "tablebar noprint", role: "tablist", "aria-label": "Tables" }, tabs), ...bodies);
  panels[0][2](bodies[0]);
  const started = new Set([0]);
  const pick = (k) => {
    tabs.forEach((tab, i) => { tab.setAttribute("aria-selected", String(i === k)); tab.tabIndex = i === k ? 0 : -1; bodies[i].hidden = i !== k; });
    if (!started.has(k)) { started.add(k); panels[k][2](bodies[k]); }
  };
  tabs.forEach((tab, k) => {
    tab.addEventListener("click", () => pick(k));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (k + step + tabs.length) % tabs.length;
      pick(next);
      tabs[next].focus();
    });
  });
}

function startContrasts(panel) {
  const names = Object.keys(contrastColumns).filter((name) => name !== "family");
  const NUMBERS = new Set(names.filter((name) => Array.isArray(contrastColumns[name])));
  const column = (name) => ({
    id: name, label: titled(AXES[axisAt[name]] ?? { label: name.replaceAll("_", " ") }), alias: AXES[axisAt[name]]?.symbol, text: !NUMBERS.has(name), value: (i) => contrast(name, i), help: CONTRAST_HELP[name] ?? null,
    cell: (i) => (name === "metric" ? metricOf(contrast(name, i)).label : name === "question" ? questionWords(contrast(name, i)) : name === "verdict" ? (contrast(name, i) ? verdictTag(i) : "–") : NUMBERS.has(name) ? number(contrast(name, i)) : String(contrast(name, i) ?? "–")),
    said: name === "metric" ? (i) => metricOf(contrast(name, i)).label : undefined,
  });
  startTable({ place: panel, caption: "Contrasts", file: `${key(data.study)}-contrasts`, rows: range(contrastCount), columns: names.map(column), shown: names.filter((name) => ["question", "scope", "level", "reference", "metric", "effect", "effect_low", "effect_high", "verdict", "n", "settings", ...VARIED.map((axis) => axis.name)].includes(name)) });
  if (data.contrasts.whole > contrastCount) panel.append(node("p", { class: "note" }, `${(data.contrasts.whole - contrastCount).toLocaleString("en")} more rows, of single settings, are in tables/contrasts.csv.`));
}
const CONTRAST_HELP = {
  question: "The question: an axis, KL off, a deterministic autoencoder, or a model made elsewhere.", scope: "pooled: over all settings; AXIS=level: within a level; setting: one setting.", level: "Level that is compared.", reference: "Level with which it is compared.",
  estimate: "Difference on the metric's scale (difference, log ratio, or difference of 2·arcsin√p).", effect: "The effect for readers: a difference, a ratio where the scale is log, or a difference of shares.", margin: "Margin on the metric's scale within which a difference does not matter.",
  verdict: "better, worse, higher, lower, equivalent, depends (on an axis), or undecided.", p_adjusted: "Holm within primary metrics, Benjamini-Hochberg within exploratory ones.", detectable: "Smallest difference that this design detects with power 0.8.", seeds_needed: "Seeds that would decide an undecided row.", below_drift: "Whether the estimate is smaller than what the last tenth of training still changed.",
  n: "Smallest number of pairs of seeds (of splits, where there are several) in a setting.", settings: "Number of settings that are pooled.", lost: "Pairs lost because a run is not ok.",
};
function startControls(panel) {
  const measured = Object.keys(data.metrics).filter((m) => data.controls.some((one) => isNumber(one.m[m])));
  startTable({
    place: panel, caption: "Controls: models that are no arms", file: `${key(data.study)}-controls`, rows: data.controls, shown: ["model", "dataset", "d", ...measured.slice(0, 8)],
    columns: [{ id: "model", label: "Model", text: true, help: "pca: probabilistic PCA; raw: the data themselves; untrained: encoders at their initial weights; other names: models made elsewhere.", value: (one) => one.model }, { id: "dataset", label: "Data set", text: true, value: (one) => one.dataset }, { id: "d", label: "Latent dimension", help: "Latent dimension.", value: (one) => one.d }, ...measured.map((m) => metricColumn(m, (one) => one.m[m] ?? null, (one) => number(one.m[m], 4)))],
  });
}
const rowsOf = (columns) => range(Math.max(0, ...Object.values(columns).map((one) => (one.at ?? one).length))).map((i) => Object.fromEntries(Object.entries(columns).map(([name, one]) => [name, word(one, i)])));
// A table as it is in its file, with every column.
function startPlain(panel, name, rows) {
  const names = [...new Set(rows.flatMap(Object.keys))];
  const isText = (column) => rows.some((row) => typeof row[column] === "string");
  startTable({
    place: panel, caption: capital(name), file: `${key(data.study)}-${name}`, rows, shown: names,
    columns: names.map((column) => ({ id: column, label: column.replaceAll("_", " "), text: isText(column), help: PLAIN_HELP[column] ?? null, value: (row) => row[column] ?? null, cell: (row) => (isNumber(row[column]) ? number(row[column]) : String(row[column] ?? "–")) })),
  });
}
const PLAIN_HELP = {
  span: "What the axis changes in the metric, in its unit; a ratio on the log scale.", share: "Share of the axis in the variance of the cell means beyond noise: its main effect and half of its two-way interactions.",
  levels: "regular: without KL off and collapsed levels of β; every: with them.", rectangle: "Levels of the axes on which it is computed.", front: "Pair of metrics: no other arm with the same measure is better on both.",
  method: "vae: the model of that arm; others are baselines on the same data, which have no arm.", n: "Number of replicates.", ci_low: "Lower end of the 95 % interval.", ci_high: "Upper end of the 95 % interval.",
};
function startDefinitions(panel) {
  const names = Object.keys(data.metrics);
  startTable({
    place: panel, caption: "Definitions of the metrics", file: `${key(data.study)}-metrics`, rows: names, shown: ["label", "unit", "better", "description"],
    columns: [{ id: "label", label: "Metric", text: true, value: (m) => metricOf(m).label }, { id: "name", label: "Column", text: true, value: (m) => m }, { id: "unit", label: "Unit", text: true, value: (m) => metricOf(m).unit || "–" }, { id: "better", label: "Better", text: true, value: (m) => ({ 1: "higher", "-1": "lower", 0: "–" })[metricOf(m).better] }, { id: "comparable", label: "Comparable", text: true, value: (m) => ({ measure: "within a data set and measure", levels: "within a data set and measure of grey levels", dataset: "within a data set", everywhere: "everywhere" })[metricOf(m).comparable] }, { id: "scale", label: "Scale of differences", text: true, value: (m) => metricOf(m).scale }, { id: "description", label: "Meaning", text: true, value: (m) => metricOf(m).description, cell: (m) => node("span", { class: "wrap" }, metricOf(m).description) }],
  });
}

// ---------------------------------------------------------------- the paper's table

// The verdict of contrasts.csv on an arm against a reference that differs from it on one axis.
function settingVerdict(full, arm, metric) {
  const changed = AXES.findIndex((_, axis) => data.arms.at[full][axis] !== data.arms.at[arm][axis]);
  if (changed < 0) return null;
  const level = levelOf(arm, changed).id;
  const [question, named] = { "kl-off": ["kl_off", "off"], point: ["point", "point"] }[level] ?? [AXES[changed].name, level];
  const rows = settingRows.get([question, named, metric].join("\u0000")) ?? [];
  const found = rows.find((i) => AXES.every((axis, k) => k === changed || !contrastColumns[axis.name] || [null, levelOf(full, k).id].includes(contrast(axis.name, i))));
  return found === undefined ? null : contrast("verdict", found);
}

function drawPaper(state) {
  const place = $("paper-table");
  const fixed = (table) => table.at.every((level, axis) => level < 0 || level === state.at[axis]);
  const table = data.paper.tables.find(fixed) ?? data.paper.tables[0];
  if (!table) return void place.replaceChildren(node("p", { class: "note" }, "No arm to show."));
  const metrics = data.paper.metrics.filter((m) => isNumber(mean(table.full, m)) || table.rows.some(([, arm]) => isNumber(mean(arm, m)))).slice(0, 7);
  if (!metrics.length) return void place.replaceChildren(node("p", { class: "note" }, "No run of these arms ended well."));
  const half = (arm, m) => { const [low, high] = interval(arm, m); return isNumber(low) && isNumber(high) ? number((high - low) / 2, 2) : null; };
  const text = (arm, m) => (isNumber(mean(arm, m)) ? `${boundSign(arm, m)}${number(mean(arm, m))}${half(arm, m) ? ` ± ${half(arm, m)}` : ""}` : "–");
  const tone = (arm, m) => ({ better: "clear good", worse: "clear bad", higher: "clear", lower: "clear" })[settingVerdict(table.full, arm, m)] ?? null;
  const title = VARIED.filter((axis) => table.at[axis.i] >= 0).map((axis) => axis.levels[table.at[axis.i]].label).join(", ");
  const rows = [[`${armTitle(table.full, VARIED.filter((axis) => table.at[axis.i] >= 0).map((axis) => axis.name))}`, table.full], ...table.rows];
  const several = rows.some(([, arm]) => metrics.some((m) => half(arm, m)));
  const doubt = several ? `mean ± half of the 95 % interval over ${counted(data.arms.n[table.full], data.arms.unit[table.full])}` : `one ${REPLICATE} for each arm`;
  const caption = `${title ? `${title}: ` : ""}reference arm and arms that differ from it in one setting; ${doubt}`;
  const matrix = [["Arm", ...metrics.map((m) => `${metricOf(m).label}${betterArrow(m)}${metricOf(m).suffix ? ` (${metricOf(m).unit})` : ""}`)], ...rows.map(([label, arm]) => [label, ...metrics.map((m) => text(arm, m))])];
  const button = (label, act) => node("button", { class: "btn", type: "button", onclick: act }, label);
  place.replaceChildren(
    node("div", { class: "scroll short", tabindex: 0, role: "region", "aria-label": "Table for a paper" }, node("table", { class: "data" }, node("caption", { class: "sr" }, caption),
      node("thead", {}, node("tr", {}, node("th", { scope: "col", class: "t" }, title || "Arm"), metrics.map((m) => node("th", { scope: "col", tip: () => [metricOf(m).help] }, titled(metricOf(m)) + betterArrow(m).replace(" ", "\u00a0"), node("small", {}, metricOf(m).unit || "\u00a0"))))),
      node("tbody", {}, rows.map(([label, arm], k) => node("tr", { class: k ? null : "full" }, node("th", { scope: "row", class: "t" }, k ? label : node("b", {}, label)), metrics.map((m) => node("td", { class: k ? tone(arm, m) : null }, text(arm, m)))))))),
    node("div", { class: "tablebar noprint" }, button("CSV", () => save(csvText(matrix), `${key(data.study)}-paper.csv`)), button("Markdown", () => copy(markdownText(matrix), "Markdown copied")), button("LaTeX", () => copy(latexText(matrix, caption), "LaTeX copied")), button("BibTeX", () => copy(bibtexText(), "BibTeX copied"))),
    node("p", { class: "note" }, `${several ? `Mean ± half of the 95 % interval over ${REPLICATE}s; none where values are equal.` : `One ${REPLICATE} for each arm, so there are no intervals.`}${several && contrastCount ? ` Bold: decided against the reference, paired by ${REPLICATE} in this setting; green is better, orange worse.` : ""}`),
  );
}

function drawCosts() {
  const rows = data.provenance.costs.filter((one) => isNumber(one.seconds));
  if (!rows.length) return;
  const most = Math.max(...rows.map((one) => one.seconds), 1e-9);
  const time = (s) => (s >= 5400 ? `${number(s / 3600)} h` : s >= 90 ? `${number(s / 60)} min` : `${number(s)} s`);
  $("costs").replaceChildren(node("div", { class: "bars" }, rows.filter((one) => one.seconds > most / 500).flatMap((one) => [node("span", {}, String(one.stage)), node("i", { style: `width:${((100 * one.seconds) / most).toFixed(1)}%` }), node("span", {}, `${time(one.seconds)}${isNumber(one.jobs) ? ` · ${one.jobs} job${one.jobs === 1 ? "" : "s"}` : ""}${isNumber(one.peak_memory_mb) ? ` · ${number(one.peak_memory_mb)} MB` : ""}`)])));
}
