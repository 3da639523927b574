"""The only caller of `torch.compile`.

Modules stay as they are; `policy.model` is replaced by its compiled form. Queues, anchors and normalisation stay
outside.
"""

from typing import Literal, get_args

import torch

from act_eval.errors import UnknownName
from act_eval.policies.act.policy import ChunkingPolicy

CompileMode = Literal["auto", "off", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]


def compile_policy(policy: ChunkingPolicy, mode: str, device: str | torch.device = "cpu") -> str:
    """Compile `policy.model` in place and return the mode that was chosen.

    Args:
        policy: its model may be replaced; `reset`, `select_action` and checkpoints work as before.
        mode: `off`, a mode of `torch.compile`, or `auto` for what pays on `device`.
        device: where the model will run.

    Raises:
        UnknownName: if there is no such mode.
    """
    chosen = resolve_mode(mode, device)
    if chosen != "off":
        policy.model = torch.compile(policy.model, mode=chosen, fullgraph=True)  # pyright: ignore[reportAttributeAccessIssue]
    return chosen


def resolve_mode(mode: str, device: str | torch.device) -> str:
    """Return the mode that `mode` means on `device`: itself, or for `auto` what pays there.

    Raises:
        UnknownName: if there is no such mode.
    """
    if mode not in get_args(CompileMode):
        raise UnknownName("compile mode", mode, get_args(CompileMode))
    if mode != "auto":
        return mode
    # CUDA graphs remove the launch overhead that dominates small batches; on a CPU compiling took longer than a
    # default evaluation run gained.
    return "reduce-overhead" if torch.device(device).type == "cuda" else "off"
