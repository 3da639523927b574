"""Finished run folders with chosen outcomes, made by the writers that an evaluation uses."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from act_eval.encoding import encode_line
from act_eval.results import Manifest, fingerprint, notes, open_run
from act_eval.results.records import ShardLine
from act_eval.results.run import video_name
from act_eval.results.suites import Suite
from act_eval.types import EpisodeRecord, Timing

FINGERPRINT = fingerprint(threads=1, renderer="llvmpipe", cpu_capability="AVX2")


def suite(episodes: int, first_seed: int = 100, **changes: Any) -> Suite:
    """Return a suite of consecutive seeds."""
    seeds = tuple(range(first_seed, first_seed + episodes))
    facts = {"scene": "aa", "outcome_rules": 1}
    return replace(Suite(env="act_eval/Pick-v0", kwargs={}, horizon=200, facts=facts, seeds=seeds), **changes)


def outcomes(successes: int, failures: int, invalid: int = 0) -> list[str]:
    """Return an outcome vector: successes, then failures, then invalid episodes."""
    return ["success"] * successes + ["missed"] * failures + ["invalid"] * invalid


def make_run(
    out: Path,
    conditions: Mapping[str, Sequence[str]],
    of: Suite | None = None,
    digest: str = "aa",
    video: str = "none",
    fingerprint: Mapping[str, Any] = FINGERPRINT,
    starts: Mapping[str, Sequence[str | None]] | None = None,
) -> Path:
    """Write a finished run folder, with (empty) videos as `video` says, and the initial states of its episodes."""
    begun = starts or {}
    run_suite = of or suite(len(next(iter(conditions.values()))))
    configuration = {
        "policy": {"name": f"policy_{digest}", "digest": digest},
        "conditions": {name: {"executor": "naive", "delay": i} for i, name in enumerate(conditions)},
        "device": "cpu",
        "video": video,
    }
    manifest = Manifest(suite=run_suite, configuration=configuration, fingerprint=fingerprint, notes=notes())
    with open_run(out, manifest) as run:
        records = {
            name: [
                EpisodeRecord(
                    episode=i,
                    seed=run_suite.seeds[i],
                    outcome=outcome,
                    steps=9,
                    detail={"initial_state": begun[name][i]} if begun.get(name) and begun[name][i] else {},
                )
                for i, outcome in enumerate(vector)
            ]
            for name, vector in conditions.items()
        }
        lines = [
            ShardLine(condition=name, record=record, timing=Timing(episode=record.episode, wall_s=1.0))
            for name, own in records.items()
            for record in own
        ]
        # All at once: a ShardWriter puts every line on the disk before the next one.
        run.new_shards(1)[0].write_text("".join(map(encode_line, lines)))
        run.finish()
    for name, own in records.items() if video == "all" else ():
        (out / name / "videos").mkdir()
        for record in own:
            (out / name / "videos" / video_name(record)).touch()
    return out
