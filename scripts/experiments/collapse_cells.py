"""The cells of the study of mode collapse, read from mode_collapse.toml, and the commands of each."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

from act_eval.errors import UnknownName, UsageError

Positions = Literal["continuous", "one", "two"]
Stage = Literal["collect", "train", "probe", "present", "absent", "exchanged", "novel"]

BASELINE = "continuous_present"
"""The cell that those of the second question are compared with: clean data, goal input connected."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Budget that all cells share."""

    steps: int = 2000
    """Optimiser steps of every training."""
    episodes: int = 200
    """Episodes with the confuser present, on which cells are compared."""
    other_episodes: int = 50
    """Episodes in each other scene."""
    demonstrations: int = 200
    """Of every data set; the ladder trains on a part of one."""
    image_size: int = 64
    """Height and width of the cameras' images [px]."""

    def __post_init__(self) -> None:
        for name in ("steps", "episodes", "other_episodes", "demonstrations", "image_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set of scripted demonstrations."""

    positions: Positions = "continuous"
    """Where the target starts, see `PickOptions`."""
    confusers: int = 1
    """Blocks beside the target."""
    label_noise: float = 0.0
    """Share of the demonstrations whose goal input is that of the confuser."""

    @property
    def name(self) -> str:
        """Its folder."""
        labels = f"_label_noise{self.label_noise:g}" if self.label_noise else ""
        return f"{self.positions}_{'present' if self.confusers else 'absent'}{labels}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training with its probe and evaluations."""

    name: str
    question: Literal[1, 2, 3]
    """1: does clean data cause collapse; 2: which damage to the goal input does; 3: which variant helps."""
    data: Data
    demonstrations: int | None = None
    """Demonstrations trained on, held-out ones included; all of the data set's if None."""
    model: tuple[str, ...] = ()
    """Training flags of the cell."""
    seed: int = 0
    """Of the training."""
    against: str | None = None
    """The cell of the planned comparison."""
    claim: bool = False
    """Whether it runs first."""

    @property
    def method(self) -> str:
        """Its name without the seed."""
        return self.name.removesuffix(f"_seed{self.seed}")

    @property
    def conditions(self) -> tuple[Stage, ...]:
        """Scenes of its evaluations."""
        known: tuple[Stage, ...] = ("present", "absent", "exchanged")
        return known if self.data.positions == "continuous" else (*known, "novel")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Its stages in order."""
        return ("collect", "train", "probe", *self.conditions)


@cache
def config() -> dict[str, Any]:
    """Return mode_collapse.toml as it is written."""
    return tomllib.loads(Path(__file__).with_name("mode_collapse.toml").read_text(encoding="utf-8"))


@cache
def cells() -> dict[str, Cell]:
    """Return all cells by name, those that carry claims first."""
    found = {cell.name: cell for table in config()["cells"] for cell in _expanded(table)}
    claims = config()["claims"]
    return {name: found[name] for name in claims} | {name: cell for name, cell in found.items() if name not in claims}


def chosen(names: tuple[str, ...]) -> list[Cell]:
    """Return the cells of these names; `claim` means those that run first, `all` every one.

    Raises:
        UnknownName: listing the cells that exist.
    """
    known = cells()
    picked: dict[str, Cell] = {}
    for name in names:
        if name not in known and name not in ("claim", "all"):
            raise UnknownName("cell", name, ["all", "claim", *known])
        picked |= {k: c for k, c in known.items() if k == name or name == "all" or (name == "claim" and c.claim)}
    return list(picked.values())


def _expanded(table: Mapping[str, Any]) -> Iterator[Cell]:
    """Yield the cells of a table of mode_collapse.toml: one per variant, number of demonstrations and seed."""
    lists = (table.get("seeds", [0]), table.get("demonstrations", [None]), table.get("variants", [""]))
    for seed, demonstrations, variant in product(*lists):
        suffix = f"_seed{seed}" if seed else ""
        values = {"variant": variant, "demonstrations": demonstrations}
        name, against = (table.get(key, "").format_map(values) for key in ("name", "against"))
        yield Cell(
            name=name + suffix,
            question=table["question"],
            data=Data(**table.get("data", {})),
            demonstrations=demonstrations,
            model=tuple(word.format_map(values) for word in table.get("model", ())),
            seed=seed,
            against=against + suffix if against not in ("", name) else None,
            claim=name + suffix in config()["claims"],
        )


def commands(cell: Cell, budget: Budget, folder: Path) -> dict[Stage, list[str]]:
    """Return the arguments of `act-eval` for each stage.

    Args:
        cell: which one.
        budget: what all cells share.
        folder: of the study.
    """
    data, own = folder / "data" / cell.data.name, folder / cell.name
    checkpoint = own / "train" / "checkpoints" / "last" / "pretrained_model"
    size = ("--image-size", str(budget.image_size))
    found: dict[Stage, list[str]] = {
        "collect": [
            *("collect", "--env", "confuser_pick-v0", "--episodes", str(budget.demonstrations), "--workers", "1"),
            *("--positions", cell.data.positions, "--confusers", str(cell.data.confusers), *size),
            *(("--label-noise", str(cell.data.label_noise)) if cell.data.label_noise else ()),
            *("--out", str(data)),
        ],
        "train": [
            *("train", "--policy", "act", "--env", "confuser_pick-v0", "--dataset", str(data)),
            *("--episodes", str(cell.demonstrations or budget.demonstrations)),
            *("--steps", str(budget.steps), "--seed", str(cell.seed)),
            *("--validate-every", str(budget.steps), "--evaluate-every", "0", "--keep", "1", "--threads", "1"),
            *(*config()["network"], *cell.model, "--out", str(own / "train")),
        ],
        "probe": [
            *("probe", "--policy", str(checkpoint), "--env", "confuser_pick-v0", "--short", *size),
            *("--json", str(own / "probe.json")),
        ],
    }
    for condition in cell.conditions:
        found[condition] = [
            *("evaluate", "--policy", str(checkpoint), "--env", "confuser_pick-v0", "--delay", "0", *size),
            *("--episodes", str(budget.episodes if condition == "present" else budget.other_episodes)),
            *("--video", "none", "--no-probe", "--workers", "1", *_scene(cell, condition)),
            *("--out", str(own / condition)),
        ]
    return found


def _scene(cell: Cell, condition: Stage) -> tuple[str, ...]:
    positions = cell.data.positions
    place = () if positions == "continuous" or condition == "novel" else ("--env-options", f"positions={positions}")
    extra: Mapping[Stage, tuple[str, ...]] = {"absent": ("--confusers", "0"), "exchanged": ("--swap-blocks",)}
    return (*extra.get(condition, ()), *place)
