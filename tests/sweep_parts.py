"""Finished parts of a sweep from given outcomes, for tests of what is made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from act_eval.metrics import EpisodeMetrics
from act_eval.results.suites import Suite
from act_eval.sources.executors import load_executor
from act_eval.sweeps.grid import Grid, Setting, expand, parse_rule
from act_eval.sweeps.results import Cell, RunCells
from act_eval.timing import Oracle, Proprio, describe_prefix, parse_prefix
from act_eval.types import EpisodeRecord, PolicySpec

ACT = PolicySpec(chunk=20, action_dim=6, window="same", takes_prefix=False, max_delay=0, inputs={})
ACT_RTC = PolicySpec(chunk=20, action_dim=6, window="shifted", takes_prefix=True, max_delay=8, inputs={})


def grid(
    delays: Sequence[int],
    executors: Sequence[str],
    execution_horizon: Sequence[str] = ("half",),
    delay_estimator=None,
    prefix: Sequence[str] = ("committed",),
    proprio: tuple[Proprio, ...] = ("observed",),
) -> Grid:
    return Grid(
        delays=tuple(delays),
        executors=tuple(map(load_executor, executors)),
        rules=tuple(map(parse_rule, execution_horizon)),
        delay_estimator=delay_estimator or {"oracle": Oracle()},
        prefixes={describe_prefix(one): one for one in map(parse_prefix, prefix)},
        proprio=proprio,
    )


def records(text: str) -> tuple[EpisodeRecord, ...]:
    """One episode a letter: `1` success, `0` timeout, `x` invalid."""
    outcomes = {"1": "success", "0": "timeout", "x": "invalid"}
    return tuple(
        EpisodeRecord(episode=i, seed=100 + i, outcome=outcomes[letter], steps=120, detail={"event_step": 9})
        for i, letter in enumerate(text)
    )


def part(outcomes: Mapping[str, str], asked: Grid, spec: PolicySpec = ACT_RTC, policy="act_rtc", env="moving_pick"):
    """A part whose conditions have these outcomes, a letter an episode."""
    expansion = expand(asked, spec)
    assert {setting.condition for setting in expansion.settings} == set(outcomes)
    rules = {condition: series.rule for series in reversed(expansion.series) for condition in series.conditions}
    episodes = len(next(iter(outcomes.values())))
    return RunCells(
        policy=policy,
        env=env,
        suite=Suite(env="act_eval/MovingPick-v0", kwargs={}, horizon=200, seeds=tuple(range(100, 100 + episodes))),
        control_s=0.05,
        default_executor="rtc" if spec.takes_prefix else "naive",
        cells={
            setting.condition: _cell(
                policy, env, setting, rules[setting.condition], records(outcomes[setting.condition])
            )
            for setting in expansion.settings
        },
        series=expansion.series,
        refused=expansion.refused,
    )


def _cell(policy: str, env: str, setting: Setting, rule: str, episodes: tuple[EpisodeRecord, ...]) -> Cell:
    """A cell whose successes take six seconds; every second episode is reacted to after half a second."""
    blank = dict.fromkeys((f.name for f in fields(EpisodeMetrics)), None) | {"own": {}, "control_s": 0.05}
    measured = (
        EpisodeMetrics(
            **blank
            | dict.fromkeys(("reaction_steps", "behavioural_reaction_steps"), 10 if one.episode % 2 else None)
            | {"episode": one.episode, "time_to_success_s": 6.0 if one.outcome == "success" else None}
        )
        for one in episodes
    )
    return Cell(policy=policy, env=env, setting=setting, rule=rule, records=episodes, measured=tuple(measured))
