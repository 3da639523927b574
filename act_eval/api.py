"""The Python API: the jobs of the command line, on names or objects."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from act_eval.comparison.findings import Comparison, compare_places
from act_eval.comparison.verdicts import Rules
from act_eval.config import EvaluateConfig, ProbeConfig, SweepConfig
from act_eval.config_fields import from_fields
from act_eval.diagnostics import ProbeReport
from act_eval.errors import UsageError
from act_eval.evaluation.checks import validity_notes
from act_eval.evaluation.plan import DELAYS, EPISODES
from act_eval.evaluation.reporter import Reporter
from act_eval.evaluation.robustness import evaluate_robustness, perturbations_of
from act_eval.evaluation.run import evaluate as run_evaluation
from act_eval.progress import reporter_for
from act_eval.run import Run, load_run
from act_eval.sources.policies import EXPERT
from act_eval.sources.probing import probe_inputs
from act_eval.sweeps.run import FinishedSweep
from act_eval.sweeps.run import sweep as run_sweep
from act_eval.timing import DelayModel

__all__ = ["compare", "evaluate", "load_run", "probe", "robustness", "sweep"]

Delays = Sequence[int | str | DelayModel]
_DEFAULT_DELAYS = tuple(map(int, DELAYS))


def evaluate(
    policy: Any = "act_rtc",
    env: Any = "confuser_pick",
    *,
    delays: Delays | int | str | DelayModel = _DEFAULT_DELAYS,
    executor: Any = None,
    execution_horizon: int | None = None,
    episodes: int = EPISODES,
    seed: int = 0,
    out: str | Path | None = None,
    video: str = "all",
    workers: int | None = None,
    progress: bool | Reporter = True,
    **fields: Any,
) -> Run:
    """Evaluate a policy in closed loop under inference delay, on a suite of seeded episodes.

    Repeating the call resumes an interrupted run, and returns a finished one at once.

    Args:
        policy: any value of `--policy`, or an object; see docs/own-policy.md.
        env: any value of `--env`, or an object; see docs/own-environment.md.
        delays: inference delays in control steps, texts such as `uniform:1,6`, or delay models; each is a condition.
        executor: executor of the chunks; by default `rtc` for policies that take a prefix and `naive` for others.
        execution_horizon: control steps between two requests; half a chunk by default.
        episodes: per condition.
        seed: determines the episode seeds.
        out: run folder; by default one below outputs/evaluate whose name depends on the configuration.
        video: episodes to record videos of: all, failures or none.
        workers: worker processes; one per processor core by default.
        progress: whether to print lines and bars; or a reporter that receives them.
        fields: any other field of `EvaluateConfig` and its nested configs, such as `horizon` or `image_size`.

    Raises:
        ActEvalError: if a field, the policy, the environment, the folder or a worker is at fault.
        Interrupted: after ctrl-C, naming the folder that keeps the finished episodes.
    """
    named = {
        "delays": delays,
        "executor": executor,
        "execution_horizon": execution_horizon,
        "episodes": episodes,
        "seed": seed,
        "out": out,
        "video": video,
        "workers": workers,
        "progress": progress,
    }
    return _evaluated(run_evaluation, policy, env, {**named, **fields})


def _evaluated(job: Callable[..., Any], policy: Any, env: Any, given: Mapping[str, Any]) -> Run:
    """Run an evaluation, or one that wraps it, from the arguments of `evaluate`."""
    fields = dict(given)
    delays, progress = fields.pop("delays", _DEFAULT_DELAYS), fields.pop("progress", True)
    implied = (isinstance(policy, str) and policy == EXPERT) or fields.get("latency_ms") is not None
    values = {
        "policy": _named(policy),
        "env": _named(env),
        "delays": None if implied and delays is _DEFAULT_DELAYS else _delays(delays),
        **fields,
    }
    if fields.get("seeds") is not None and fields.get("episodes") == EPISODES:
        values["episodes"] = None
    if isinstance(seeds := fields.get("seeds"), Sequence) and not isinstance(seeds, str):
        values["seeds"] = ",".join(map(str, seeds))
    if fields.get("shard") is not None:
        raise UsageError("shards are for the command line, whose `merge` combines them into one run")
    reporter = reporter_for(progress)
    found = job(from_fields(EvaluateConfig, values), reporter)
    for line in validity_notes(found.records, found.folder):
        reporter.line(line)
    return Run.load(found.folder)


def robustness(
    policy: Any = "act_rtc",
    env: Any = "confuser_pick",
    *,
    axes: Sequence[str] = ("all",),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    delays: Delays | int | str | DelayModel = (0,),
    video: str = "none",
    **fields: Any,
) -> Run:
    """Evaluate a policy under every axis of perturbation at every severity, on the same episode seeds.

    Args:
        policy: as `evaluate` takes it.
        env: as `evaluate` takes it.
        axes: axes by name, without a severity; all that the environment offers by default.
        severities: from 1 to 5.
        delays: as `evaluate` takes them.
        video: episodes to record videos of; with `none`, the worst ones are rendered at the end.
        fields: any other argument of `evaluate`.

    Returns:
        The run; its `robustness()` prints as a table.

    Raises:
        ActEvalError: as `evaluate`.
        Interrupted: as `evaluate`.
    """
    given = {"delays": delays, "video": video, **fields, "perturb": perturbations_of(axes, severities)}
    return _evaluated(evaluate_robustness, policy, env, given)


def sweep(
    policies: Sequence[Any] | Any = ("act", "act_rtc"),
    envs: Sequence[Any] | Any = ("moving_pick", "confuser_swap"),
    *,
    delays: Sequence[int | str] = (0, 1, 2, 4, 8),
    progress: bool | Reporter = True,
    **fields: Any,
) -> FinishedSweep:
    """Sweep policies and environments over inference delay, as one resumable job.

    Args:
        policies: as `evaluate` takes them.
        envs: as `evaluate` takes them.
        delays: inference delays [control steps].
        progress: whether to print lines and bars; or a reporter that receives them.
        fields: any other field of `SweepConfig` and its nested configs, such as `executors` or `episodes`.

    Raises:
        ActEvalError: if a field, a policy, an environment, a folder or a worker is at fault.
        Interrupted: after ctrl-C, naming the folder that keeps the finished episodes.
    """
    if fields.get("shard") is not None:
        raise UsageError("shards are for the command line, whose `merge` combines them into one sweep")
    values: Mapping[str, Any] = {
        "policies": tuple(map(_named, _several_objects(policies))),
        "envs": tuple(map(_named, _several_objects(envs))),
        "delays": tuple(map(str, _several(delays))),
        **{
            name: tuple(map(str, _several(value))) if name in ("execution_horizon", "delay_estimator") else value
            for name, value in fields.items()
        },
    }
    found = run_sweep(from_fields(SweepConfig, values), reporter_for(progress))
    assert isinstance(found, FinishedSweep)
    return found


def compare(
    base: Run | Path | str,
    new: Run | Path | str,
    *,
    conditions: Sequence[str] = (),
    alpha: float = 0.05,
    margin: float = 0.05,
    paired: bool = True,
) -> Comparison:
    """Test whether `new` is better or worse than `base` on the same episode seeds.

    Args:
        base: a run, its folder, a file of `baseline`, or a single condition as RUN:CONDITION.
        new: the same.
        conditions: conditions to compare, as NAME or BASE_NAME=NEW_NAME; by default all that both runs have.
        alpha: family-wise level of the two-sided tests over all conditions.
        margin: largest negligible difference of success rates.
        paired: whether to pair episodes by seed; otherwise the success rates of different episodes are compared.

    Raises:
        SuiteMismatch: if the runs used different suites.
        ActEvalError: if a run or a condition is at fault.
    """
    places = (str(one.folder if isinstance(one, Run) else one) for one in (base, new))
    rules = Rules(alpha=alpha, margin=margin, paired=paired)
    return compare_places(*places, conditions=conditions, rules=rules, requirement="no-regression")


def probe(policy: Any = "act_rtc", env: Any = "confuser_pick", **fields: Any) -> ProbeReport:
    """Measure which declared inputs change a policy's output, on observations of seeded episodes.

    Args:
        policy: as `evaluate` takes it.
        env: as `evaluate` takes it.
        fields: any other field of `ProbeConfig` and its nested configs, such as `episodes`, `short` or `horizon`.

    Returns:
        The report, which prints as text; `ignored` holds the ignored inputs.

    Raises:
        ActEvalError: if a field, the policy or the environment is at fault.
    """
    return probe_inputs(from_fields(ProbeConfig, {"policy": _named(policy), "env": _named(env), **fields}))


def _named(given: Any) -> Any:
    """Return a path as text, and anything else unchanged."""
    return str(given) if isinstance(given, Path) else given


def _several(given: Any) -> Sequence[Any]:
    return given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)


def _several_objects(given: Any) -> Sequence[Any]:
    """Return a list as it is, and one object, which may be a tuple of a network and its processor, as a list."""
    names = isinstance(given, tuple) and all(isinstance(one, str | Path) for one in given)
    return given if isinstance(given, list) or names else (given,)


def _delays(given: Any) -> tuple[Any, ...]:
    return tuple(str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in _several(given))
