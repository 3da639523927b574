"""Files of a checkpoint: safetensors that may be damaged, too large or somebody else's, and JSON."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from act_eval.errors import CheckpointError


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor, from the file's header alone.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors as float32, whatever type of number they are stored in.

    Raises:
        CheckpointError: if the file is missing or damaged, or a tensor does not hold real numbers.
    """
    with _opened(path) as file:
        found: dict[str, Tensor] = {}
        for name in file.keys():  # noqa: SIM118 - no mapping
            tensor = file.get_tensor(name)
            if tensor.is_complex() or "float4" in str(tensor.dtype):
                raise CheckpointError(f"{path}: tensor {name!r} is of type {tensor.dtype}; it must hold real numbers")
            found[name] = tensor.float()
        return found


def check_weights(where: Path | str, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that no network can compute with.

    Raises:
        CheckpointError: naming the place, the tensor and the index of the first such number.
    """
    for name, tensor in weights.items():
        bad = ~tensor.isfinite()
        allowed = "weights must be finite"
        if name.endswith("running_var"):
            bad |= tensor < 0
            allowed = "a variance must be finite and at least 0"
        if bad.any():
            raise CheckpointError(f"{where}: tensor {name!r} is {first_at(tensor, bad)}; {allowed}")


def first_at(tensor: Tensor, bad: Tensor) -> str:
    """Return the first marked number of a tensor with its index, as in `nan at index [0, 3]`."""
    index = bad.nonzero()[0].tolist()
    return f"{tensor[tuple(index)].item():g} at index {index}"


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    if not path.is_file():
        raise CheckpointError(f"checkpoint file {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors of any device and layout."""
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path, metadata=metadata)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
