"""`publish`: make a trained checkpoint a shipped policy, with a page that says how it was made and what it reaches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from act_eval.cli.parsing import parse
from act_eval.cli.screen import grasp_choice_lines
from act_eval.errors import CheckpointError, RunFolderError, UsageError
from act_eval.results import Manifest
from act_eval.results.records import read_episodes
from act_eval.sources.policies import SHIPPED, checkpoint_folder
from act_eval.sources.policy_sources import digest
from act_eval.stats import SuccessRate
from act_eval.types import SUCCESS

BEGAN_WITH = "began_with"
"""Key of the story of the checkpoint whose weights a training began with."""


@dataclass(frozen=True)
class Flags:
    """Copy a checkpoint in half precision to the shipped policies, or write a shipped one's page anew."""

    name: tyro.conf.Positional[str]
    """Name of the shipped policy."""
    checkpoint: Path | None = None
    """`pretrained_model` folder, or the folder of a training run; without it only the page is written."""
    runs: tuple[Path, ...] = ()
    """Run folders of `evaluate` on the shipped policy; their success rates go on the page."""
    replace: bool = False
    """Whether a shipped policy of this name may be replaced."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and publish; return the exit code."""
    flags = parse(Flags, argv, prog)
    folder = SHIPPED / flags.name
    if flags.checkpoint is not None:
        ship(flags.checkpoint, folder, flags.replace)
    write_page(folder, flags.name, flags.runs)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder}: {size:.1f} MB, digest {digest(folder)}")
    if not flags.runs:
        print(
            f"measure it: act-eval evaluate --policy {flags.name} --episodes 200\n"
            f"and put the result on its page: act-eval publish {flags.name} --runs RUN_FOLDER"
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
        raise UsageError(f"{folder} exists; --replace writes over it, and voids the baselines that were made with it")
    places = (checkpoint, checkpoint / PRETRAINED, checkpoint / "checkpoints" / "last" / PRETRAINED)
    source = next((place for place in places if (place / "config.json").is_file()), None)
    if source is None:
        raise CheckpointError(f"{checkpoint} is neither a pretrained_model folder nor the folder of a training run")
    policy, processor = load_pretrained(source)
    save_pretrained(folder, policy, processor, extra=_story(source), half=True)


def _story(checkpoint: Path) -> dict[str, Any]:
    """Return how a checkpoint was trained, and before it the one that it began with."""
    from act_eval.policies.checkpoint import load_extra

    story = load_extra(checkpoint)
    first = story.get("training", {}).get("settings", {}).get("init_from")
    return story | ({BEGAN_WITH: _story(checkpoint_folder(first))} if first else {})


def write_page(folder: Path, name: str, runs: Sequence[Path]) -> None:
    """Write README.md: the training command, the data, and the rates of evaluation runs with their intervals.

    Raises:
        CheckpointError: if there is no such policy, or it does not say how it was trained.
        RunFolderError: if a run has not finished, or evaluated another policy.
    """
    from act_eval.policies.checkpoint import load_config, load_extra

    config, story = load_config(folder), load_extra(folder)
    if "training" not in story:
        raise CheckpointError(f"{folder} does not say how it was trained; it was not made by `act-eval train`")
    measured = [line for place in runs for line in _measured(place, digest(folder))]
    closings = [f"- {line}" for place in runs for line in _closings(place)]
    lines = [f"# {name}", "", f"A policy of type `{config.type}`, in half precision.", ""]
    if config.conditioning == "unread":
        lines += ["A control, not to be used: it declares the target's coordinates and no layer reads them.", ""]
    lines += [*_made(story), "", "## Measured", "", *_table(measured)]
    lines += ["", "Where it closes between two blocks:", "", *closings] if closings else []
    (folder / "README.md").write_text("\n".join(lines) + "\n")


def _made(story: dict[str, Any]) -> list[str]:
    """Say how a checkpoint was trained, the one that it began with first."""
    before = (
        [*_made(story[BEGAN_WITH]), "", "It went on from there by"] if BEGAN_WITH in story else ["It was trained by"]
    )
    training = story["training"]
    data = training["data"]
    return [
        *before,
        "```",
        training["command"],
        "```",
        *(_data(part) for part in (data if isinstance(data, list) else [data])),
        f"- {_steps(training)} in {training['seconds'] / 60:.0f} min on {training['threads']} threads",
        "- " + ", ".join(f"{package} {number}" for package, number in training["versions"].items()),
    ]


def _steps(training: Mapping[str, Any]) -> str:
    """Return the steps of a checkpoint, and of the whole run where it is not its last one."""
    planned = training.get("settings", {}).get("train", {}).get("steps", training["steps"])
    return f"{training['steps']} steps" + (f" of {planned}" if planned != training["steps"] else "")


def _closings(place: Path) -> list[str]:
    """Return a line per condition of a run on where it closed."""
    manifest = Manifest.read(place)
    results = {condition: read_episodes(place / condition / "episodes.jsonl") for condition in manifest.conditions}
    return grasp_choice_lines(results, manifest.suite.kwargs)


def _data(part: Mapping[str, Any]) -> str:
    collection = part["collection"] or {}
    plan = collection.get("plan", collection)  # a data set's whole record, or the plan alone
    options = ", ".join(f"{key} {value}" for key, value in plan.get("options", {}).items())
    for name in ("recovery", "fumbles"):  # act_eval 0.1.0 stored fumbles
        options += f", {name} {plan[name]}" if plan.get(name) else ""
    collected = f" ({plan['env']}; {options}; seed {plan['seed']})" if plan else ""
    return (
        f"- data: {part['episodes']} demonstrations of `{part['folder']}`{collected}, "
        f"{part['held_out']} more held out for the validation loss"
    )


def _table(measured: Sequence[str]) -> list[str]:
    if not measured:
        return ["Nothing yet."]
    head = "| environment | episodes, suite | condition | success | 95 % interval | other outcomes |"
    return [head, "|---|---|---|---|---|---|", *measured]


def _measured(place: Path, wanted: str) -> list[str]:
    manifest = Manifest.read(place)
    found = manifest.configuration["policy"].get("digest")
    if found != wanted:
        raise RunFolderError(f"{place} evaluated another policy: digest {found}, this one has {wanted}")
    rows = []
    for condition in manifest.conditions:
        outcomes = [record.outcome for record in read_episodes(place / condition / "episodes.jsonl")]
        success = SuccessRate.of_outcomes(outcomes)
        interval = success.wilson()
        others = ", ".join(f"{outcomes.count(o)} {o}" for o in sorted(set(outcomes) - {SUCCESS})) or "none"
        rate = f"{success.successes}/{success.trials}" + (f" = {success.rate:.1%}" if success.trials else "")
        limits = f"{interval.low:.1%} – {interval.high:.1%}"
        suite = manifest.suite
        rows.append(
            f"| {suite.env} | {len(outcomes)}, suite {suite.hash} | {condition} | {rate} | {limits} | {others} |"
        )
    return rows
