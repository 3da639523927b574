// Grasp positions in the frame of the two blocks: target at 0, confuser at 1. A point opens its episode.

const CLOUD = { width: 300, height: 190, low: -0.75, high: 1.75, side: 0.85 };

function graspFigures() {
  return data.suites.map((_, suite) => graspFigure(suite)).filter(Boolean);
}

function graspFigure(suite) {
  const conditions = conditionsOf(suite).filter((condition) => condition.episodes.grasp_point.some((point) => point !== null));
  if (!conditions.length) return null;
  return h("figure", { class: "figure grasps" },
    h("figcaption", {}, h("b", {}, "Grasp positions"), data.suites.length > 1 && ` ${data.suites[suite].name}`, h("small", {}, " from above, target at 0, confuser at 1; a point opens its episode")),
    h("div", { class: "facets" }, conditions.map((condition) => facet(condition, suite))));
}

function facet(condition, suite) {
  const { width, height, low, high, side } = CLOUD;
  const x = (value) => ((clamp(value, low, high) - low) / (high - low)) * width;
  const y = (value) => ((side - clamp(value, -side, side)) / (2 * side)) * (height - 22) + 2;
  const grasped = range(condition.episodes.grasp_point.length).filter((episode) => condition.episodes.grasp_point[episode] !== null);
  grasped.sort((a, b) => (outcomeOf(condition, b) === SUCCESS) - (outcomeOf(condition, a) === SUCCESS)); // failures on top
  const points = grasped.map((episode) => point(condition, episode, x(condition.episodes.grasp_point[episode][0]), y(condition.episodes.grasp_point[episode][1])));
  const block = (at, name) => [
    s("circle", { cx: x(at), cy: y(0), r: 9, class: "block" }),
    s("text", { x: x(at), y: height - 4, "text-anchor": "middle" }, name)];
  const picture = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Grasps of ${condition.label}: ${condition.grasps ?? "no verdict"}` },
    s("rect", { x: x(0.25), y: 0, width: x(0.75) - x(0.25), height: height - 18, class: "zone" }),
    s("line", { x1: x(0), x2: x(1), y1: y(0), y2: y(0), class: "grid" }),
    block(0, "target"), block(1, "confuser"), s("text", { x: x(0.5), y: height - 4, "text-anchor": "middle", class: "faint" }, "halfway"), points);
  picture.addEventListener("click", (event) => {
    const episode = event.target.dataset?.episode;
    if (episode === undefined) return;
    choose(Number(episode), { suite, condition });
    byId("episodes").scrollIntoView();
  });
  const verdict = condition.grasps ? h("p", { class: "verdict", title: condition.grasps }, condition.grasps.split(": ")[0]) : null;
  return h("div", { class: "facet" }, h("h3", {}, condition.label), picture, verdict);
}

function point(condition, episode, x, y) {
  const outcome = outcomeOf(condition, episode);
  return s("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 3.5, class: `dot ${classOf(outcome)}`, "data-episode": episode }, s("title", {}, `episode ${episode}: ${nameOfOutcome(outcome)}`));
}
