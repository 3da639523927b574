import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from act_eval.comparison.noise import chance_difference
from act_eval.comparison.pairing import Vectors, migration
from act_eval.comparison.selection import select_condition
from act_eval.comparison.verdicts import Rules, assess, decide, detectable, meets, read_all
from act_eval.stats import PairedTable, SuccessRate, UnpairedTable, mcnemar_power
from act_eval.types import OUTCOMES

VECTORS = st.lists(st.tuples(*[st.sampled_from(OUTCOMES)] * 2), min_size=1, max_size=40).map(
    lambda pairs: Vectors(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))
)


@pytest.mark.parametrize(
    ("table", "verdict"),
    [
        (PairedTable(150, 30, 5, 15), "worse"),
        (PairedTable(150, 5, 30, 15), "better"),
        (PairedTable(190, 0, 0, 10), "equivalent within margin"),
        (PairedTable(40, 3, 2, 5), "inconclusive"),
        (PairedTable(0, 0, 0, 0), "inconclusive"),
        (UnpairedTable(SuccessRate(95, 100), SuccessRate(60, 100)), "worse"),
        (UnpairedTable(SuccessRate(9, 10), SuccessRate(8, 10)), "inconclusive"),
    ],
)
def test_verdicts(table, verdict: str):
    assert assess({"d0": table}, Rules())["d0"].verdict == verdict


def test_conditions_are_one_family():
    """Alone 8 lost of 8 give p = 0.0078; among seven conditions Holm makes it 0.055."""
    shown, quiet = PairedTable(100, 8, 0, 10), PairedTable(108, 1, 1, 8)
    alone = assess({"d0": shown}, Rules())["d0"]
    assert (alone.verdict, alone.adjusted) == ("worse", alone.p_value)
    among = assess({"d0": shown, **{f"q{i}": quiet for i in range(6)}}, Rules())["d0"]
    assert (among.verdict, among.adjusted) == ("inconclusive", pytest.approx(7 * 2 * 0.5**8))
    # The interval that is shown belongs to the arm alone; the claim of equivalence holds for all conditions together.
    assert among.interval == alone.interval
    close = PairedTable(180, 8, 8, 4)
    assert assess({"d0": close}, Rules())["d0"].verdict == "equivalent within margin"
    assert assess({f"d{i}": close for i in range(8)}, Rules())["d0"].verdict == "inconclusive"


@given(VECTORS)
def test_invalid_episodes_are_bounded_by_both_extremes(vectors: Vectors):
    valid, worst, best = (vectors.table(reading, paired=True) for reading in ("valid", "worst", "best"))
    assert worst.difference <= best.difference
    assert isinstance(valid, PairedTable)
    broken = [i for i, pair in enumerate(zip(vectors.base, vectors.new, strict=True)) if "invalid" in pair]
    assert valid.pairs == len(vectors.base) - len(broken)
    if not broken:
        assert valid == worst == best
    unpaired = vectors.table("valid", paired=False)
    assert unpaired.first.trials == len(vectors.base) - vectors.invalid[0]
    assert unpaired.second.trials == len(vectors.new) - vectors.invalid[1]


@given(VECTORS, st.randoms(use_true_random=False))
def test_what_both_extremes_show_every_completion_shows(vectors: Vectors, random):
    """A drop or gain that stands under both extremes stands whatever the invalid episodes would have been."""
    readings = read_all({"d0": vectors}, Rules())
    shown = {conditions["d0"].verdict for conditions in readings.values()} & {"better", "worse"}
    sides = [
        [random.choice(["success", "missed"]) if o == "invalid" else o for o in v] for v in (vectors.base, vectors.new)
    ]
    completed = assess({"d0": Vectors(*map(tuple, sides)).table("valid", True)}, Rules())["d0"].verdict
    if completed in ("better", "worse"):
        assert completed in shown
    if len({conditions["d0"].verdict for conditions in readings.values()}) == 1 and shown:
        assert {completed} == shown


def test_a_pass_that_decides_nothing_names_the_drop_that_could_have_gone_unseen():
    vectors = {"d0": Vectors(("success",) * 6, ("success",) * 3 + ("missed",) * 3)}
    decision = decide(read_all(vectors, Rules()), "no-regression", Rules())
    drop = -PairedTable(3, 3, 0, 0).exact().low
    assert decision.passed
    assert decision.unseen_drop == pytest.approx(drop)
    assert decision.reason == (
        f"no drop detected; inconclusive: a drop of up to {drop:.2f} could have gone unseen in d0"
    )
    # Of several conditions the largest is named; one whose drop is excluded is not.
    vectors = {f"d{n}": Vectors(("success",) * n, ("success",) * n) for n in (300, 30, 4)}
    decision = decide(read_all(vectors, Rules()), "no-regression", Rules())
    assert decision.reason.endswith("could have gone unseen in d4")
    vectors = {"d300": vectors["d300"]}
    decision = decide(read_all(vectors, Rules()), "no-regression", Rules())
    assert (decision.reason, decision.unseen_drop) == ("no drop detected", None)


@given(VECTORS)
def test_migration_counts_every_episode_once(vectors: Vectors):
    counts = migration(vectors)
    assert sum(counts.values()) == len(vectors.base)
    for outcome in OUTCOMES:
        assert sum(n for (base, _), n in counts.items() if base == outcome) == vectors.base.count(outcome)
        assert sum(n for (_, new), n in counts.items() if new == outcome) == vectors.new.count(outcome)


def test_no_regression_passes_what_is_open_and_non_inferior_does_not():
    open_condition = assess({"d0": PairedTable(40, 3, 2, 5)}, Rules())
    assert meets(open_condition, "no-regression", 0.05) is True
    assert meets(open_condition, "non-inferior", 0.05) is None
    lost = assess({"d0": PairedTable(40, 3, 2, 5), "d4": PairedTable(10, 30, 0, 10)}, Rules())
    assert meets(lost, "no-regression", 0.05) is False
    assert meets(lost, "non-inferior", 0.05) is False


def test_the_noise_floor_by_counting_is_the_binomial_one():
    """By enumeration: two suites of 12 episodes at rate 0.8."""
    rng = np.random.default_rng(0)
    drawn = rng.binomial(12, 0.8, (2, 200_000))
    gaps = np.abs(drawn[0] - drawn[1]) / 12
    bound = chance_difference(0.8, 12)
    assert np.mean(gaps <= bound + 1e-9) >= 0.95 > np.mean(gaps < bound - 1e-9)
    assert chance_difference(1.0, 50) == 0.0


def test_equal_checkpoints_are_estimated_to_be_equal_by_luck():
    rng = np.random.default_rng(3)
    vectors = [["success" if hit else "missed" for hit in rng.random(100) < 0.8] for _ in range(5)]
    condition = select_condition("d0", vectors)
    assert condition.chance > 0.05
    # Expectation of the largest of five rates of 100 episodes at 0.8: about 1.16 standard deviations of 0.04.
    assert condition.luck == pytest.approx(0.045, abs=0.012)
    assert condition.mean == pytest.approx(np.mean([v.count("success") for v in vectors]) / 100)


def test_a_checkpoint_that_is_better_on_every_seed_is_not_luck():
    condition = select_condition("d0", [["missed"] * 60 + ["success"] * 40, ["success"] * 100])
    assert (condition.best, condition.chance) == (1, 0.0)
    same = select_condition("d0", [["success"] * 90 + ["missed"] * 10] * 4)
    assert (same.luck, same.chance, same.spread) == (pytest.approx(0.0), 1.0, 0.0)


def test_detectable_changes_have_the_power_that_is_promised():
    drop, gain = detectable(PairedTable(150, 10, 10, 30), 1, 0.05)
    assert drop is not None
    assert gain is not None
    assert mcnemar_power(200, 0.8, 0.8 - drop) >= 0.8 > mcnemar_power(200, 0.8, 0.8 - drop + 0.002)
    assert mcnemar_power(200, 0.8, 0.8 + gain) >= 0.8 > mcnemar_power(200, 0.8, 0.8 + gain - 0.002)
    assert detectable(PairedTable(200, 0, 0, 0), 1, 0.05)[1] is None
    assert detectable(PairedTable(0, 0, 0, 0), 1, 0.05) == (None, None)
