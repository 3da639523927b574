// Everything about one seed: players, controls, lanes and plots, all following the clock.

const RATES = [0.1, 0.25, 0.5, 1, 2, 4];
const MOST_PLAYERS = 6;
let opening = 0;

async function openEpisode() {
  const number = ++opening;
  const box = byId("review");
  if (view.episode === null) return void box.replaceChildren(h("p", { class: "hint" }, "Choose an episode to see it in all arms."));
  const suite = data.suites[view.suite];
  const row = matrix.rows[view.episode];
  const at = view.t;
  const arms = shownArms();
  const found = await Promise.all(arms.map(async (arm) => ({ arm, track: await loadTrack(arm, view.episode) })));
  if (number !== opening) return; // another one was chosen meanwhile
  const wasPlaying = clock.playing;
  if (wasPlaying) setPlaying(false);
  releaseVideos();
  clock.followers.clear();
  clock.stepS = suite.control_s;
  clock.end = Math.max(0, ...arms.map((arm) => arm.episodes.steps[view.episode] ?? 0));
  clock.followers.add(followVideos);
  box.replaceChildren(heading(row), ...armChips(arms), buildPlayers(row, found), controls(), buildLanes(found), buildPlots(found));
  markArm();
  clock.t = clamp(at, 0, clock.end);
  plots.redraw();
  if (view.steering) byId("scrubber").focus({ preventScroll: true });
  view.steering = false;
}

// All arms of the suite where they are few; else those that are chosen, the one in focus always among them.
function shownArms() {
  const arms = armsOf(view.suite);
  const kept = arms.filter((arm) => !players.hidden.has(arm.key) || arm === view.arm);
  if (players.touched || arms.length <= MOST_PLAYERS) return kept;
  const first = kept.slice(0, MOST_PLAYERS);
  return first.includes(view.arm) ? first : [...first.slice(1), view.arm];
}

function armChips(shown) {
  const arms = armsOf(view.suite);
  if (arms.length < 2) return [];
  const toggle = (arm) => (event) => {
    if (!players.touched) arms.filter((one) => !shown.includes(one)).forEach((one) => players.hidden.add(one.key));
    players.touched = true;
    players.hidden[event.target.checked ? "delete" : "add"](arm.key);
    openEpisode();
  };
  const box = (arm) => {
    const input = h("input", { type: "checkbox", onchange: toggle(arm), disabled: arm === view.arm });
    input.checked = shown.includes(arm);
    return h("label", { class: "chip plain" }, input, arm.label);
  };
  return arms.length <= 3 ? [] : [h("details", { class: "arms", open: players.choosing, ontoggle: (event) => { players.choosing = event.target.open; } }, h("summary", {}, `${shown.length} of ${arms.length} arms shown`), h("div", { class: "chips" }, arms.map(box)))];
}

function heading(row) {
  return h("header", { class: "episode" },
    h("div", {}, h("h3", { id: "episode-title" }, `Episode ${row.episode}`), h("p", {}, "seed ", h("code", {}, row.seed), row.flipped && h("span", { class: "flip" }, "flipped between arms"))),
    h("div", { class: "buttons" },
      h("button", { type: "button", id: "previous", title: "previous episode (p)", onclick: () => chooseNeighbour(-1) }, "← prev"),
      h("button", { type: "button", id: "next", title: "next episode (n)", onclick: () => chooseNeighbour(1) }, "next →"),
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
