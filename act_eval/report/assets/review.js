// One seed: players, controls, lanes and plots, all following the clock.

const RATES = [0.1, 0.25, 0.5, 1, 2, 4];
const MOST_PLAYERS = 6;
let opening = 0;

async function openEpisode() {
  const number = ++opening;
  const box = byId("review");
  if (view.episode === null) return void box.replaceChildren(h("p", { class: "hint" }, "Choose an episode to see it in all conditions."));
  const suite = data.suites[view.suite];
  const row = matrix.rows[view.episode];
  const at = view.t;
  const conditions = shownConditions();
  const found = await Promise.all(conditions.map(async (condition) => ({ condition, track: await loadTrack(condition, view.episode) })));
  if (number !== opening) return; // another episode was chosen in the meantime
  const wasPlaying = clock.playing;
  if (wasPlaying) setPlaying(false);
  releaseVideos();
  clock.followers.clear();
  clock.stepS = suite.control_s;
  clock.end = Math.max(0, ...conditions.map((condition) => condition.episodes.steps[view.episode] ?? 0));
  clock.followers.add(followVideos);
  box.replaceChildren(heading(row), ...conditionChips(conditions), buildPlayers(row, found), controls(), buildLanes(found), buildPlots(found));
  markCondition();
  clock.t = clamp(at, 0, clock.end);
  plots.redraw();
  if (view.steering) byId("scrubber").focus({ preventScroll: true });
  view.steering = false;
}

// All conditions of a small suite, else the chosen ones; the focused condition is always among them.
function shownConditions() {
  const conditions = conditionsOf(view.suite);
  const kept = conditions.filter((condition) => !players.hidden.has(condition.key) || condition === view.condition);
  if (players.touched || conditions.length <= MOST_PLAYERS) return kept;
  const first = kept.slice(0, MOST_PLAYERS);
  return first.includes(view.condition) ? first : [...first.slice(1), view.condition];
}

function conditionChips(shown) {
  const conditions = conditionsOf(view.suite);
  if (conditions.length < 2) return [];
  const toggle = (condition) => (event) => {
    if (!players.touched) conditions.filter((one) => !shown.includes(one)).forEach((one) => players.hidden.add(one.key));
    players.touched = true;
    players.hidden[event.target.checked ? "delete" : "add"](condition.key);
    openEpisode();
  };
  const box = (condition) => {
    const input = h("input", { type: "checkbox", onchange: toggle(condition), disabled: condition === view.condition });
    input.checked = shown.includes(condition);
    return h("label", { class: "chip plain" }, input, condition.label);
  };
  return conditions.length <= 3 ? [] : [h("details", { class: "conditions", open: players.choosing, ontoggle: (event) => { players.choosing = event.target.open; } }, h("summary", {}, `${shown.length} of ${conditions.length} conditions shown`), h("div", { class: "chips" }, conditions.map(box)))];
}

function heading(row) {
  return h("header", { class: "episode" },
    h("div", {}, h("h3", { id: "episode-title" }, `Episode ${row.episode}`), h("p", {}, "seed ", h("code", {}, row.seed), row.flipped && h("span", { class: "flip" }, "flipped between conditions"))),
    h("div", { class: "buttons" },
      h("button", { type: "button", id: "previous", title: "previous episode (k)", onclick: () => chooseNeighbour(-1) }, "← prev"),
      h("button", { type: "button", id: "next", title: "next episode (j)", onclick: () => chooseNeighbour(1) }, "next →"),
      h("button", { type: "button", id: "copy", title: "copy a link to this moment (c)", onclick: copyLink }, "Copy link")));
}

function controls() {
  const play = h("button", { type: "button", id: "play", class: "play", onclick: () => setPlaying(!clock.playing) });
  const time = h("output", { id: "time" });
  const rate = h("select", { id: "rate", "aria-label": "Speed", onchange: (event) => { clock.rate = Number(event.target.value); } }, RATES.map((value) => h("option", { value }, `${value} ×`)));
  rate.value = String(clock.rate);
  clock.followers.add((t, playing) => {
    play.textContent = playing ? "❚❚ Pause" : "▶ Play";
    time.textContent = `step ${Math.floor(t + 1e-6)} / ${clock.end} · ${(t * clock.stepS).toFixed(2)} s`;
  });
  const step = (text, by, title) => h("button", { type: "button", title, "aria-label": title, onclick: () => stepBy(by) }, text);
  return h("div", { class: "controls", role: "group", "aria-label": "Playback" }, step("−10", -10, "10 steps back"), step("−1", -1, "one step back"), play, step("+1", 1, "one step on"), step("+10", 10, "10 steps on"), rate, time);
}

function stepBy(steps) {
  if (clock.playing) setPlaying(false);
  seek(Math.round(clock.t) + steps);
}

function changeRate(by) {
  const next = clamp(RATES.indexOf(clock.rate) + by, 0, RATES.length - 1);
  clock.rate = RATES[next];
  const field = byId("rate");
  if (field) field.value = String(clock.rate);
}

async function copyLink() {
  writeAddress(false);
  const button = byId("copy");
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    prompt("The link to this moment:", location.href); // no clipboard without a secure origin
  }
  setTimeout(() => { button.textContent = "Copy link"; }, 1500);
}
