"""A network compiled ahead of time for a CPU: a library on disk, which a process loads within milliseconds.

`torch.compile` needs torch's compilers in every process and traces there again: seconds, before the first episode.
A package holds what Inductor made of one network for one batch shape, without its weights, so that checkpoints of
the same network share it. The first process that needs it builds it; others wait.
"""

import hashlib
import json
import shutil
import sys
import zipfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from act_eval.errors import CompileError
from act_eval.policies.act.model import ACT, AuxOutputs, Batch
from act_eval.results.locks import turn

_SOURCES = Path(__file__).parent


class PackagedModel(nn.Module):
    """Replaces a network of the ACT family in evaluation mode, without auxiliary outputs.

    Every call reads the network's own parameters, so changing them in place changes the chunks.
    """

    def __init__(self, plain: ACT, mode: str, folder: Path) -> None:
        """Wrap a network; the first call of each batch shape loads its package, or builds it.

        Args:
            plain: on the CPU; stays usable.
            mode: of `torch.compile`.
            folder: of the packages.
        """
        super().__init__()
        self._orig_mod = plain  # the name that torch.compile gives it
        self._mode, self._folder = mode, folder
        self._loaded: dict[tuple[Any, ...], Any] = {}
        self.calls = 0
        """Calls of the packages so far."""

    def forward(self, batch: Batch, *others: Tensor, **named: Tensor) -> tuple[Tensor, AuxOutputs]:
        """Return the chunk of the plain network.

        Raises:
            CompileError: if the package cannot be written.
            RuntimeError: or one of torch's errors, if it cannot be made.
        """
        held = [tensor for _, tensor in _held(self._orig_mod)]
        tensors = [*held, *batch.values(), *others, *named.values()]
        layout = (*map(_layout, tensors), *batch, *named, torch.is_autocast_enabled("cpu"), torch.get_num_threads())
        if layout not in self._loaded:
            self._loaded[layout] = self._load(tensors, tuple(batch), tuple(named))
        self.calls += 1
        return self._loaded[layout].boxed_run(tensors)[0], AuxOutputs()

    def _load(self, tensors: list[Tensor], keys: tuple[str, ...], names: tuple[str, ...]) -> Any:
        chunk = _Chunk(self._orig_mod, keys, names, torch.is_autocast_enabled("cpu"))
        package = self._folder / _digest(chunk, tensors, self._mode)
        try:
            package.parent.mkdir(parents=True, exist_ok=True)
            with turn(package.with_suffix(".lock")):
                runner = _kept(package)
                if runner is None:
                    runner = _make(package, chunk, tensors, self._mode)
        except OSError as error:
            raise CompileError(
                f"compiling into {self._folder}: {error}; another folder is named by $TORCHINDUCTOR_CACHE_DIR, and "
                "--compile off runs without"
            ) from error
        return runner


class _Chunk(nn.Module):
    """Tensors alone go in, weights included, and the chunk alone comes out.

    As inputs, weights are no constants: Inductor would write those of up to eight numbers into the code.
    """

    def __init__(self, network: ACT, keys: tuple[str, ...], names: tuple[str, ...], autocast: bool) -> None:
        super().__init__()
        self._network = (network,)  # in a tuple it is no part of this module, and its weights are no constants of it
        self.held = tuple(name for name, _ in _held(network))
        self.keys, self.names, self.autocast = keys, names, autocast

    @property
    def network(self) -> ACT:
        return self._network[0]

    def forward(self, *tensors: Tensor) -> Tensor:
        first, last = len(self.held), len(tensors) - len(self.names)
        held = dict(zip(self.held, tensors, strict=False))
        batch = dict(zip(self.keys, tensors[first:], strict=False))
        named = dict(zip(self.names, tensors[last:], strict=True))
        inputs = (batch, *tensors[first + len(self.keys) : last])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            return torch.func.functional_call(self.network, held, inputs, named)[0]


def _held(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [*network.named_parameters(), *network.named_buffers()]


def _kept(package: Path) -> Any | None:
    """Return the runner of a package; None where there is none, or a damaged one, which is removed."""
    if not package.exists():
        return None
    try:
        return _runner(package)
    except RuntimeError:  # torch's word for a library that is missing, or that the system cannot load
        _remove(package)
        return None


def _runner(package: Path) -> Any:
    # The loader itself, not torch's wrapper around it, which imports the compilers.
    loader = torch._C._aoti.AOTIModelPackageLoader  # pyright: ignore[reportAttributeAccessIssue]
    return loader(str(package), "model", False, 1, -1)  # torch's defaults, which not every version gives itself


def _remove(package: Path) -> None:
    if package.is_dir():
        shutil.rmtree(package)
    else:
        package.unlink()


def _make(package: Path, chunk: _Chunk, tensors: list[Tensor], mode: str) -> Any:
    """Make a package; return its runner."""
    begun = package.with_suffix(".part")
    shutil.rmtree(begun, ignore_errors=True)  # of a process that was killed
    begun.mkdir()
    options = torch._inductor.list_mode_options(mode) | {"triton.cudagraphs": False}
    with torch.inference_mode(False), torch.no_grad():
        examples = tuple(torch.empty_strided(t.shape, t.stride(), dtype=t.dtype).zero_() for t in tensors)
        graph = torch.export.export(chunk, examples, strict=False)
        archive = torch._inductor.aoti_compile_and_package(
            graph, package_path=str(begun / "package.pt2"), inductor_configs=options
        )
    # Loaded from an archive, it would be unpacked into the folder for temporary files by every process.
    with zipfile.ZipFile(archive) as file:
        file.extractall(begun)
    (begun / "package").rename(package)
    try:
        runner = _runner(package)
    except RuntimeError:  # torch 2.11 loads nothing but archives
        _remove(package)
        Path(archive).rename(package)
        runner = _runner(package)
    shutil.rmtree(begun)
    return runner


def _digest(chunk: _Chunk, tensors: list[Tensor], mode: str) -> str:
    """Return the name of all that a package depends on."""
    facts = {
        "versions": [torch.__version__, version("torchvision")],
        "processor": _processor(),
        "mode": mode,
        "threads": torch.get_num_threads(),
        "autocast": chunk.autocast,
        "config": asdict(chunk.network.config),
        "parts": [(name, type(part).__qualname__, repr(part)) for name, part in chunk.network.named_modules()],
        "inputs": [chunk.held, chunk.keys, chunk.names, *map(_layout, tensors)],
    }
    content = hashlib.sha256(json.dumps(facts, default=str).encode())
    of_parts = {sys.modules[type(part).__module__].__file__ for part in chunk.network.modules()}
    for source in sorted({*map(str, of_parts), *map(str, _SOURCES.rglob("*.py"))}):
        content.update(Path(source).read_bytes())
    return content.hexdigest()[:24]


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), str(tensor.dtype)


def _processor() -> str:
    """Return the processor's name and instructions: the library is made for them."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().partition("\n\n")[0].splitlines() if listing.is_file() else []
    return "\n".join(line for line in lines if line.startswith(("model name", "flags", "Features")))
