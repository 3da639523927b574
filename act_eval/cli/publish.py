"""`publish`: add a trained checkpoint to the shipped policies, with a page on its training and its success rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from act_eval.cli.parsing import parse
from act_eval.cli.screen import grasp_choice_lines
from act_eval.errors import CheckpointError, RunFolderError, UsageError
from act_eval.results.run import StoredRun, read_run
from act_eval.sources.network_sources import digest
from act_eval.sources.policies import SHIPPED, checkpoint_folder
from act_eval.types import SUCCESS

BEGAN_WITH = "began_with"
"""Key of the training history of the checkpoint that a training started from."""


@dataclass(frozen=True)
class Flags:
    """Copy a checkpoint in half precision to the shipped policies, or rewrite the page of a shipped policy."""

    name: tyro.conf.Positional[str]
    """Name of the shipped policy."""
    checkpoint: Path | None = None
    """`pretrained_model` folder, or the folder of a training run; if omitted, only the page is written."""
    runs: tuple[Path, ...] = ()
    """Run folders of `evaluate` on the shipped policy; the page lists their success rates."""
    replace: bool = False
    """Replace a shipped policy of this name."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and publish; return the exit code."""
    flags = parse(Flags, argv, prog)
    if not flags.name.isidentifier():
        raise UsageError(f"NAME is {flags.name!r}; it is letters, digits and underscores, as in act_rtc")
    folder = SHIPPED / flags.name
    if flags.checkpoint is not None:
        ship(flags.checkpoint, folder, flags.replace)
    write_page(folder, flags.name, flags.runs)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder}: {size:.1f} MB, digest {digest(folder)}")
    if not flags.runs:
        print(
            f"to measure it: act-eval evaluate --policy {flags.name} --episodes 200\n"
            f"to add the result to its page: act-eval publish {flags.name} --runs RUN_FOLDER"
        )
    return 0


def ship(checkpoint: Path, folder: Path, replace: bool) -> None:
    """Write a checkpoint in half precision.

    Raises:
        UsageError: if there is a policy of this name and `replace` is off.
        CheckpointError: if the checkpoint is missing or damaged, or does not fit half precision.
    """
    from act_eval.policies.checkpoint import load_pretrained, save_pretrained
    from act_eval.policies.training_state import PRETRAINED

    if folder.exists() and not replace:
        raise UsageError(f"{folder} exists; --replace overwrites it and invalidates its baselines")
    if not checkpoint.exists():
        raise UsageError(f"--checkpoint {checkpoint} does not exist")
    places = (checkpoint, checkpoint / PRETRAINED, checkpoint / "checkpoints" / "last" / PRETRAINED)
    source = next((place for place in places if (place / "config.json").is_file()), None)
    if source is None:
        raise CheckpointError(f"{checkpoint} is neither a pretrained_model folder nor the folder of a training run")
    policy, processor = load_pretrained(source)
    save_pretrained(folder, policy, processor, extra=_history(source), half=True)


def _history(checkpoint: Path) -> dict[str, Any]:
    """Return the training record of a checkpoint, with that of the checkpoint it started from."""
    from act_eval.policies.checkpoint import load_extra

    history = load_extra(checkpoint)
    if BEGAN_WITH in history:  # a shipped policy holds all of it
        return history
    first = history.get("training", {}).get("settings", {}).get("init_from")
    return history | ({BEGAN_WITH: _history(checkpoint_folder(first))} if first else {})


def write_page(folder: Path, name: str, runs: Sequence[Path]) -> None:
    """Write README.md: the training command, the data, and the rates of evaluation runs with their intervals.

    Raises:
        CheckpointError: if there is no such policy, or it has no training record.
        RunFolderError: if a run has not finished, or evaluated another policy.
    """
    from act_eval.policies.checkpoint import load_config, load_extra

    config, history = load_config(folder), load_extra(folder)
    if "training" not in history:
        raise CheckpointError(f"{folder} has no training record; it was not made by `act-eval train`")
    read = [read_run(place) for place in runs]
    measured = [line for run in read for line in _measured(run, digest(folder))]
    named = len({run.suite.env for run in read}) > 1
    grasps = [f"- {f'{run.suite.env}, ' if named else ''}{line}" for run in read for line in _grasps(run)]
    lines = [f"# {name}", "", f"A policy of type `{config.type}`, in half precision.", ""]
    if config.conditioning == "unread":
        lines += ["A control, not to be used: it declares the target's coordinates and no layer reads them.", ""]
    lines += [*_trained(history), "", "## Measured", "", *_table(measured)]
    lines += ["", "Where the policy grasps:", "", *grasps] if grasps else []
    (folder / "README.md").write_text("\n".join(lines) + "\n")


def _trained(history: dict[str, Any]) -> list[str]:
    """Describe the training of a checkpoint, after that of the checkpoint it started from."""
    training, before = history["training"], []
    head = ["It was trained by", "```", training["command"], "```"]
    if BEGAN_WITH in history:
        before = [*_trained(history[BEGAN_WITH]), ""]
        same = history[BEGAN_WITH]["training"]["command"] == training["command"]
        head = ["The next round of the same command:"] if same else ["Then it was trained further by", *head[1:]]
    data = [_data(part) for part in (training["data"] if isinstance(training["data"], list) else [training["data"]])]
    new = [line for line in data if line not in before]
    return [
        *before,
        *head,
        *new,
        *([f"- data: and {len(data) - len(new)} of those above"] if len(new) < len(data) else ()),
        f"- {_steps(training)} in {training['seconds'] / 60:.0f} min on {training['threads']} threads",
        "- " + ", ".join(f"{package} {number}" for package, number in training["versions"].items()),
    ]


def _steps(training: Mapping[str, Any]) -> str:
    """Return the steps of a checkpoint, and those of the whole training if it is not the last one."""
    planned = training.get("settings", {}).get("train", {}).get("steps", training["steps"])
    return f"{training['steps']} steps" + (f" of {planned}" if planned != training["steps"] else "")


def _grasps(run: StoredRun) -> list[str]:
    """Return the grasp line of each condition of a run."""
    return grasp_choice_lines({name: one.records for name, one in run.conditions.items()}, run.suite.kwargs)


def _data(part: Mapping[str, Any]) -> str:
    collection = part["collection"] or {}
    plan = collection.get("plan", collection)  # the record of a data set, or its plan alone
    options = [f"{key} {value}" for key, value in plan.get("options", {}).items()]
    options += [f"{name} {plan[name]}" for name in ("recovery", "fumbles") if plan.get(name)]  # 0.1.0 stored fumbles
    parts = (plan["env"], ", ".join(options), f"seed {plan['seed']}") if plan else ()
    collected = f" ({'; '.join(filter(None, parts))})" if plan else ""
    if corrected := plan.get("corrections"):
        what = f"corrections of {part['episodes']} rollouts of {corrected['policy']} in"
    else:
        what = f"{part['episodes']} demonstrations of"
    return f"- data: {what} `{part['folder']}`{collected}, {part['held_out']} more held out for the validation loss"


def _table(measured: Sequence[str]) -> list[str]:
    if not measured:
        return ["Nothing yet."]
    head = "| environment | episodes, suite | condition | success | 95 % interval | other outcomes |"
    return [head, "|---|---|---|---|---|---|", *measured]


def _measured(run: StoredRun, expected: str) -> list[str]:
    found = run.manifest.policy.get("digest")
    if found != expected:
        raise RunFolderError(f"{run.folder} evaluated another policy: digest {found}, this one has {expected}")
    rows = []
    for name, condition in run.conditions.items():
        outcomes, success = condition.outcomes, condition.rate
        interval = success.wilson()
        others = ", ".join(f"{outcomes.count(o)} {o}" for o in sorted(set(outcomes) - {SUCCESS})) or "none"
        rate = f"{success.successes}/{success.trials}" + (f" = {success.rate:.1%}" if success.trials else "")
        limits = f"{interval.low:.1%} – {interval.high:.1%}"
        suite = f"{run.suite.env} | {len(outcomes)}, suite {run.suite.hash}"
        rows.append(f"| {suite} | {name} | {rate} | {limits} | {others} |")
    return rows
