// Filters and order of the listed episodes.

const SORTS = new Map([
  ["suite", ["suite order", (a, b) => a.episode - b.episode]],
  ["failures", ["most failures", (a, b) => b.failures - a.failures]],
  ["flipped", ["flipped first", (a, b) => b.flipped - a.flipped]],
  ["outcome", ["outcome", (a, b) => compareOutcomes(a.outcomes, b.outcomes)]],
  ["switch_jump", ["largest switch jump", (a, b) => (b.switchJump ?? -1) - (a.switchJump ?? -1)]],
  ["steps", ["longest", (a, b) => b.steps - a.steps]],
  ["short", ["shortest", (a, b) => a.steps - b.steps]],
]);
const MOST_NAMED = 5; // outcomes; of more only the letters are shown, so that the filters keep to one row
const MOST_PAIRED = 20; // conditions; a longer list of pairs is unreadable

function compareOutcomes(first, second) {
  for (const i of range(first.length)) {
    const difference = (first[i] ?? 99) - (second[i] ?? 99);
    if (difference) return difference;
  }
  return 0;
}

function listed(rows) {
  const tests = [outcomeTest(), flippedTest(), switchTest(), textTest()].filter(Boolean);
  const kept = rows.filter((row) => tests.every((test) => test(row)));
  const [, order] = SORTS.get(view.sort);
  return kept.sort((a, b) => order(a, b) || a.episode - b.episode);
}

function outcomeTest() {
  const { outcomes, within } = view.filter;
  if (!outcomes.size) return null;
  const only = conditionsOf(view.suite).findIndex((condition) => condition.label === within);
  return (row) => (only < 0 ? row.outcomes.some((outcome) => outcomes.has(outcome)) : outcomes.has(row.outcomes[only]));
}

function flippedTest() {
  const { flipped } = view.filter;
  if (!flipped) return null;
  const pair = flipped.split("|").map((label) => conditionsOf(view.suite).findIndex((condition) => condition.label === label));
  if (pair.length !== 2 || pair.includes(-1)) return (row) => row.flipped;
  const fails = (outcome) => outcome !== null && outcome !== INVALID && outcome !== SUCCESS;
  return (row) => row.outcomes[pair[0]] === SUCCESS && fails(row.outcomes[pair[1]]);
}

const switchTest = () => (view.filter.switchJump > 0 ? (row) => row.switchJump !== null && row.switchJump >= view.filter.switchJump : null);

function textTest() {
  const wanted = view.filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  return wanted.length ? (row) => wanted.every((word) => row.text.includes(word)) : null;
}

// The form is rebuilt for every suite; its fields follow the view, and the view follows its fields.
function buildFilters(form, rows) {
  const conditions = conditionsOf(view.suite);
  const found = OUTCOMES.map((_, number) => conditions.reduce((sum, condition) => sum + (condition.counts[OUTCOMES[number]] ?? 0), 0));
  const most = Math.max(0, ...rows.map((row) => row.switchJump ?? 0));
  form.replaceChildren(
    ...(data.suites.length > 1 ? [suiteField()] : []),
    h("fieldset", { class: found.filter(Boolean).length > MOST_NAMED ? "chips many" : "chips" }, h("legend", {}, "outcome"), OUTCOMES.map((_, i) => found[i] > 0 && chip(i, found[i]))),
    ...(conditions.length > 1 ? [
      selectField("in", "within", [["", "any condition"], ...conditions.map((condition) => [condition.label, condition.label])]),
      selectField("flipped", "flipped", [["", "all seeds"], ["any", "between any conditions"]], view.filter, pairs(conditions)),
    ] : []),
    ...(most > 0 ? [switchField(most)] : []),
    selectField("sort", "sort", [...SORTS].map(([name, [title]]) => [name, title]), view),
    h("label", { class: "field search" }, h("span", {}, "find"), h("input", {
      type: "search", id: "search", placeholder: "seed, #episode, outcome, error", value: view.filter.text, "aria-keyshortcuts": "/",
      oninput: (event) => { view.filter.text = event.target.value; changeList(); },
    })),
  );
}

function suiteField() {
  const options = data.suites.map((suite, i) => h("option", { value: i, selected: i === view.suite }, `${suite.name} (${suite.seeds.length})`));
  const change = (event) => { chooseSuite(Number(event.target.value)); writeAddress(false); };
  return h("label", { class: "field" }, h("span", {}, "suite"), h("select", { id: "suite", onchange: change }, options));
}

function chip(number, count) {
  const change = (event) => {
    view.filter.outcomes[event.target.checked ? "add" : "delete"](number);
    changeList();
  };
  const box = h("input", { type: "checkbox", name: "outcome", value: OUTCOMES[number], onchange: change });
  box.checked = view.filter.outcomes.has(number);
  return h("label", { class: `chip ${classOf(number)}`, title: words(OUTCOMES[number]) }, box, h("b", { "aria-hidden": "true" }, letterOf(number)), h("span", {}, words(OUTCOMES[number])), h("small", {}, count));
}

function selectField(title, name, options, owner = view.filter, groups = []) {
  const change = (event) => { owner[name] = event.target.value; changeList(); };
  const select = h("select", { id: `filter-${name}`, onchange: change }, options.map(([value, text]) => h("option", { value }, text)), groups);
  select.value = owner[name];
  return h("label", { class: "field" }, h("span", {}, title), select);
}

function pairs(conditions) {
  if (conditions.length > MOST_PAIRED) return [];
  const option = (a, b) => h("option", { value: `${a.label}|${b.label}` }, `${a.label} ✓  ${b.label} ✗`);
  return conditions.map((a) => h("optgroup", { label: `solved by ${a.label}, failed by` }, conditions.filter((b) => b !== a).map((b) => option(a, b))));
}

function switchField(most) {
  const step = most / 50;
  const show = (value) => (value > 0 ? `≥ ${withUnit(value.toFixed(2))}` : "any");
  const output = h("span", {}, show(view.filter.switchJump)); // an <output> would take the label for itself
  const change = (event) => {
    view.filter.switchJump = Number(event.target.value);
    output.textContent = show(view.filter.switchJump);
    changeList();
  };
  const slider = h("input", { type: "range", id: "filter-switch-jump", min: 0, max: most.toFixed(4), step: step.toFixed(4), value: view.filter.switchJump, oninput: change });
  return h("label", { class: "field" }, h("span", {}, "switch jump ", output), slider);
}

const filtersAreSet = () => Boolean(outcomeTest() ?? flippedTest() ?? switchTest() ?? textTest()) || view.sort !== "suite";

function resetFilters() {
  Object.assign(view.filter, { outcomes: new Set(), within: "", flipped: "", switchJump: 0, text: "" });
  view.sort = "suite";
  buildFilters(byId("filters"), rowsNow());
  changeList();
}
