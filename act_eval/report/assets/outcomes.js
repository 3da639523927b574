// Outcomes: a letter as well as a colour, which is the same in the table, in bars, in dots and in the figures.

const LETTERS = {
  success: "✓", wrong_block: "W", dropped: "D", between: "B", missed: "M", timeout: "T", policy_error: "E", invalid: "I",
};

const letterOf = (number) => (number === null ? "·" : LETTERS[OUTCOMES[number]] ?? "?");
const classOf = (number) => (number === null ? "o-none" : `o-${OUTCOMES[number]}`);

const badge = (number) => h("span", { class: `badge ${classOf(number)}` }, h("span", { "aria-hidden": "true" }, letterOf(number)), ` ${nameOfOutcome(number)}`);
