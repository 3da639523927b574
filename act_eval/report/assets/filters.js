// Which episodes are listed, and in which order.

const SORTS = new Map([
  ["suite", ["suite order", (a, b) => a.episode - b.episode]],
  ["failures", ["most failures", (a, b) => b.failures - a.failures]],
  ["flipped", ["flipped first", (a, b) => b.flipped - a.flipped]],
  ["outcome", ["outcome", (a, b) => compareOutcomes(a.outcomes, b.outcomes)]],
  ["chunk switch", ["largest switch jump", (a, b) => (b.chunk switch ?? -1) - (a.chunk switch ?? -1)]],
  ["steps", ["longest", (a, b) => b.steps - a.steps]],
  ["short", ["shortest", (a, b) => a.steps - b.steps]],
]);
const MOST_PAIRED = 20; // conditions; beyond that nobody reads the list of their pairs

function compareOutcomes(first, second) {
  for (const i of range(first.length)) {
    const difference = (first[i] ?? 99) - (second[i] ?? 99);
    if (difference) return difference;
  }
  return 0;
}

function listed(rows) {
  const tests = [outcomeTest(), flippedTest(), seamTest(), textTest()].filter(Boolean);
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

const seamTest = () => (view.filter.chunk switch > 0 ? (row) => row.chunk switch !== null && row.chunk switch >= view.filter.chunk switch : null);

function textTest() {
  const wanted = view.filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  return wanted.length ? (row) => wanted.every((word) => row.text.includes(word)) : null;
}

// The form is built anew for every suite; its fields follow the view, and the view follows its fields.
function buildFilters(form, rows) {
  const conditions = conditionsOf(view.suite);
  const found = OUTCOMES.map((_, number) => conditions.reduce((sum, condition) => sum + (condition.counts[OUTCOMES[number]] ?? 0), 0));
  const most = Math.max(0, ...rows.map((row) => row.chunk switch ?? 0));
  form.replaceChildren(
    ...(data.suites.length > 1 ? [suiteField()] : []),
    h("fieldset", { class: "chips" }, h("legend", {}, "outcome"), OUTCOMES.map((_, i) => found[i] > 0 && chip(i, found[i]))),
    ...(conditions.length > 1 ? [
      selectField("in", "within", [["", "any condition"], ...conditions.map((condition) => [condition.label, condition.label])]),
      selectField("flipped", "flipped", [["", "all seeds"], ["any", "between any conditions"]], view.filter, pairs(conditions)),
    ] : []),
    ...(most > 0 ? [seamField(most)] : []),
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
  return h("label", { class: `chip ${classOf(number)}` }, box, h("b", { "aria-hidden": "true" }, letterOf(number)), words(OUTCOMES[number]), h("small", {}, count));
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

function seamField(most) {
  const step = most / 50;
  const show = (value) => (value > 0 ? `≥ ${value.toFixed(2)} rad` : "any");
  const output = h("span", {}, show(view.filter.chunk_switch)); // an <output> would take the label for itself
  const change = (event) => {
    view.filter.chunk switch = Number(event.target.value);
    output.textContent = show(view.filter.chunk_switch);
    changeList();
  };
  const slider = h("input", { type: "range", id: "filter-chunk switch", min: 0, max: most.toFixed(4), step: step.toFixed(4), value: view.filter.chunk_switch, oninput: change });
  return h("label", { class: "field" }, h("span", {}, "switch jump ", output), slider);
}

const filtersAreSet = () => Boolean(outcomeTest() ?? flippedTest() ?? seamTest() ?? textTest()) || view.sort !== "suite";

function resetFilters() {
  Object.assign(view.filter, { outcomes: new Set(), within: "", flipped: "", chunk switch: 0, text: "" });
  view.sort = "suite";
  buildFilters(byId("filters"), rowsNow());
  changeList();
}
