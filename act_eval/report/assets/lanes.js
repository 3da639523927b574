// One scrubber over lanes: per condition its observations, inference in flight, executed chunks and underruns.

const LANES = { observed: [0, 5], flight: [7, 5], source: [14, 12], underrun: [28, 4] };
const LANES_HEIGHT = 32;
const SHADES = 3;

function buildLanes(found) {
  const span = Math.max(1, clock.end);
  const rows = found.map(({ condition, track }) => laneRow(condition, track, span));
  const [changes, grasps] = ["event", "grasp"].map((name) => found.some(({ track }) => isNumber(track?.[name])));
  const head = h("div", { class: "playhead", "aria-hidden": "true" });
  const area = h("div", { class: "lanes-area", role: "slider", tabindex: 0, id: "scrubber", "aria-label": "Moment", "aria-valuemin": 0, "aria-valuemax": clock.end },
    rows.map((row) => row.lanes), head);
  scrubOn(area, () => [area.getBoundingClientRect(), span]);
  clock.followers.add((t) => {
    head.style.left = `${(100 * t) / span}%`;
    area.setAttribute("aria-valuenow", String(Math.floor(t)));
    area.setAttribute("aria-valuetext", `step ${Math.floor(t)} of ${clock.end}`);
  });
  return h("div", { class: "lanes" }, h("div", { class: "lane-names" }, rows.map((row) => row.name)), area, legend(changes, grasps));
}

function laneRow(condition, track, span) {
  const name = h("span", { class: "lane-name", title: condition.label }, h("i", { class: "swatch", "aria-hidden": "true" }), condition.label);
  name.firstChild.style.background = colourOf(condition);
  const shapes = track ? [...chunkShapes(track), ...requestShapes(track), ...markShapes(track)] : [];
  const lanes = h("div", { class: "lane" }, s("svg", { viewBox: `0 0 ${span} ${LANES_HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, shapes),
    !track && h("span", { class: "gone" }, "no steps"));
  return { name, lanes };
}

function bar(lane, from, to, kind, title) {
  const [y, height] = LANES[lane];
  return s("rect", { x: from, y, width: Math.max(0, to - from), height, class: kind }, title && s("title", {}, title));
}

function* runsOf(values) {
  let from = 0;
  for (let i = 1; i <= values.length; i++) {
    if (i < values.length && values[i] === values[from]) continue;
    yield [from, i, values[from]];
    from = i;
  }
}

function chunkShapes(track) {
  const shapes = [];
  for (const [from, to, chunk] of runsOf(track.chunk)) {
    const steps = `steps ${from} to ${to - 1}`;
    if (chunk < 0) {
      shapes.push(bar("underrun", from, to, "underrun", `${steps}: no chunk, the hold action runs`), bar("source", from, to, "hold"));
    } else {
      const about = `${steps}: chunk ${chunk}, actions ${track.index[from]} to ${track.index[to - 1]}, observed in step ${track.observed[from]}`;
      shapes.push(bar("source", from, to, `chunk shade${chunk % SHADES}`, about));
    }
  }
  track.chunk_switches.forEach((step, i) => {
    const jump = track.jumps?.[i];
    const [y, height] = LANES.source;
    const title = `step ${step}: switch to chunk ${track.chunk[step]}${isNumber(jump) ? `, jump ${withUnit(jump.toFixed(3))}` : ""}`;
    shapes.push(s("line", { x1: step, x2: step, y1: y - 1, y2: y + height + 1, class: "chunk-switch" }, s("title", {}, title)));
  });
  return shapes;
}

function requestShapes(track) {
  return track.requests.flatMap(([sent, observed, ready, lost], number) => {
    const end = Math.min(ready, track.steps);
    const words = lost ? "the answer was lost" : `answered in step ${ready}`;
    return [
      bar("observed", observed, observed + 0.8, "observed", `request ${number}: observed in step ${observed}`),
      end > sent && bar("flight", sent, end, lost ? "flight lost" : "flight", `request ${number}: sent in step ${sent}, ${words}`),
    ];
  });
}

function markShapes(track) {
  const mark = (step, kind, title) => isNumber(step) && s("line", { x1: step, x2: step, y1: 0, y2: LANES_HEIGHT, class: `mark ${kind}` }, s("title", {}, title));
  return [
    mark(track.event, "event", `step ${track.event}: the scene changes`),
    mark(track.grasp, "grasp", `step ${track.grasp}: grasp`),
    s("line", { x1: track.steps, x2: track.steps, y1: 0, y2: LANES_HEIGHT, class: "mark end" }, s("title", {}, `ended after ${track.steps} steps`)),
  ].filter(Boolean);
}

function legend(changes, grasps) {
  const entries = [["observed", "observation"], ["flight", "inference in flight"], ["chunk shade0", "executed chunk"], ["chunk-switch", "chunk switch"], ["underrun", "underrun: hold action"], ...(grasps ? [["mark grasp", "grasp"]] : []), ...(changes ? [["mark event", "scene changes"]] : [])];
  return h("ul", { class: "legend", "aria-label": "Legend of the lanes" }, entries.map(([kind, text]) =>
    h("li", {}, s("svg", { viewBox: "0 0 16 10", "aria-hidden": "true" }, kind === "chunk-switch" || kind.startsWith("mark") ? s("line", { x1: 8, x2: 8, y1: 0, y2: 10, class: kind }) : s("rect", { x: 1, y: 2, width: 14, height: 6, class: kind })), text)));
}

// Pressing and moving seeks; `place` gives the rectangle and how many steps it spans.
function scrubOn(node, place) {
  const to = (event) => {
    const [box, span] = place();
    seek(Math.round(((event.clientX - box.left) / box.width) * span));
  };
  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    setPlaying(false);
    node.setPointerCapture(event.pointerId);
    to(event);
  });
  node.addEventListener("pointermove", (event) => node.hasPointerCapture(event.pointerId) && to(event));
}
