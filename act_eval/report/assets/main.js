// Builds the page: first the parts that are read at once, the figures after the first paint.

const THEMES = ["system", "light", "dark"];

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme").setAttribute("aria-label", `Colours: ${theme === "system" ? "as the system" : theme}`);
  byId("theme").title = `colours: ${theme === "system" ? "as the system" : theme}`;
  if (view.episode !== null) plots.redraw?.();
}

function rememberedTheme() {
  try {
    return THEMES.includes(localStorage.getItem("act_eval_theme")) ? localStorage.getItem("act_eval_theme") : "system";
  } catch {
    return "system"; // storage may be forbidden
  }
}

function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(rememberedTheme()) + 1) % THEMES.length];
  try {
    localStorage.setItem("act_eval_theme", theme);
  } catch {
    // as above
  }
  setTheme(theme);
}

function openSuite() {
  buildMatrix(byId("matrix"));
  buildFilters(byId("filters"), matrix.rows);
  refreshMatrix();
}

function takeAddress() {
  const lost = readAddress();
  if (lost) byId("review").replaceChildren(h("p", { class: "hint" }, lost));
  buildFilters(byId("filters"), matrix.rows);
  return lost === null;
}

let linked = false; // whether the address named an episode when the page was opened
let opened = Promise.resolve();

function start() {
  openSuite();
  buildKeys();
  byId("theme").addEventListener("click", nextTheme);
  byId("open-manifest").addEventListener("click", () => byId("manifest").showModal());
  byId("open-keys").addEventListener("click", () => byId("keys").showModal());
  byId("reset").addEventListener("click", resetFilters);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  on("list", refreshMatrix);
  on("suite", () => { openSuite(); openEpisode(); });
  on("episode", () => { followChoice(); opened = openEpisode(); });
  on("condition", () => { markCondition(); drawRows(true); plots.redraw?.(); });
  addEventListener("popstate", takeAddress);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.episode !== null && plots.redraw?.());
  setTheme(rememberedTheme());
  const found = takeAddress();
  linked = view.episode !== null;
  if (found && view.episode === null) {
    const worth = matrix.shown.find((row) => row.flipped) ?? matrix.shown.find((row) => row.failures) ?? matrix.shown[0];
    if (worth && !matchMedia("(max-width: 60rem)").matches) choose(worth.episode, { quiet: true });
    else openEpisode();
  }
  requestAnimationFrame(() => setTimeout(drawFigures));
}

async function drawFigures() {
  byId("figures").replaceChildren(...[...successFigures(), ...graspFigures()]);
  performance.mark("ready");
  await opened;
  if (linked) byId("episodes").scrollIntoView({ behavior: "instant" }); // everything has its height now
  document.documentElement.dataset.ready = "true";
}

start();
