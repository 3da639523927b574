// Commands and gripper–block distances step by step, with a line at the current step.

const LINES = 7; // colours of lines in base.css
const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3]];
const plots = { drawn: [], joint: "all" };

const colourOf = (condition) => `var(--line${conditionsOf(condition.suite).indexOf(condition) % LINES})`;
const lineColour = (number) => cssValue(`--line${number % LINES}`);

function buildPlots(found) {
  plots.drawn = [];
  const commands = h("figure", { class: "plot" });
  const distances = found.some(({ track }) => track?.distances.length) ? h("figure", { class: "plot" }) : null;
  const box = h("div", { class: "plots" }, commands, ...(distances ? [distances] : []));
  plots.redraw = () => {
    plots.drawn.forEach((plot) => plot.destroy());
    plots.drawn = [];
    drawCommands(commands, found);
    if (distances) drawDistances(distances, found);
    showTime();
  };
  clock.followers.add((t) => plots.drawn.forEach((plot) => moveHead(plot, t)));
  new ResizeObserver(() => plots.drawn.forEach((plot) => plot.setSize(sizeOf(plot.root.parentNode)))).observe(box);
  return box;
}

const jointName = (condition, number) => condition.tracks.joints[number] ?? `action ${number}`;
// Angles in degrees, everything else as the environment has it.
function axisOf() {
  const angles = unitOf() === "rad";
  const shown = angles ? "deg" : unitOf();
  const convert = (value) => (value === null || !angles ? value : (value * 180) / Math.PI);
  return { title: angles ? "Joint targets" : "Commands", shown, convert, unit: angles ? "°" : shown && ` ${shown}`, digits: angles ? 1 : 3 };
}

function drawCommands(figure, found) {
  const { title, shown, convert, unit, digits } = axisOf();
  const withTrack = found.filter(({ track }) => track?.command.length);
  const focused = withTrack.find(({ condition }) => condition === view.condition) ?? withTrack[0];
  const count = Math.max(0, ...withTrack.map(({ track }) => track.command.length));
  const options = [["all", focused ? `all of ${focused.condition.label}` : "all"], ...range(count).map((i) => [String(i), `${words(jointName(withTrack[0].condition, i))}, all conditions`])];
  const select = h("select", { id: "joint", onchange: (event) => { plots.joint = event.target.value; plots.redraw(); } }, options.map(([value, text]) => h("option", { value }, text)));
  if (plots.joint !== "all" && Number(plots.joint) >= count) plots.joint = "all";
  select.value = plots.joint;
  figure.replaceChildren(h("figcaption", {}, h("b", {}, title), shown ? ` [${shown}] ` : " ", select));
  if (!focused) return void figure.append(noPlot("This episode has no recorded steps."));
  const lines = plots.joint === "all"
    ? focused.track.command.map((values, i) => ({ label: words(jointName(focused.condition, i)), values: values.map(convert), colour: lineColour(i), dash: DASHES[0] }))
    : withTrack.map(({ condition, track }) => ({ label: condition.label, values: (track.command[Number(plots.joint)] ?? []).map(convert), colour: lineColour(conditionsOf(condition.suite).indexOf(condition)), dash: DASHES[0] }));
  const switches = plots.joint === "all" ? focused.track.chunk_switches : [];
  draw(figure, lines, digits, unit, switches, `${title} over the steps`);
}

function drawDistances(figure, found) {
  const withTrack = found.filter(({ track }) => track?.distances.length);
  figure.replaceChildren(h("figcaption", {}, h("b", {}, "Gripper to block"), " [mm]", h("small", {}, " solid: target, dashed: other blocks")));
  const lines = withTrack.flatMap(({ condition, track }) => track.distances.map((_, rank) => ({
    label: `${condition.label} ${rank === 0 ? "target" : track.distances.length > 2 ? `other ${rank}` : "other"}`,
    values: byRole(track, rank), colour: lineColour(conditionsOf(condition.suite).indexOf(condition)), dash: DASHES[Math.min(rank, DASHES.length - 1)],
  })));
  draw(figure, lines, 0, " mm", [], "Distance from the gripper to the blocks over the steps");
}

// The target may change during an episode: rank 0 is the target of that state, the other blocks follow in order.
function byRole(track, rank) {
  return range(track.distances[0].length).map((t) => {
    const target = track.target[t] ?? 0;
    const block = rank === 0 ? target : rank <= target ? rank - 1 : rank;
    const metres = track.distances[block][t];
    return metres === null ? null : metres * 1000;
  });
}

const noPlot = (text) => h("p", { class: "gone" }, text);
const sizeOf = (figure) => ({ width: Math.max(220, figure.clientWidth), height: 190 });

function draw(figure, lines, digits, unit, switches, title) {
  const span = clock.end + 1;
  const columns = lines.map(({ values }) => range(span).map((i) => values[i] ?? null));
  const ink = cssValue("--muted");
  const grid = { stroke: cssValue("--line"), width: 1 };
  const axis = { stroke: ink, grid, ticks: grid, font: "11px system-ui, sans-serif" };
  const plot = new uPlot({
    ...sizeOf(figure),
    legend: { live: true },
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { time: false, range: [0, Math.max(1, clock.end)] } },
    axes: [{ ...axis, size: 26, space: 60 }, { ...axis, size: 44 }],
    series: [{ label: "step" }, ...lines.map(({ label, colour, dash }) => ({
      label, stroke: colour, dash, width: 1.5, points: { show: false }, value: (_, value) => (isNumber(value) ? value.toFixed(digits) + unit : "–"),
    }))],
    hooks: { drawAxes: [(one) => drawSwitches(one, switches)] },
  }, [range(span), ...columns], figure);
  plot.root.setAttribute("role", "img");
  plot.root.setAttribute("aria-label", `${title}: ${lines.map(({ label }) => label).join(", ")}`);
  plot.head = h("div", { class: "playhead", "aria-hidden": "true" });
  plot.over.append(plot.head);
  scrubOn(plot.over, () => [plot.over.getBoundingClientRect(), Math.max(1, clock.end)]);
  plots.drawn.push(plot);
}

function drawSwitches(plot, switches) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = cssValue("--chunk-switch");
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (const step of switches) {
    const x = Math.round(plot.valToPos(step, "x", true)) + 0.5;
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
  }
  ctx.stroke();
  ctx.restore();
}

function moveHead(plot, t) {
  plot.head.style.left = `${(100 * t) / Math.max(1, clock.end)}%`;
  if (plot.cursor.left === undefined || plot.cursor.left < 0) plot.setLegend({ idx: Math.min(Math.floor(t + 1e-6), clock.end) }, false);
}
