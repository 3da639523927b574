"""Names of the ways to compile; torch is not imported for them."""

from typing import TYPE_CHECKING, Literal, get_args

from act_eval.errors import UnknownName

if TYPE_CHECKING:
    import torch

CompileMode = Literal["auto", "off", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]


def resolve_mode(mode: str, device: "str | torch.device") -> str:
    """Return the mode that `mode` means on `device`: itself, or for `auto` what pays there.

    Raises:
        UnknownName: if there is no such mode.
    """
    if mode not in get_args(CompileMode):
        raise UnknownName("compile mode", mode, get_args(CompileMode))
    if mode != "auto":
        return mode
    # CUDA graphs remove the launch overhead that dominates small batches. On a CPU the eager model runs near the rate
    # of its matrix products already, docs/compile.md has the numbers.
    return "reduce-overhead" if str(device).startswith("cuda") else "off"
