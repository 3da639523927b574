"""What the study of mode collapse trains: its cells, what each asks, and the commands that answer it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from act_eval.errors import UnknownName, UsageError

Positions = Literal["continuous", "one", "two"]
Stage = Literal["collect", "train", "probe", "present", "absent", "exchanged", "novel"]

STATE = "cell.json"
"""In a cell's folder: its finished stages."""
BASELINE = "continuous_present"
"""The cell that those of the second question are compared with: clean data, coordinates connected."""
SEEDS = 5
"""Trainings of what is said of a method."""
LADDER = (10, 25, 50, 100, 200)
"""Demonstrations; with 50 the plain token already succeeds."""
_NETWORK = (
    *("--model.dim-model", "128", "--model.dim-feedforward", "256", "--model.n-encoder-layers", "2"),
    *("--model.n-decoder-layers", "1", "--model.backbone-widths", "16", "32", "64"),
)
_NOT_NORMALISED = ("--model.normalization-mapping.ENV", "IDENTITY")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What all cells share, so that they can be compared."""

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
    mislabelled: float = 0.0
    """Share of the demonstrations whose coordinates name the confuser."""

    @property
    def name(self) -> str:
        """Its folder."""
        labels = f"_mislabelled{self.mislabelled:g}" if self.mislabelled else ""
        return f"{self.positions}_{'present' if self.confusers else 'absent'}{labels}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training, and what it is asked afterwards."""

    name: str
    question: Literal[1, 2, 3]
    """Of issue and page: where collapse comes from, what cutting the coordinates does, what helps."""
    data: Data
    demonstrations: int | None = None
    """Demonstrations trained on, held-out ones included; all of the data set's if None."""
    model: tuple[str, ...] = ()
    """Flags of the training that make the cell what it is."""
    seed: int = 0
    """Of the training."""
    against: str | None = None
    """The cell that it is compared with, in the planned comparisons."""
    claim: bool = False
    """Whether it is one of those that run first."""

    @property
    def method(self) -> str:
        """Its name without the seed: what trainings that differ in nothing else share."""
        return self.name.removesuffix(f"_seed{self.seed}")

    @property
    def conditions(self) -> tuple[Stage, ...]:
        """Scenes that it is evaluated in."""
        known: tuple[Stage, ...] = ("present", "absent", "exchanged")
        return known if self.data.positions == "continuous" else (*known, "novel")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What is done, in its order."""
        return ("collect", "train", "probe", *self.conditions)


def cells() -> dict[str, Cell]:
    """Return all cells by name, those that carry claims first."""
    found = [*_first_question(), *_second_question(), *_ladder()]
    found.sort(key=lambda cell: not cell.claim)
    return {cell.name: cell for cell in found}


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


def _first_question() -> list[Cell]:
    return [
        Cell(
            name=f"{positions}_{'present' if confusers else 'absent'}",
            question=1,
            data=Data(positions=positions, confusers=confusers),
            against=f"{positions}_absent" if confusers else None,
            claim=True,
        )
        for positions in ("continuous", "two", "one")
        for confusers in (1, 0)
    ]


def _second_question() -> list[Cell]:
    """Return each damage with five training seeds, and as many undamaged trainings to compare them with."""
    clean = Data()
    ways = {
        "cut": (clean, ("--model.conditioning", "unread")),
        "not_normalised": (clean, _NOT_NORMALISED),
        "mislabelled": (Data(mislabelled=0.2), ()),
    }
    found = [
        Cell(
            name=_seeded(name, seed),
            question=2,
            data=data,
            model=model,
            seed=seed,
            against=_seeded(BASELINE, seed),
            claim=seed == 0,
        )
        for seed in range(SEEDS)
        for name, (data, model) in ways.items()
    ]
    return found + [Cell(name=_seeded(BASELINE, seed), question=2, data=clean, seed=seed) for seed in range(1, SEEDS)]


def _ladder() -> list[Cell]:
    """Return a ladder of demonstrations for every variant, with five training seeds on its lowest rung."""
    first = {"token", "film", "strong"}
    return [
        Cell(
            name=_seeded(f"{variant}_{count}", seed),
            question=3,
            data=Data(),
            demonstrations=count,
            model=("--model.conditioning", variant),
            seed=seed,
            against=None if variant == "token" else _seeded(f"token_{count}", seed),
            claim=count == 50 and variant in first and seed == 0,
        )
        for count in LADDER
        for seed in (range(SEEDS) if count == LADDER[0] else (0,))
        for variant in ("token", "film", "strong", "auxiliary", "contrastive", "crop")
    ]


def _seeded(name: str, seed: int) -> str:
    return f"{name}_seed{seed}" if seed else name


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
            *(
                "collect",
                "--env",
                "confuser_pick",
                "--episodes",
                str(budget.demonstrations),
                "--workers",
                "1",
            ),
            *("--positions", cell.data.positions, "--confusers", str(cell.data.confusers), *size),
            *(("--mislabelled", str(cell.data.mislabelled)) if cell.data.mislabelled else ()),
            *("--out", str(data)),
        ],
        "train": [
            *("train", "--policy", "act", "--env", "confuser_pick", "--dataset", str(data)),
            *(
                "--episodes",
                str(cell.demonstrations or budget.demonstrations),
                "--steps",
                str(budget.steps),
                "--seed",
                str(cell.seed),
            ),
            *("--validate-every", str(budget.steps), "--evaluate-every", "0", "--keep", "1", "--threads", "1"),
            *(*_NETWORK, *cell.model, "--out", str(own / "train")),
        ],
        "probe": [
            *("probe", "--policy", str(checkpoint), "--env", "confuser_pick", "--short", *size),
            *("--json", str(own / "probe.json")),
        ],
    }
    for condition in cell.conditions:
        found[condition] = [
            *("evaluate", "--policy", str(checkpoint), "--env", "confuser_pick", "--delay", "0", *size),
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
