// Seeds × conditions, coloured by outcome. Only visible rows exist, so that ten thousand episodes open at once.

const ROW = 30; // height of a row [px], as in review.css
const SPARE = 12; // rows kept above and below what is seen

const matrix = { rows: [], shown: [], body: null, box: null, cursor: null, first: -1, last: -1 };
const rowsNow = () => matrix.rows;

function buildMatrix(box) {
  const conditions = conditionsOf(view.suite);
  matrix.rows = rowsOf(view.suite);
  matrix.box = box;
  matrix.body = h("tbody", {});
  const heads = conditions.map((condition) => h("th", { scope: "col", class: "condition" }, h("span", { title: condition.label }, condition.label)));
  const table = h("table", { role: "grid", "aria-label": "Seeds and conditions", "aria-rowcount": matrix.rows.length + 1, "aria-colcount": conditions.length + 3 },
    h("thead", {}, h("tr", { "aria-rowindex": 1 }, h("th", { scope: "col" }, "#"), h("th", { scope: "col", class: "seed" }, "seed"), heads, h("th", { scope: "col", class: "number" }, h("span", { title: `largest jump of a command at a chunk switch, over all conditions${unitOf() && ` [${unitOf()}]`}` }, "switch jump")))),
    matrix.body);
  const scroller = h("div", { class: "scroller", onscroll: () => drawRows() }, table);
  box.replaceChildren(scroller, h("p", { class: "empty", hidden: true }, "No episode matches the filters."));
  matrix.scroller = scroller;
  table.addEventListener("keydown", moveInMatrix);
  table.addEventListener("click", openFromMatrix);
  new ResizeObserver(() => drawRows()).observe(scroller);
}

function refreshMatrix() {
  matrix.shown = listed(matrix.rows);
  matrix.first = matrix.last = -1;
  if (!matrix.shown.some((row) => row.episode === matrix.cursor?.episode)) matrix.cursor = null;
  matrix.box.querySelector(".empty").hidden = matrix.shown.length > 0;
  byId("reset").hidden = !filtersAreSet();
  byId("count").textContent = matrix.shown.length === matrix.rows.length
    ? plural(matrix.rows.length, "seed")
    : `${matrix.shown.length.toLocaleString("en")} of ${plural(matrix.rows.length, "seed")}`;
  drawRows();
}

function drawRows(force = false) {
  const { scroller, shown } = matrix;
  const first = clamp(Math.floor(scroller.scrollTop / ROW) - SPARE, 0, Math.max(0, shown.length - 1));
  const last = Math.min(shown.length, Math.ceil((scroller.scrollTop + scroller.clientHeight) / ROW) + SPARE);
  if (!force && first === matrix.first && last === matrix.last) return;
  [matrix.first, matrix.last] = [first, last];
  const focused = matrix.body.contains(document.activeElement);
  matrix.body.replaceChildren(spacer(first), ...shown.slice(first, last).map((row, i) => rowElement(row, first + i)), spacer(shown.length - last));
  if (focused) cursorCell()?.focus({ preventScroll: true });
}

function spacer(rows) {
  const row = h("tr", { "aria-hidden": "true", class: "spacer" }, h("td", {}));
  row.firstChild.style.height = `${rows * ROW}px`;
  row.hidden = rows === 0;
  return row;
}

function rowElement(row, position) {
  const conditions = conditionsOf(view.suite);
  const current = row.episode === view.episode;
  return h("tr", { "aria-rowindex": position + 2, "aria-selected": String(current), class: current ? "current" : null, "data-episode": row.episode },
    h("th", { scope: "row" }, row.episode),
    h("td", { class: "seed" }, row.seed),
    conditions.map((condition, i) => h("td", { class: "cell" }, cell(row, condition, i))),
    h("td", { class: "number" }, row.switchJump === null ? "–" : row.switchJump.toFixed(2)));
}

function cell(row, condition, column) {
  const outcome = row.outcomes[column];
  const label = `episode ${row.episode}, ${condition.label}: ${nameOfOutcome(outcome)}`;
  const at = matrix.cursor ?? { episode: matrix.shown[0]?.episode, column: 0 };
  const isCursor = at.episode === row.episode && at.column === column;
  const chosen = row.episode === view.episode && condition === view.condition;
  return h("button", { type: "button", class: `${classOf(outcome)}${chosen ? " chosen" : ""}`, tabindex: isCursor ? 0 : -1, "data-column": column, "aria-label": label, title: `${condition.label}: ${nameOfOutcome(outcome)}` }, letterOf(outcome));
}

function openFromMatrix(event) {
  const row = event.target.closest("tr[data-episode]");
  if (!row) return;
  const column = Number(event.target.closest("button")?.dataset.column ?? 0);
  const episode = Number(row.dataset.episode);
  matrix.cursor = { episode, column };
  const condition = event.target.closest("button") ? conditionsOf(view.suite)[column] : null;
  view.steering = event.detail > 0; // after a click, keys move time; after Enter they stay in the table
  choose(episode, { condition });
  if (matchMedia("(max-width: 60rem)").matches) byId("review").scrollIntoView({ block: "start" });
}

const cursorCell = () => matrix.cursor && matrix.body.querySelector(`tr[data-episode="${matrix.cursor.episode}"] button[data-column="${matrix.cursor.column}"]`);

function moveInMatrix(event) {
  const steps = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageDown: [15, 0], PageUp: [-15, 0], Home: [-Infinity, 0], End: [Infinity, 0] }[event.key];
  if (!steps || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  const at = matrix.cursor ?? { episode: matrix.shown[0].episode, column: 0 };
  const position = matrix.shown.findIndex((row) => row.episode === at.episode);
  const next = clamp(position + steps[0], 0, matrix.shown.length - 1);
  const column = clamp(at.column + steps[1], 0, conditionsOf(view.suite).length - 1);
  matrix.cursor = { episode: matrix.shown[next].episode, column };
  reveal(next);
  drawRows(true);
  cursorCell()?.focus({ preventScroll: true });
}

function reveal(position) {
  const { scroller } = matrix;
  const head = scroller.querySelector("thead").offsetHeight;
  const top = position * ROW;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  else if (top + ROW > scroller.scrollTop + scroller.clientHeight - head) scroller.scrollTop = top + ROW - scroller.clientHeight + head;
}

// Keys choose a neighbour and bring the episode into view.
function walkTo(step) {
  chooseNeighbour(step);
  opened.then(() => byId("episode-title")?.scrollIntoView({ block: "nearest" }));
}

function chooseNeighbour(step) {
  if (!matrix.shown.length) return;
  const position = matrix.shown.findIndex((row) => row.episode === view.episode);
  const next = position < 0 ? 0 : clamp(position + step, 0, matrix.shown.length - 1);
  if (next === position) return;
  choose(matrix.shown[next].episode);
}

function followChoice() {
  const position = matrix.shown.findIndex((row) => row.episode === view.episode);
  if (position >= 0) reveal(position);
  drawRows(true);
}
