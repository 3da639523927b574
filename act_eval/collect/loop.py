"""Collects demonstrations: the expert acts in seeded episodes, and every successful one is kept.

Attempt k runs with the k-th collection seed. The data set is the first N successful attempts in that order, so it
does not depend on the number of workers or interruptions. Until it is complete, finished attempts are in
`OUT.partial`; then the data set appears at OUT in one move.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from act_eval.collect.plan import Collected, CollectPlan, CollectProgress, progress_of
from act_eval.collect.recording import MakeAttempts, Recorder, Submit, runner
from act_eval.datasets import Attempt, AttemptFolder, DatasetWriter, Feature
from act_eval.datasets.layout import COLLECTION, INFO, Info
from act_eval.decoding import JSON, read_json
from act_eval.envs.registration import ENVIRONMENTS
from act_eval.errors import DatasetError, UsageError

_PATIENCE = 10
"""Attempts that may fail before the share of failures counts."""
_MAX_FAILURES = 0.5
"""Share of failed attempts above which collecting stops: then the expert does not solve the environment."""


def collect(
    plan: CollectPlan,
    out: Path,
    make: MakeAttempts,
    *,
    workers: int = 2,
    on_progress: Callable[[CollectProgress], None] = lambda _: None,
) -> Collected:
    """Collect a data set, or continue one that was interrupted.

    Args:
        plan: what to collect.
        out: folder of the data set; `out` + `.partial` holds it while it is incomplete.
        make: builds environment and expert, once per worker.
        workers: processes; 1 collects in this one.
        on_progress: called after every attempt.

    Raises:
        DatasetError: if `out` or its partial folder holds something else, if the expert fails in more than half of
            its attempts, if a worker dies, or if the disk refuses.
    """
    if workers < 1:
        raise UsageError(f"workers is {workers}; at least 1 is needed")
    if out.is_file():
        raise UsageError(f"{out} is a file; name a folder")
    if out.exists() and any(out.iterdir()):
        return _already_there(plan, out)
    source = make()
    facts = source.env.unwrapped.suite_facts()
    features, fps = source.features(plan.images), int(source.env.metadata["render_fps"])
    partial = out.with_name(out.name + ".partial")
    try:
        store = AttemptFolder(partial, plan.identity() | {"facts": facts})
        recorder = Recorder(plan, source, store, features, fps)
        with runner(recorder, make, workers) as submit:
            attempts = _gather(plan, store, submit, 2 * workers if workers > 1 else 1, on_progress)
        return _finish(plan, out, store, attempts, features, fps, facts)
    except OSError as error:
        raise DatasetError(f"cannot collect into {partial}: {error}; the same command continues") from error
    finally:
        source.env.close()


def _gather(
    plan: CollectPlan,
    store: AttemptFolder,
    submit: Submit,
    in_flight: int,
    on_progress: Callable[[CollectProgress], None],
) -> list[Attempt]:
    """Run attempts until the data set is decided; return all up to its last one, in order."""
    finished = store.finished()
    pending: set[Future[Attempt]] = set()
    numbers: set[int] = set()  # submitted here
    while (attempts := _decided(finished, plan.episodes)) is None:
        _refuse_hopeless(finished, plan)
        while len(pending) < in_flight and (number := _next_number(finished, numbers, plan.episodes)) is not None:
            numbers.add(number)
            pending.add(submit(number))
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            attempt = future.result()
            finished[attempt.number] = attempt
            on_progress(progress_of(finished.values()))
    return attempts


def _decided(finished: Mapping[int, Attempt], episodes: int) -> list[Attempt] | None:
    """Return attempts 0 … k where the last is the success that completes the data set; None if k is unknown."""
    attempts, found = [], 0
    while (attempt := finished.get(len(attempts))) is not None:
        attempts.append(attempt)
        found += attempt.outcome == "success"
        if found == episodes:
            return attempts
    return None


def _next_number(finished: Mapping[int, Attempt], submitted: set[int], episodes: int) -> int | None:
    """Return the first attempt not yet made that is needed even if all before it succeed."""
    number = hoped = 0
    while hoped < episodes:
        if number not in finished and number not in submitted:
            return number
        hoped += number not in finished or finished[number].outcome == "success"
        number += 1
    return None


def _refuse_hopeless(finished: Mapping[int, Attempt], plan: CollectPlan) -> None:
    discarded = progress_of(finished.values()).discarded
    failures = sum(discarded.values())
    if failures > max(_PATIENCE, _MAX_FAILURES * len(finished)):
        raise DatasetError(
            f"the expert failed in {failures} of {len(finished)} attempts at {plan.env} with {dict(plan.options)} "
            f"({', '.join(f'{outcome} {count}' for outcome, count in discarded.items())}); demonstrations need an "
            "environment that it solves"
        )


def _finish(
    plan: CollectPlan,
    out: Path,
    store: AttemptFolder,
    attempts: list[Attempt],
    features: Mapping[str, Feature],
    fps: int,
    facts: Mapping[str, Any],
) -> Collected:
    whole = store.folder / "dataset"
    shutil.rmtree(whole, ignore_errors=True)
    writer = DatasetWriter(
        whole, features, fps=fps, task=plan.task, robot="so101" if plan.env in ENVIRONMENTS.values() else plan.env
    )
    kept = [attempt for attempt in attempts if attempt.outcome == "success"]
    videos = [key for key, feature in features.items() if feature.dtype == "video"]
    for attempt in kept:
        rows, pixels = store.read_episode(attempt.number)
        paths = {key: store.video(attempt.number, key) for key in videos}
        writer.add(rows, seed=attempt.seed, pixels=pixels, videos=paths)
    discarded = [asdict(attempt) for attempt in attempts if attempt.outcome != "success"]
    history = {"plan": asdict(plan), "facts": facts, "attempts": len(attempts), "discarded": discarded}
    writer.finish({COLLECTION: history})
    whole.rename(out)  # onto an empty folder too
    shutil.rmtree(store.folder)
    frames = sum(attempt.length for attempt in kept)
    return Collected(out, len(kept), frames, len(attempts), progress_of(attempts).discarded, existed=False)


@dataclass(frozen=True)
class _History:
    """`collection.json`: how a data set was collected."""

    plan: JSON
    facts: JSON
    attempts: int
    discarded: tuple[Attempt, ...]


def _already_there(plan: CollectPlan, out: Path) -> Collected:
    file = out / COLLECTION
    if not file.is_file():
        raise DatasetError(f"{out} exists and was not written by collecting; name another --out, or remove it")
    try:
        history = read_json(file, _History, DatasetError)
    except DatasetError as error:
        raise DatasetError(f"{error}; name another --out") from error
    options = history.plan.get("options")
    old = {*history.plan, *(options if isinstance(options, Mapping) else ())} & {"fumbles", "slips", "mislabelled"}
    if old:
        raise DatasetError(
            f"{file} was written by act_eval 0.1.0 ({', '.join(sorted(old))}): training still reads the data set, "
            "collecting does not continue it; name another --out"
        )
    # Fields added since a data set was collected had their defaults.
    there = json.loads(json.dumps(asdict(CollectPlan(env="")))) | history.plan
    wanted = json.loads(json.dumps(asdict(plan)))
    for key in sorted(wanted):
        if there[key] != wanted[key]:
            raise DatasetError(
                f"{out} holds demonstrations with {key} = {there[key]!r}; requested is {wanted[key]!r}. "
                "Name another --out, or remove it"
            )
    info = read_json(out / INFO, Info, DatasetError, ignore_unknown=True, use_defaults=True)
    discarded = progress_of(history.discarded).discarded
    return Collected(out, plan.episodes, info.total_frames, history.attempts, discarded, existed=True)
