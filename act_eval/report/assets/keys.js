// Keyboard shortcuts.

const KEYS = [
  ["Space", "play, pause", [" "], () => setPlaying(!clock.playing)],
  ["← →", "one step back, on", ["ArrowLeft", "ArrowRight"], (event) => stepBy((event.key === "ArrowLeft" ? -1 : 1) * (event.shiftKey ? 10 : 1))],
  ["Shift ← →", "ten steps", [], null],
  ["Home End", "first, last step", ["Home", "End"], (event) => seek(event.key === "Home" ? 0 : clock.end)],
  ["↓ ↑, j k, n p", "next, previous episode of the list", ["ArrowDown", "ArrowUp", "j", "k", "n", "p"], (event) => walkTo(["ArrowDown", "j", "n"].includes(event.key) ? 1 : -1)],
  ["1 … 9", "show a condition's commands", ["1", "2", "3", "4", "5", "6", "7", "8", "9"], (event) => { const condition = conditionsOf(view.suite)[Number(event.key) - 1]; if (condition) chooseCondition(condition); }],
  ["< >", "slower, faster", ["<", ">"], (event) => changeRate(event.key === "<" ? -1 : 1)],
  ["e", "enlarge the condition's video, or not", ["e"], () => enlarge(view.condition)],
  ["/", "find", ["/"], () => byId("search").focus()],
  ["f", "only seeds that flipped between conditions", ["f"], toggleFlipped],
  ["c", "copy a link to this moment", ["c"], () => byId("copy")?.click()],
  ["m", "manifest", ["m"], () => byId("manifest").showModal()],
  ["?", "these keys", ["?"], () => byId("keys").showModal()],
  ["Arrows, Enter", "in the table: move, open", [], null],
];

function toggleFlipped() {
  const field = byId("filter-flipped");
  if (!field) return;
  field.value = view.filter.flipped ? "" : "any";
  field.dispatchEvent(new Event("change"));
}

function onKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  const target = event.target;
  if (event.key === "Escape" && target.id === "search") return void target.blur();
  if (target.closest("input, select, textarea")) return;
  if (event.key === " " && target.closest("button, summary, a") && !target.closest(".matrix")) return; // it presses the button
  const entry = KEYS.find(([, , keys]) => keys.includes(event.key));
  if (!entry) return;
  event.preventDefault();
  entry[3](event);
}

function buildKeys() {
  byId("keys").querySelector("dl").replaceChildren(...KEYS.flatMap(([keys, meaning]) => [h("dt", {}, keys), h("dd", {}, meaning)]));
  document.addEventListener("keydown", onKey);
}
