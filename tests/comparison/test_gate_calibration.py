"""The gates do what they promise, by simulation: few false alarms under peeking, power, episodes saved.

Legend: `R` simulated comparisons · `N` pairs of each.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, binom

from act_eval.comparison.judging import episodes_for
from act_eval.comparison.sequential import Counts, StoppingRule, count, drop_evidence, margin_evidence
from act_eval.stats import PairedTable, clopper_pearson_lower, mcnemar_power

RUNS = 4000


@dataclass(frozen=True)
class Pairs:
    """Running counts of simulated comparisons, each (R, N)."""

    lost: np.ndarray
    tied: np.ndarray
    won: np.ndarray


def simulate(first: float, second: float, correlation: float = 0.5, pairs: int = 200, seed: int = 0) -> Pairs:
    """Draw comparisons of two policies with these success rates, correlated over episode seeds."""
    spread = np.sqrt(first * (1 - first) * second * (1 - second))
    both = min(first * second + correlation * spread, first, second)
    draw = np.random.default_rng(seed).random((RUNS, pairs))
    lost, won = np.cumsum(draw < first - both, axis=1), np.cumsum(draw > 1 - (second - both), axis=1)
    return Pairs(lost, np.arange(1, pairs + 1) - lost - won, won)


def first_time(shown_RN: np.ndarray) -> np.ndarray:
    """Return after how many pairs something is first shown, (R,); one more than there are if never."""
    return np.where(shown_RN.any(axis=1), shown_RN.argmax(axis=1) + 1, shown_RN.shape[1] + 1)


def drops_shown(pairs: Pairs, rule: StoppingRule) -> np.ndarray:
    size = pairs.lost.shape[1] + 1
    table = drop_evidence(np.arange(size)[:, None], np.arange(size)) >= rule.threshold
    return first_time(table[pairs.lost, pairs.won])


def margins_shown(pairs: Pairs, rule: StoppingRule) -> np.ndarray:
    size = pairs.lost.shape[1] + 1
    keys, back = np.unique((pairs.lost * size + pairs.tied) * size + pairs.won, return_inverse=True)
    evidence = margin_evidence(keys // size**2, keys // size % size, keys % size, rule.margin)
    return first_time((evidence >= rule.threshold)[back].reshape(pairs.lost.shape))


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.9, 0.97])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_peeking_after_every_pair_raises_few_false_alarms(rate: float, correlation: float):
    """Nothing has changed, and the evidence is looked at 500 times."""
    rule = StoppingRule()
    alarms = np.mean(drops_shown(simulate(rate, rate, correlation, pairs=500), rule) <= 500)
    assert alarms <= rule.alpha / 2


def test_a_better_policy_raises_fewer_alarms_still():
    rule = StoppingRule()
    assert np.mean(drops_shown(simulate(0.85, 0.9, pairs=500), rule) <= 500) <= 0.002


@pytest.mark.parametrize("margin", [0.05, 0.1])
@pytest.mark.parametrize(("rate", "correlation"), [(0.9, 0.0), (0.9, 0.5), (0.7, 0.5), (0.98, 0.0)])
def test_a_drop_of_the_margin_is_seldom_called_harmless(rate: float, correlation: float, margin: float):
    rule = StoppingRule(margin=margin)
    wrong = np.mean(margins_shown(simulate(rate, rate - margin, correlation, pairs=300), rule) <= 300)
    assert wrong <= rule.alpha / 2


def test_peeking_at_the_fixed_test_would_not_keep_the_level():
    """Why there is an e-process: the same alarms, counted for McNemar looked at after every pair."""
    pairs = simulate(0.8, 0.8, correlation=0.0, pairs=500)
    discordant = np.arange(501)
    critical = binom.ppf(0.025, discordant, 0.5) - 1
    alarms = np.mean((pairs.won <= critical[pairs.lost + pairs.won]).any(axis=1))
    assert alarms > 0.05


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.9, 0.97])
@pytest.mark.parametrize("episodes", [50, 200, 500])
def test_the_fixed_gate_raises_few_false_alarms(rate: float, episodes: int):
    assert mcnemar_power(episodes, rate, rate) <= 0.05
    pairs = simulate(rate, rate, pairs=episodes)
    assert np.mean(fixed_rejects(pairs)) <= 0.025


def fixed_rejects(pairs: Pairs, alpha: float = 0.05) -> np.ndarray:
    """Return for each comparison whether the gate fails at its last pair, (R,): a drop, at the two-sided level."""
    lost, won = pairs.lost[:, -1], pairs.won[:, -1]
    kinds, back = np.unique(np.stack([lost, won]), axis=1, return_inverse=True)
    fails = [PairedTable(0, a, b, 0).mcnemar() < alpha and a > b for a, b in kinds.T.tolist()]
    return np.array(fails)[back]


@pytest.mark.parametrize(
    ("first", "second", "episodes", "power"),
    [(0.9, 0.8, 114, 0.80), (0.95, 0.85, 114, 0.95), (0.9, 0.8, 200, 0.97), (0.9, 0.85, 500, 0.91)],
)
def test_power_is_as_advertised(first: float, second: float, episodes: int, power: float):
    """The figures of docs/comparing.md, from the formula and from simulation."""
    assert mcnemar_power(episodes, first, second) == pytest.approx(power, abs=0.01)
    assert np.mean(fixed_rejects(simulate(first, second, pairs=episodes))) == pytest.approx(power, abs=0.025)


@pytest.mark.parametrize(
    ("first", "second", "margin", "decided", "pairs"),
    [
        (0.9, 0.8, 0.05, 0.88, 105),
        (0.95, 0.75, 0.05, 1.0, 35),
        (0.8, 0.5, 0.05, 1.0, 23),
        (0.95, 0.95, 0.1, 0.99, 74),
        (0.9, 0.9, 0.1, 0.94, 96),
        (0.95, 0.95, 0.05, 0.54, 158),
        (0.9, 0.85, 0.05, 0.28, 175),
    ],
)
def test_early_stopping_saves_the_episodes_that_the_page_says(
    first: float, second: float, margin: float, decided: float, pairs: int
):
    """The table of docs/comparing.md: 200 pairs at most, correlation 0.5."""
    rule = StoppingRule(margin=margin)
    drawn = simulate(first, second)
    stop = np.minimum(drops_shown(drawn, rule), margins_shown(drawn, rule))
    assert np.mean(stop <= 200) == pytest.approx(decided, abs=0.02)
    assert np.mean(np.minimum(stop, 200)) == pytest.approx(pairs, abs=3)


@pytest.mark.parametrize("bar", [0.7, 0.9, 0.95])
@pytest.mark.parametrize("episodes", [60, 100, 200])
def test_a_policy_at_the_bar_seldom_passes_it(bar: float, episodes: int):
    """Summed over all counts: a true rate just below the bar passes with a chance of at most 5 %."""
    successes = np.arange(episodes + 1)
    passes = np.array([clopper_pearson_lower(k, episodes) >= bar for k in successes])
    assert passes.any()
    assert binom.pmf(successes, episodes, bar)[passes].sum() <= 0.05


def test_the_fewest_episodes_for_a_bar():
    assert episodes_for(0.9, 0.95) == 29  # 0.9 ** 29 < 0.05 < 0.9 ** 28
    assert clopper_pearson_lower(28, 28) < 0.9 <= clopper_pearson_lower(29, 29)


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (7, 2), (2, 7), (40, 1), (3, 60)])
def test_evidence_of_a_drop_is_the_mixture_that_it_claims_to_be(lost: int, won: int):
    """By numerical integration over the prior on the chance of losing, given that the pair disagrees."""

    def bet(chance: float) -> float:
        return (2 * chance) ** lost * (2 * (1 - chance)) ** won * 2 * beta.pdf(chance, 0.5, 0.5)

    wealth = quad(bet, 0.5, 1, limit=400)[0]
    assert np.exp(drop_evidence(lost, won)) == pytest.approx(wealth, rel=1e-5)


def test_evidence_is_fair_at_the_edge_of_its_hypothesis():
    """Its expectation after one more pair is what it was, wherever one stands."""
    for lost, tied, won in [(0, 0, 0), (5, 10, 3), (1, 80, 0)]:
        now = np.exp(drop_evidence(lost, won))
        assert (np.exp(drop_evidence(lost + 1, won)) + np.exp(drop_evidence(lost, won + 1))) / 2 == pytest.approx(now)
        margin, disagree = 0.1, 0.3
        chances = ((disagree + margin) / 2, 1 - disagree, (disagree - margin) / 2)
        after = [(lost + 1, tied, won), (lost, tied + 1, won), (lost, tied, won + 1)]
        expected = sum(p * np.exp(margin_evidence(*c, margin)) for p, c in zip(chances, after, strict=True))
        assert expected == pytest.approx(float(np.exp(margin_evidence(lost, tied, won, margin))))


def test_the_rule_answers_what_the_evidence_says():
    rule = StoppingRule(margin=0.1)
    assert rule.answer(Counts(lost=0, won=0, tied=0), 10) == "continue"
    assert rule.answer(Counts(lost=9, won=0, tied=0), 200) == "drop detected"
    assert rule.answer(Counts(lost=0, won=0, tied=60), 200) == "no drop beyond the margin"
    assert rule.answer(Counts(lost=1, won=1, tied=8), 10) == "no pairs left"


@pytest.mark.parametrize("margin", [0.1, 0.3])
def test_an_answer_with_invalid_episodes_holds_however_they_would_have_ended(margin: float):
    """Against every completion: invalid after a success is tied or lost, invalid after a failure won or tied."""
    rule, seen = StoppingRule(margin=margin), set[str]()
    for lost, won, tied in product((0, 2, 5, 8, 14, 25), (0, 1, 4, 30), (0, 25, 55, 90)):
        for after_success, after_failure in product((0, 1, 3, 7), repeat=2):
            counts = Counts(
                lost=lost,
                won=won,
                tied=tied,
                invalid_after_success=after_success,
                invalid_after_failure=after_failure,
            )
            more_lost, more_won = np.meshgrid(np.arange(after_success + 1), np.arange(after_failure + 1))
            ended = lost + more_lost, tied + after_success - more_lost + after_failure - more_won, won + more_won
            expected = "continue"
            if (margin_evidence(*ended, margin) >= rule.threshold).all():
                expected = "no drop beyond the margin"
            if (drop_evidence(ended[0], ended[2]) >= rule.threshold).all():
                expected = "drop detected"
            assert rule.answer(counts, 300) == expected
            assert (rule.answer(counts, counts.pairs) == "no pairs left") == (expected == "continue")
            seen.add(f"{expected}{after_success > 0}{after_failure > 0}")
    assert len(seen) == 12, "every answer, with and without invalid episodes of either kind"


def test_pairs_that_are_used_up_name_the_drop_that_could_have_gone_unseen():
    rule = StoppingRule()
    counts = Counts(lost=3, won=0, tied=3, invalid_after_success=1)
    drop = rule.unseen_drop(counts)
    assert 0.7 < drop < 1
    assert margin_evidence(4, 3, 0, drop) >= rule.threshold > margin_evidence(4, 3, 0, drop - 0.002)
    # Larger drops are excluded with the same evidence or more.
    evidence = [float(margin_evidence(2, 60, 3, margin)) for margin in np.linspace(0.01, 0.99, 99)]
    assert np.all(np.diff(evidence) > 0)


def test_invalid_episodes_speak_against_either_answer():
    before = ["success"] * 60 + ["missed"] * 10
    counts = count(before, ["invalid"] * 70)
    assert (counts.pairs, counts.invalid_after_success, counts.invalid_after_failure) == (70, 60, 10)
    rule = StoppingRule(margin=0.1)
    assert rule.answer(counts, 200) == "continue"
    assert rule.answer(count(before, ["missed"] * 60 + ["invalid"] * 10), 200) == "drop detected"
    assert count(before, ["success"] * 3) == Counts(lost=0, won=0, tied=3)
