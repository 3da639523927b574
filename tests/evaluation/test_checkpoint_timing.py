"""Executor and execution horizon that a checkpoint sets: printed, and used where every condition can run so."""

from typing import Any

import pytest

from act_eval.config import EvaluateConfig
from act_eval.evaluation.conditions import Conditions, conditions_of
from act_eval.sources.environments import EnvFacts
from act_eval.sources.network_sources import PolicyFacts
from act_eval.sweeps.survey import Survey
from act_eval.timing import Constant, Ensemble
from act_eval.types import PolicySpec

ENV = EnvFacts(
    options={}, horizon=200, control_ms=50, suite={}, renderer="", renders_states=True, offered={}, action=(6,)
)


def conditions(delays: tuple[int, ...], given: dict[str, Any] | None = None, **spec: Any) -> Conditions:
    values = {"chunk": 20, "action_dim": 6, "window": "same", "takes_prefix": False, "max_delay": 0, "inputs": {}}
    config = EvaluateConfig(policy="act", env="pick", **given or {})
    return conditions_of(config, PolicySpec(**values | spec), [Constant(delay) for delay in delays], ENV)


@pytest.mark.parametrize(
    ("delays", "given", "spec", "names", "line"),
    [
        ((0, 4), {}, {}, ["naive_d0_s10", "naive_d4_s10"], None),
        (
            (0, 4),
            {},
            {"n_action_steps": 12},
            ["naive_d0_s12", "naive_d4_s12"],
            "policy  its checkpoint sets n_action_steps 12; here naive, s = 12",
        ),
        ((0,), {}, {"n_action_steps": 20}, ["naive_d0_s20"], "n_action_steps 20; here naive, s = 20"),
        (
            (0, 4),
            {},
            {"n_action_steps": 20},
            ["naive_d0_s10", "naive_d4_s10"],
            "warning: the checkpoint sets n_action_steps 20, which cannot run here (naive needs d <= s <= C - d, with "
            "C = 20, d = 4: 4 <= s <= 16; got s = 20): naive, s = 10, runs instead",
        ),
        (
            (4,),
            {"executor": "sync_hold"},
            {"n_action_steps": 20},
            ["sync_hold_d4_s20"],
            "n_action_steps 20; here sync_hold, s = 20, decided by --executor",
        ),
        (
            (0,),
            {"execution_horizon": 5},
            {"n_action_steps": 20},
            ["naive_d0_s5"],
            "n_action_steps 20; here naive, s = 5, decided by --execution-horizon",
        ),
        (
            (0, 4),
            {},
            {"n_action_steps": 1, "temporal_ensemble_coeff": 0.05},
            ["ensemble-decay0.05-newest_only_d0_s1", "ensemble-decay0.05-newest_only_d4_s1"],
            "policy  its checkpoint sets n_action_steps 1, temporal_ensemble_coeff 0.05; here ensemble-",
        ),
        (
            (8,),
            {"execution_horizon": 8, "executor": "rtc"},
            {"n_action_steps": 1, "window": "shifted", "takes_prefix": True, "max_delay": 8},
            ["rtc_d8_s8"],
            "n_action_steps 1; here rtc, s = 8, decided by --executor and --execution-horizon",
        ),
        (
            (0,),
            {},
            {"n_action_steps": 1, "temporal_ensemble_coeff": -0.05},
            ["naive_d0_s10"],
            "temporal_ensemble_coeff -0.05, which cannot run here",
        ),
        (
            (0, 2),
            {"executor": "naive"},
            {"n_action_steps": 1, "temporal_ensemble_coeff": 0.05},
            ["naive_d0_s10", "naive_d2_s10"],
            "warning: the checkpoint sets n_action_steps 1, temporal_ensemble_coeff 0.05, which cannot run here",
        ),
    ],
)
def test_a_checkpoint_decides_where_no_flag_does_and_every_delay_can_run(
    delays: tuple[int, ...], given: dict[str, Any], spec: dict[str, Any], names: list[str], line: str | None
) -> None:
    found = conditions(delays, given, **spec)
    assert list(found.schedules) == names
    assert (found.timing == ()) if line is None else (line in found.timing[0])


def test_the_checkpoints_ensemble_averages_every_dimension_as_lerobots_does() -> None:
    (schedule,) = conditions((0,), n_action_steps=1, temporal_ensemble_coeff=0.3).schedules.values()
    assert schedule.method == Ensemble(1, decay=0.3, newest_only=())


def test_a_sweep_says_that_its_grid_decides() -> None:
    spec = PolicySpec(
        chunk=8, action_dim=6, window="same", takes_prefix=False, max_delay=0, inputs={}, n_action_steps=8
    )
    facts = {"act": PolicyFacts(spec=spec, identity={})}
    (line,) = Survey(policies=facts, envs={}).remarks
    assert (
        line == "policy  the checkpoint of act sets n_action_steps 8; --executors and --execution-horizon decide here"
    )
