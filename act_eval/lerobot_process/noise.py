"""Random numbers of a batch, each row's from a generator of its own, so that a row is the same in any batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class RowNoise(TorchFunctionMode):
    """While it is active, `torch.randn`, `rand`, `normal` and their kind draw each row from that row's generator.

    Numbers whose first axis is not that of the rows, or that are drawn in another way, still come from torch's global
    generators.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        """Begin with one generator for each row."""
        super().__init__()
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        match func:
            case torch.randn | torch.rand:
                size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
                draw, like = func, {}
            case torch.randn_like | torch.rand_like:
                size, like = args[0].shape, {"dtype": args[0].dtype, "device": args[0].device}
                draw = torch.randn if func is torch.randn_like else torch.rand
            case torch.normal if "size" in kwargs:
                size, draw, like = kwargs["size"], torch.randn, {}
            case _:
                return func(*args, **kwargs)
        if not size or size[0] != len(self._generators) or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        kind = {**like, **{name: kwargs[name] for name in ("dtype", "device") if kwargs.get(name) is not None}}
        rows = [draw(*size[1:], generator=one, dtype=kind.get("dtype")) for one in self._generators]
        drawn = torch.stack(rows).to(kind.get("device"))
        return drawn * kwargs.get("std", 1.0) + kwargs.get("mean", 0.0) if func is torch.normal else drawn
