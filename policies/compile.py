"""The only caller of `torch.compile`.

Modules stay as they are; `policy.model` is replaced by its compiled form. Queues, anchors and normalisation stay
outside, as do the random numbers of the latent and of perturbed prefixes.

Compiled code is stored in a folder on disk, so that the next process with the same network starts within seconds.
Served on a CPU, a network is compiled ahead of time (`act_eval.policies.aot`), and torch's compilers are not even
imported from the second process on: that takes as long as importing the rest of torch.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from act_eval.errors import CompileError, UsageError
from act_eval.policies.act.model import ACT
from act_eval.policies.act.policy import ChunkingPolicy
from act_eval.policies.aot import PackagedModel
from act_eval.policies.compile_mode import resolve_mode
from act_eval.results.machine import user_cache

_KEPT = frozenset(
    ("native_layer_norm", "native_layer_norm_backward", "_softmax", "_softmax_backward_data", "threshold_backward")
)
_KEEPS_KERNELS = torch.__version__ >= "2.14"
"""Whether Inductor leaves operators to PyTorch if their decompositions are taken from it: not in 2.11."""
_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_TORCHS_OWN = "torchinductor_"
"""Prefix of the folder that torch itself sets the variable to."""


@dataclass(frozen=True)
class Compiled:
    """Result of a request to compile."""

    mode: str
    """The mode that runs; `off` for eager."""
    seconds: float = 0.0
    """Duration of compiling, first call included [s]."""
    failure: str | None = None
    """Why `auto` fell back to eager."""


def compiled_module(module: nn.Module, mode: str, same_numbers: bool = False) -> nn.Module:
    """Return a module compiled as one graph; nothing happens before its first call.

    Args:
        module: plain, on the device where it will run.
        mode: a mode of `torch.compile`.
        same_numbers: draw dropout masks as eager code does and round as it does, so that both give the same loss
            and gradients from the same seed. Otherwise Inductor draws and rounds its own way.
    """
    return torch.compile(module, **_compiling(module, mode, same_numbers))  # pyright: ignore[reportReturnType]


def compile_for_training(policy: ChunkingPolicy, mode: str, device: str | torch.device, autocast: bool) -> str:
    """Compile what `policy.model` does when called, as one graph, and return the mode that was chosen.

    The module itself stays, and with it the names of its parameters; a CPU gets the numbers of eager code.

    Args:
        policy: in training.
        mode: `off`, a mode of `torch.compile`, or `auto` for the best on `device`.
        device: where it is trained.
        autocast: whether it is called under autocast to bfloat16.

    Raises:
        UnknownName: if there is no such mode.
        UsageError: if `device` is a CPU under autocast.
    """
    chosen = resolve_mode(mode, device)
    on_cpu = torch.device(device).type == "cpu"
    if chosen != "off" and on_cpu and autocast:
        raise UsageError(
            f"--compile {mode} and --precision bf16 do not go together on a CPU: the C++ that torch writes for a "
            "training step of mixed types does not compile; take --precision fp32 or --compile off"
        )
    if chosen != "off":
        policy.model.compile(**_compiling(policy.model, chosen, same_numbers=on_cpu))
    return chosen


@contextmanager
def naming_compile_failures(mode: str) -> Iterator[None]:
    """Turn a failure to compile into a `CompileError`."""
    try:
        yield
    except _dynamo_failure() as error:
        raise CompileError(
            f"torch.compile (mode {mode!r}) failed: {_first_line(error)}; --compile off trains without it"
        ) from error


def _compiling(module: nn.Module, mode: str, same_numbers: bool) -> dict[str, Any]:
    """Return the arguments of `torch.compile`."""
    _keep_artefacts()
    options = torch._inductor.list_mode_options(mode) | ({"fallback_random": True} if same_numbers else {})
    on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
    own = same_numbers and on_cpu and _KEEPS_KERNELS
    how = {"backend": _inductor_on_cpu(options)} if own else {"options": options}
    return {**how, "fullgraph": True}


def _inductor_on_cpu(options: dict[str, Any]) -> Callable[..., Any]:
    """Return Inductor with PyTorch's own kernels for norms, softmax and the way back through a ReLU.

    Those that Inductor writes for a CPU round otherwise, so that a ReLU's input near zero now and then falls on the
    other side of it, which moves single gradients by 1e-3; and they keep masks as bytes, which takes a training step
    15 % longer than without (both on LeRobot's default network; docs/compile.md). Not for autocast: PyTorch's
    description of its norm is wrong for mixed types.
    """
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.decomposition import select_decomp_table

    def compile_graph(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        with config.patch(options):
            table = select_decomp_table()
        others = {op: how for op, how in table.items() if op.name().partition("::")[2].partition(".")[0] not in _KEPT}
        # Without a tag, artefacts of the same graph that Inductor took apart as it likes would be found in the cache.
        with torch.compiler.config.patch(  # pyright: ignore[reportAttributeAccessIssue]
            cache_key_tag=",".join(sorted(_KEPT))
        ):
            return compile_fx(graph, inputs, config_patches=options, decompositions=others)

    return compile_graph


def compile_ready(
    policy: ChunkingPolicy, mode: str, device: str | torch.device, first_call: Callable[[], object]
) -> Compiled:
    """Compile `policy.model` in place and make its first call, so that later calls neither compile nor fail.

    Args:
        policy: its model may be replaced.
        mode: `off`, a mode of `torch.compile`, or `auto` for the best on `device`; only under `auto` a failure leaves
            the plain model in place.
        device: where the model will run.
        first_call: calls the policy as later calls do: same shapes, same modes of torch.

    Raises:
        UnknownName: if there is no such mode.
        CompileError: if compiling fails, naming the part of the model; not under `auto`.
    """
    plain = getattr(policy.model, "_orig_mod", policy.model)
    chosen = resolve_mode(mode, device)
    if chosen == "off":
        return Compiled("off")
    if torch.device(device).type == "cpu":
        _keep_artefacts()
        policy.model = PackagedModel(cast(ACT, plain), chosen, artefact_folder() / "packages")
    else:  # packages hold no CUDA graphs
        policy.model = compiled_module(plain, chosen)
    began = time.monotonic()
    try:
        first_call()
    except RuntimeError as error:  # every failure of torch's compilers is one
        policy.model = plain
        part = failing_part(plain, chosen, first_call)
        text = f"torch.compile (mode {chosen!r}) failed in {part}: {_first_line(error)}"
        if mode == "auto":
            return Compiled("off", time.monotonic() - began, text)
        raise CompileError(f"{text}; --compile off runs without it") from error
    return Compiled(chosen, time.monotonic() - began)


def failing_part(model: nn.Module, mode: str, call: Callable[[], object]) -> str:
    """Return the name of the first part of a plain model that cannot be compiled by itself.

    Args:
        model: in the policy that `call` uses.
        mode: of `torch.compile`.
        call: calls the policy.
    """
    # Becoming one graph takes milliseconds and is what fails most often; generating code comes after it.
    as_graph = partial(torch.compile, backend="eager", fullgraph=True)
    for compile_part in (as_graph, partial(compiled_module, mode=mode)):
        for name, part in model.named_children():
            setattr(model, name, compile_part(part))
            try:
                call()
            except _dynamo_failure():
                return f"model.{name} ({type(part).__name__})"
            finally:
                setattr(model, name, part)
    return f"model ({type(model).__name__}), in no part of it alone"


def artefact_folder() -> Path:
    """Return the folder of compiled artefacts: $TORCHINDUCTOR_CACHE_DIR, or a folder below the user's cache."""
    given = Path(os.environ.get(_CACHE_VARIABLE) or _TORCHS_OWN)
    if not given.name.startswith(_TORCHS_OWN):
        return given
    return user_cache() / "compiled"


def _keep_artefacts() -> None:
    # Inductor's default is in the folder for temporary files, which a restart clears.
    os.environ[_CACHE_VARIABLE] = str(artefact_folder())


def _dynamo_failure() -> type[Exception]:
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
