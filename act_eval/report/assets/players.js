// One seed in all conditions, side by side: every video follows the clock.

const DRIFT = 0.09; // seconds that a playing video may be off before it is put right
const players = { cards: [], hidden: new Set(), touched: false, choosing: false, large: null };

function buildPlayers(row, found) {
  players.cards = found.map(({ condition, track }) => playerCard(row, condition, track));
  clock.ready = () => players.cards.every(({ video, length }) => !video || clock.t >= length || video.readyState >= 2 || video.error);
  return h("div", { class: "players", "data-count": players.cards.length }, players.cards.map((card) => card.node));
}

function playerCard(row, condition, track) {
  const { episode } = row;
  const length = condition.episodes.steps[episode] ?? 0;
  const outcome = outcomeOf(condition, episode);
  const address = condition.episodes.video[episode];
  const status = h("p", { class: "status" });
  const card = { wanted: null, late: false };
  const video = address === null ? null : h("video", {
    src: condition.videos + address, muted: true, playsinline: true, preload: "auto", disablepictureinpicture: true, tabindex: -1,
    "aria-label": `Video of episode ${episode}, ${condition.label}: ${nameOfOutcome(outcome)} after ${length} steps`,
  });
  if (video) video.muted = true;
  const screen = h("div", { class: "screen" }, video ?? h("p", { class: "gone" }, whyNoVideo(condition, episode)));
  video?.addEventListener("error", () => screen.replaceChildren(h("p", { class: "gone" }, `The video ${decodeURIComponent(address)} is gone or cannot be played. `, again(condition, episode))));
  video?.addEventListener("loadedmetadata", () => {
    screen.style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
    card.wanted = null;
    readWhole(video, condition.videos + address).then(showTime);
  });
  video?.addEventListener("seeked", () => {
    if (card.late) followVideo(card, clock.t, clock.playing);
    card.late = false;
  });
  const name = h("button", { type: "button", class: "name", title: "show this condition's commands (keys 1 to 9)", onclick: () => chooseCondition(condition) }, h("i", { class: "swatch", "aria-hidden": "true" }), condition.label);
  name.firstChild.style.background = colourOf(condition);
  const larger = h("button", { type: "button", class: "enlarge", title: "enlarge or reduce the video (e)", "aria-label": `Enlarge the video of ${condition.label}`, onclick: () => enlarge(condition) }, "⤢");
  const error = condition.episodes.error[episode];
  const node = h("article", { class: players.large === condition.key ? "player large" : "player", "data-condition": condition.key }, h("header", {}, name, badge(outcome), video && larger), screen, status, error && h("p", { class: "error" }, error));
  Object.assign(card, { node, video, condition, track, length, status, name });
  return card;
}

// One video at a time over the whole width; it stays so for the next episodes.
function enlarge(condition) {
  players.large = players.large === condition.key ? null : condition.key;
  for (const card of players.cards) {
    card.node.classList.toggle("large", card.condition.key === players.large);
    if (card.condition.key === players.large) card.node.scrollIntoView({ block: "nearest" });
  }
}

function whyNoVideo(condition, episode) {
  if (outcomeOf(condition, episode) === null) return "There is no record of this episode.";
  const why = condition.episodes.why[episode] ?? condition.episodes.unrecorded ?? "no video";
  return [`${why[0].toUpperCase()}${why.slice(1)}. `, again(condition, episode)];
}

const again = (condition, episode) => condition.render && h("span", {}, "From its logged steps: ", h("code", {}, `${condition.render} --episodes ${episode}`));

function followVideos(t, playing) {
  players.cards.forEach((card) => {
    card.status.textContent = statusText(card.condition, card.track, card.length, t);
    if (card.video?.readyState) followVideo(card, t, playing);
  });
}

function followVideo(card, t, playing) {
  const { video, length } = card;
  // The middle of a frame, so that rounding never shows its neighbour.
  const wanted = Math.min((Math.min(t, length) + 0.5) * clock.stepS, video.duration || Infinity);
  if (playing && t < length) {
    if (Math.abs(video.currentTime - wanted) > DRIFT * Math.max(1, clock.rate)) video.currentTime = wanted;
    if (video.playbackRate !== clock.rate) video.playbackRate = clock.rate;
    card.wanted = null;
    if (video.paused) video.play().catch(() => {}); // a later seek may interrupt it
    return;
  }
  if (!video.paused) video.pause();
  if (Math.abs(video.currentTime - wanted) <= clock.stepS / 4 || wanted === card.wanted) return;
  if (video.seeking) return void (card.late = true); // one seek at a time: the next one begins when it has ended
  card.wanted = wanted;
  video.currentTime = wanted;
}

// Browsers have few decoders and keep a downloaded video until it is released.
function releaseVideos() {
  for (const { video } of players.cards) {
    if (!video) continue;
    if (video.src.startsWith("blob:")) URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
    video.load();
  }
  players.cards = [];
}

// Without range requests a video cannot seek: it is then downloaded as a whole.
async function readWhole(video, address) {
  const { seekable } = video;
  if (!location.protocol.startsWith("http") || (seekable.length && seekable.end(seekable.length - 1) > 0)) return;
  const answer = await fetch(address);
  if (answer.ok) video.src = URL.createObjectURL(await answer.blob());
}

function statusText(condition, track, length, t) {
  if (outcomeOf(condition, view.episode) === null) return "";
  const step = Math.floor(t + 1e-6);
  if (step >= length) return `ended after ${plural(length, "step")}`;
  if (!track) return `step ${step} of ${length}`;
  const chunk = track.chunk[step];
  const waits = track.requests.some(([sent, , ready]) => sent <= step && step < ready);
  const source = chunk < 0 ? "holding: no chunk" : `chunk ${chunk}, action ${track.index[step]}, seen ${plural(step - track.observed[step], "step")} ago`;
  return `step ${step} of ${length} · ${source}${waits ? " · inferring" : ""}`;
}

function markCondition() {
  for (const { node, condition, name } of players.cards) {
    node.classList.toggle("chosen", condition === view.condition && players.cards.length > 1);
    name.setAttribute("aria-pressed", String(condition === view.condition));
  }
}
