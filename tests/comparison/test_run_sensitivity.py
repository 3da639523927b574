"""Success against continuous factors: the fit against an oracle, its calibration, bins, and what cannot be said."""

import numpy as np
import pytest
import statsmodels.api as sm

from act_eval.comparison.sensitivity import SensitivityReport, logistic, sensitivity


def simulated(rng: np.random.Generator, slope: float, seeds: int = 60, delays: tuple[int, ...] = (0, 4)):
    """Return (seed, success, factors) of each episode: success depends on delay, and strongly on the seed."""
    rows = []
    for seed in range(seeds):
        own, x = rng.normal(0, 2), rng.uniform(0.1, 0.3)
        for delay in delays:
            chance = 1 / (1 + np.exp(-(0.3 + slope * (delay - 2) + own)))
            rows.append((seed, bool(rng.random() < chance), {"delay": float(delay), "target x": x}))
    return rows


def report(rows: list) -> SensitivityReport:
    return sensitivity(*([row[n] for row in rows] for n in range(3)))


def test_the_fit_is_the_oracles_but_for_the_weak_prior():
    rng = np.random.default_rng(1)
    design = np.column_stack([np.ones(3000), rng.normal(size=(3000, 2))])
    won = (rng.random(3000) < 1 / (1 + np.exp(-(0.2 + 0.7 * design[:, 1])))).astype(float)
    cluster = np.repeat(np.arange(1000), 3)
    slope, error = logistic(design, won, cluster)
    oracle = sm.Logit(won, design).fit(disp=0, cov_type="cluster", cov_kwds={"groups": cluster})
    np.testing.assert_allclose(slope, oracle.params, atol=0.01)
    np.testing.assert_allclose(error, np.maximum(oracle.bse, sm.Logit(won, design).fit(disp=0).bse), rtol=0.03)


def test_a_factor_without_an_effect_is_said_to_have_none():
    rng = np.random.default_rng(2)
    wrong = [any(one.verdict.startswith("success") for one in report(simulated(rng, 0)).effects) for _ in range(60)]
    assert np.mean(wrong) <= 0.12  # 5 % over both factors, and three standard errors of 60 runs


def test_an_effect_is_found_with_its_size_and_direction():
    rng = np.random.default_rng(3)
    found = [report(simulated(rng, -0.6)).effect("delay") for _ in range(20)]
    assert sum(one.verdict == "success falls" for one in found) >= 17
    assert all(one.interval is not None and one.interval.low < 1 for one in found)


def test_separated_success_has_a_finite_fit():
    rows = [(seed, delay == 0, {"delay": float(delay)}) for seed in range(40) for delay in (0, 4)]
    found = report(rows).effect("delay")
    assert found.verdict == "success falls"
    assert found.odds_ratio is not None
    assert 0 < found.odds_ratio < 0.5
    assert [(one.low, one.successes, one.episodes, one.seeds) for one in found.bins] == [
        (0, 40, 40, 40),
        (4, 0, 40, 40),
    ]


def test_bins_count_seeds_once():
    rows = [
        (seed % 10, seed % 2 == 0, {"target x": (seed % 10) / 10, "delay": float(seed // 10)}) for seed in range(40)
    ]
    found = report(rows)
    assert sum(one.episodes for one in found.effect("target x").bins) == 40
    assert sum(one.seeds for one in found.effect("target x").bins) == 10
    narrow, wide = found.effect("delay").bins[0].interval, found.effect("target x").bins[0].interval
    assert wide.high - wide.low > narrow.high - narrow.low


def test_a_severity_is_compared_with_no_perturbation_at_all():
    rows = [
        (seed, True, {"severity of light": 3.0} if kind else {"severity of blur": 2.0})
        for seed in range(30)
        for kind in (0, 1)
    ]
    rows += [(seed, seed < 10, {}) for seed in range(30)]
    bins = report(rows).effect("severity of light").bins
    assert [(one.low, one.successes, one.episodes) for one in bins] == [(0, 10, 30), (3, 30, 30)]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([(seed, True, {"delay": float(seed % 2)}) for seed in range(50)], "50 successes and 0 failures; 10 of each"),
        ([(seed % 9, seed % 2 == 0, {"delay": float(seed % 3)}) for seed in range(60)], "9 seeds; 20 are needed"),
        ([(seed, seed % 2 == 0, {"delay": 4.0}) for seed in range(60)], "no factor varies"),
    ],
)
def test_what_cannot_be_said_is_not_said(rows: list, text: str):
    found = report(rows)
    assert text in found.remark
    assert text in str(found)
    assert all(one.odds_ratio is None and one.verdict.startswith("no evidence") for one in found.effects)


def test_the_map_covers_the_places():
    rng = np.random.default_rng(4)
    places = [(float(x), float(y)) for x, y in rng.uniform(0, 0.3, (90, 2))]
    rows = [(n, x > 0.15, {"target x": x, "target y": y}) for n, (x, y) in enumerate(places)]
    found = report(rows)
    assert sum(cell.episodes for row in found.place_map for cell in row) == 90
    far, _, near = found.place_map
    assert sum(cell.successes for cell in far) == sum(cell.episodes for cell in far) > 0
    assert sum(cell.successes for cell in near) == 0


def test_an_unknown_factor_is_named():
    found = report([(seed, seed % 2 == 0, {"delay": float(seed % 3)}) for seed in range(60)])
    with pytest.raises(KeyError, match="'weather' does not vary in this run; there are: delay"):
        found.effect("weather")
