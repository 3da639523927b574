// Success against delay: one line with intervals per method, one figure per suite.

const CHART = { width: 460, height: 270, left: 46, right: 14, top: 12, bottom: 40 };
const MARKERS = ["M0-4a4 4 0 1 0 .01 0z", "M-4-4h8v8h-8z", "M0-5l5 9h-10z", "M0-5l5 5-5 5-5-5z", "M0 5l5-9h-10z"];

function successFigures() {
  return data.suites.map((_, suite) => successFigure(suite)).filter(Boolean);
}

function successFigure(suite) {
  const conditions = conditionsOf(suite).filter((condition) => condition.trials > 0 && isNumber(condition.delay));
  if (new Set(conditions.map((condition) => condition.delay)).size < 2) return null;
  const groups = [...new Set(conditions.map((condition) => condition.group))];
  const most = Math.max(1, ...conditions.map((condition) => condition.delay));
  const x = (delay) => CHART.left + 8 + (delay / most) * (CHART.width - CHART.left - CHART.right - 16);
  const y = (rate) => CHART.top + (1 - rate) * (CHART.height - CHART.top - CHART.bottom);
  const { control_s: step, name } = data.suites[suite];
  const shapes = [
    ...[0, 0.25, 0.5, 0.75, 1].flatMap((rate) => [
      s("line", { class: "grid", x1: CHART.left, x2: CHART.width - CHART.right, y1: y(rate), y2: y(rate) }),
      s("text", { x: CHART.left - 8, y: y(rate) + 4, "text-anchor": "end" }, `${100 * rate} %`)]),
    ...[...new Set(conditions.map((condition) => condition.delay))].map((delay) => s("text", { x: x(delay), y: CHART.height - 22, "text-anchor": "middle" }, Number(delay.toFixed(1)))),
    s("text", { x: (CHART.left + CHART.width) / 2, y: CHART.height - 5, "text-anchor": "middle", class: "axis" }, `inference delay [steps of ${Math.round(1000 * step)} ms]`),
    ...groups.flatMap((group, i) => curve(conditions.filter((condition) => condition.group === group), i, (i - (groups.length - 1) / 2) * 5, x, y)),
  ];
  const about = conditions.map((condition) => `${condition.label}: ${condition.successes} of ${condition.trials}`).join("; ");
  return h("figure", { class: "figure" },
    h("figcaption", {}, h("b", {}, "Success against delay"), data.suites.length > 1 && ` ${name}`, h("small", {}, " bars: 95 % Wilson intervals")),
    s("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img", "aria-label": `Success against delay. ${about}` }, shapes),
    h("ul", { class: "legend" }, groups.map((group, i) => h("li", {}, s("svg", { viewBox: "-8 -6 16 12", "aria-hidden": "true", class: `group${i % LINES}` }, s("path", { d: MARKERS[i % MARKERS.length], class: "point" })), group))));
}

function curve(conditions, number, offset, x, y) {
  const sorted = [...conditions].sort((a, b) => a.delay - b.delay);
  const at = (condition) => x(condition.delay) + offset;
  const path = sorted.map((condition, i) => `${i ? "L" : "M"}${at(condition)} ${y(condition.successes / condition.trials)}`).join("");
  return [s("g", { class: `group${number % LINES}` },
    s("path", { d: path, class: "curve" }),
    sorted.map((condition) => s("g", {},
      s("title", {}, `${condition.label}: ${condition.successes} of ${condition.trials}, 95 % interval ${Math.round(100 * condition.low)} to ${Math.round(100 * condition.high)} %`),
      s("path", { d: `M${at(condition)} ${y(condition.low)}V${y(condition.high)}m-4 0h8M${at(condition) - 4} ${y(condition.low)}h8`, class: "whisker" }),
      s("path", { d: MARKERS[number % MARKERS.length], class: "point", transform: `translate(${at(condition)} ${y(condition.successes / condition.trials)})` }))))];
}
