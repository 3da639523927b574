// The selected episode, condition and step, and the filters. The address holds all of it, so that a link opens the same
// view: #seed=…&t=…

const view = {
  suite: 0, episode: null, condition: null, t: 0,
  filter: { outcomes: new Set(), within: "", flipped: "", switchJump: 0, text: "" },
  sort: "suite",
  steering: false,
};
const listeners = { episode: [], condition: [], list: [], suite: [] };
const on = (name, listener) => listeners[name].push(listener);
const emit = (name) => listeners[name].forEach((listener) => listener());

function choose(episode, { suite = view.suite, condition = null, t = 0, quiet = false } = {}) {
  if (suite !== view.suite) chooseSuite(suite);
  view.episode = episode;
  view.t = t;
  const shown = conditionsOf(suite);
  view.condition = condition ?? (shown.includes(view.condition) ? view.condition : shown[0]);
  if (!quiet) writeAddress(true);
  emit("episode");
}

function chooseCondition(condition) {
  if (condition === view.condition) return;
  view.condition = condition;
  writeAddress(false);
  emit("condition");
}

function chooseSuite(suite) {
  view.suite = suite;
  view.episode = null;
  view.condition = conditionsOf(suite)[0] ?? null;
  Object.assign(view.filter, { within: "", flipped: "", switchJump: 0 });
  view.filter.outcomes.clear();
  emit("suite");
}

function changeList() {
  writeAddress(false);
  emit("list");
}

function writeAddress(remember) {
  const { filter } = view;
  const parts = new URLSearchParams();
  if (data.suites.length > 1) parts.set("suite", data.suites[view.suite].hash);
  if (view.episode !== null) {
    parts.set("seed", data.suites[view.suite].seeds[view.episode]);
    parts.set("t", String(Math.round(view.t)));
    if (view.condition && conditionsOf(view.suite).length > 1) parts.set("condition", view.condition.label);
  }
  if (filter.outcomes.size) parts.set("outcome", [...filter.outcomes].map((number) => OUTCOMES[number]).join(","));
  for (const name of ["within", "flipped", "text"]) if (filter[name]) parts.set(name, filter[name]);
  if (filter.switchJump > 0) parts.set("switch_jump", String(filter.switchJump));
  if (view.sort !== "suite") parts.set("sort", view.sort);
  const address = `#${parts}`;
  if (address === location.hash) return;
  history[remember && view.episode !== null ? "pushState" : "replaceState"](null, "", address);
}

// Applies the address; unknown filters are ignored. Returns a message if a suite or seed is missing.
function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const wanted = parts.get("suite");
  const suite = wanted === null ? suiteOfSeed(parts.get("seed")) : data.suites.findIndex((one) => one.hash === wanted);
  if (suite < 0) return `There is no suite ${wanted} on this page.`;
  if (suite !== view.suite) chooseSuite(suite);
  readFilter(parts);
  const seed = parts.get("seed");
  if (seed === null) return null;
  const episode = data.suites[suite].seeds.indexOf(seed);
  if (episode < 0) return `There is no seed ${seed} on this page.`;
  const condition = conditionsOf(suite).find((one) => one.label === parts.get("condition")) ?? null;
  const t = Number(parts.get("t") ?? 0);
  choose(episode, { condition, t: Number.isFinite(t) ? Math.max(0, t) : 0, quiet: true });
  return null;
}

const suiteOfSeed = (seed) => Math.max(0, data.suites.findIndex((suite) => suite.seeds.includes(seed)));

function readFilter(parts) {
  const { filter } = view;
  const names = (parts.get("outcome") ?? "").split(",");
  filter.outcomes = new Set(range(OUTCOMES.length).filter((number) => names.includes(OUTCOMES[number])));
  for (const name of ["within", "flipped", "text"]) filter[name] = parts.get(name) ?? "";
  filter.switchJump = Math.max(0, Number(parts.get("switch_jump")) || 0);
  view.sort = SORTS.has(parts.get("sort")) ? parts.get("sort") : "suite";
  emit("list");
}
