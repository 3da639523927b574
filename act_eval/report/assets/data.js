// The page's data, and the step-by-step tracks of single episodes, which are loaded on demand.

const SCHEMA = 2;
const data = JSON.parse(byId("data").textContent);
if (data.schema !== SCHEMA) throw new Error(`the page's data have schema ${data.schema}, its scripts read ${SCHEMA}`);

const OUTCOMES = data.outcomes;
const SUCCESS = OUTCOMES.indexOf(data.success);
const INVALID = OUTCOMES.indexOf(data.invalid);

// A number in the unit of the suite's commands, where that is known.
const unitOf = () => data.suites[view.suite].unit;
const withUnit = (number) => `${number} ${unitOf()}`.trim();

const conditionsOf = (suite) => data.conditions.filter((condition) => condition.suite === suite);
const outcomeOf = (condition, episode) => condition.episodes.outcome[episode];
const nameOfOutcome = (number) => (number === null ? "no record" : words(OUTCOMES[number]));

// One row per episode of a suite, with the values for filters and sorting.
function rowsOf(suite) {
  const conditions = conditionsOf(suite);
  return data.suites[suite].seeds.map((seed, episode) => {
    const outcomes = conditions.map((condition) => outcomeOf(condition, episode));
    const jumps = conditions.map((condition) => condition.episodes.switch_jump[episode]).filter(isNumber);
    const valid = outcomes.filter((outcome) => outcome !== null && outcome !== INVALID);
    const failures = valid.filter((outcome) => outcome !== SUCCESS).length;
    return {
      suite, episode, seed, outcomes, failures,
      flipped: failures > 0 && failures < valid.length,
      switchJump: jumps.length ? Math.max(...jumps) : null,
      steps: Math.max(...conditions.map((condition) => condition.episodes.steps[episode] ?? 0)),
      text: textOf(conditions, episode, seed, outcomes),
    };
  });
}

function textOf(conditions, episode, seed, outcomes) {
  const errors = conditions.map((condition) => condition.episodes.error[episode] ?? "");
  return [`#${episode}`, seed, ...outcomes.map(nameOfOutcome), ...errors].join(" ").toLowerCase();
}

const tracks = new Map();
const waiting = new Map();
const MOST_TRACKS = 400;

globalThis.actEvalTrack = (key, track) => {
  tracks.set(key, track);
  if (tracks.size > MOST_TRACKS) tracks.delete(tracks.keys().next().value);
  waiting.get(key)?.(track);
};

// Resolves to null where the episode has no track; `lacking` says why.
function loadTrack(condition, episode) {
  const key = `${condition.key}/${episode}`;
  if (tracks.has(key)) return Promise.resolve(tracks.get(key));
  if (outcomeOf(condition, episode) === null || condition.tracks.lacking[episode]) return Promise.resolve(null);
  return new Promise((resolve) => {
    const done = (track) => {
      waiting.delete(key);
      script.remove();
      resolve(track);
    };
    const script = h("script", { src: `${condition.tracks.folder}${String(episode).padStart(4, "0")}.js`, onerror: () => done(null) });
    script.addEventListener("load", () => tracks.has(key) || done(null));
    waiting.set(key, done);
    document.head.append(script);
  });
}
