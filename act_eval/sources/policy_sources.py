"""Where a policy comes from: a checkpoint, a user's module, a server. Picklable; loaded in the worker that asks it.

Everything heavy is imported when a policy is loaded. What a run's plan must know of it travels as `PolicyFacts`.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from act_eval.errors import ActEvalError, UsageError
from act_eval.policies.compile_mode import resolve_mode
from act_eval.policies.serving import TOKEN
from act_eval.sources.factories import import_foreign, load_factory, raised
from act_eval.types import ChunkPolicy, PolicySpec

if TYPE_CHECKING:
    from act_eval.policies.serving.address import Address
    from act_eval.policies.serving.client import RemotePolicy
    from act_eval.policies.serving.openpi import OpenpiPolicy


@dataclass(frozen=True, kw_only=True)
class PolicyFacts:
    """What a policy says of itself, and how it is run."""

    spec: PolicySpec
    identity: Mapping[str, Any]
    """What it is, for a manifest (JSON values): equal identity, equal policy."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """How its network runs, for a run's configuration."""
    numeric: Mapping[str, str] = field(default_factory=dict)
    """What its numbers may depend on, for a run's fingerprint."""


class PolicySource(Protocol):
    """Where a policy comes from."""

    def load(self, ready: bool = True) -> ChunkPolicy:
        """Load the policy into this process.

        Args:
            ready: False where it is looked at and not run, so that nothing needs compiling.
        """
        ...

    def facts(self, policy: ChunkPolicy) -> PolicyFacts:
        """Return what is to be known of the policy that `load` gave."""
        ...


@dataclass(frozen=True, kw_only=True)
class CheckpointSource:
    """A policy by its checkpoint folder, and how it is run."""

    folder: Path
    device: str = "cpu"
    """A torch device, or `auto`: CUDA where there is one."""
    compile: str = "off"
    """Mode for `act_eval.policies.compile`."""
    precision: Literal["float32", "bf16"] = "float32"
    """Of the network's products."""
    rows_per_call: int = 8
    """Rows of every network call, filled up where fewer are due."""
    threads: int = 1
    """Threads of each process for the network's arithmetic."""

    def load(self, ready: bool = True) -> ChunkPolicy:
        """Load the policy into this process."""
        import torch

        from act_eval.policies.checkpoint import load_pretrained
        from act_eval.policies.serve import TorchChunkPolicy

        torch.set_num_threads(self.threads)
        device = resolve_device(self.device)
        policy, processor = load_pretrained(self.folder, device)
        served = TorchChunkPolicy(policy, processor, device, self.rows_per_call, self.precision)
        if ready:
            served.compile(self.compile)
        return served

    def facts(self, policy: ChunkPolicy) -> PolicyFacts:
        """Return how the network runs, with what `auto` means here, and the instruction set and GPU that it uses."""
        import torch

        from act_eval.policies.compile import Compiled
        from act_eval.sources.policies import digest

        device = resolve_device(self.device)
        compiled: Compiled = getattr(policy, "compiled", None) or Compiled(resolve_mode(self.compile, device))
        failure = {} if compiled.failure is None else {"compile_failure": compiled.failure}
        on_gpu = torch.device(device).type == "cuda"
        gpu = {"gpu": torch.cuda.get_device_name(torch.device(device))} if on_gpu else {}
        return PolicyFacts(
            spec=policy.spec,
            identity={"digest": digest(self.folder)},
            run={
                "device": device,
                "precision": self.precision,
                "compile": compiled.mode,
                "rows_per_call": self.rows_per_call,
                **failure,
            },
            numeric={"cpu_capability": torch.backends.cpu.get_cpu_capability(), **gpu},
        )


@dataclass(frozen=True, kw_only=True)
class FactorySource:
    """A policy that a user's `module:factory` makes."""

    target: str
    options: Mapping[str, Any]
    """Keyword arguments of the factory (JSON values)."""
    threads: int = 1

    def load(self, ready: bool = True) -> ChunkPolicy:
        """Call the factory.

        Raises:
            UsageError: if it cannot be found, raises, or makes no policy.
        """
        from act_eval.policies.simple import chunk_policy

        factory = load_factory(self.target, "--policy")
        policy = chunk_policy(lambda: self._made(factory), self.target)
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(self.threads)
        return policy

    def facts(self, policy: ChunkPolicy) -> PolicyFacts:
        """Return its interface, and a digest of module, options and the files that these name."""
        version = getattr(policy, "version", None)
        said = {} if version is None else {"version": str(version)}
        return PolicyFacts(spec=policy.spec, identity={"digest": self._digest(), "factory": self.target, **said})

    def _made(self, factory: Any) -> Any:
        try:
            return factory(**self.options)
        except ActEvalError:
            raise
        except Exception as error:  # somebody else's code may raise anything, and this is before the first episode
            given = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
            raise UsageError(f"--policy {self.target}: calling it with ({given}) raised {raised(error)}") from error

    def _digest(self) -> str:
        content = hashlib.sha256(json.dumps([self.target, dict(self.options)], sort_keys=True).encode())
        source = import_foreign(self.target.partition(":")[0], f"--policy {self.target}").__file__
        named = [value for _, value in sorted(self.options.items()) if isinstance(value, str)]
        for path in (*([] if source is None else [source]), *named):
            if os.path.isfile(path):
                content.update(hashlib.sha256(Path(path).read_bytes()).digest())
        return content.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class ServerSource:
    """A policy behind a WebSocket."""

    url: str
    options: Mapping[str, Any]
    """What an openpi server does not say of itself, and how long it is waited for."""

    def load(self, ready: bool = True) -> "RemotePolicy | OpenpiPolicy":
        """Connect.

        Raises:
            UsageError: if the address is malformed, the token is wrong, or the extra `serve` is not installed.
            RemoteError: if no server answers, or it speaks another protocol.
        """
        need_serving()
        from act_eval.policies.serving.client import RemotePolicy
        from act_eval.policies.serving.openpi import OpenpiPolicy

        address = self.address()
        return RemotePolicy(address.endpoint) if address.openpi is None else OpenpiPolicy(address)

    def address(self) -> "Address":
        """Return what the address and its options mean.

        Raises:
            UsageError: if they are malformed.
        """
        from act_eval.policies.serving.address import parse_address

        return parse_address(self.url, self.options, os.environ.get(TOKEN) or None)

    def facts(self, policy: ChunkPolicy) -> PolicyFacts:
        """Return what the server said when it was connected to."""
        from act_eval.policies.serving.client import RemotePolicy
        from act_eval.policies.serving.openpi import OpenpiPolicy

        if isinstance(policy, RemotePolicy):
            about = policy.handshake
            return PolicyFacts(spec=about.spec, identity=about.identity, run=about.run, numeric=about.numeric)
        assert isinstance(policy, OpenpiPolicy)
        return PolicyFacts(spec=policy.spec, identity={**policy.identity, "served": "openpi"})


def need_serving() -> None:
    """Refuse to speak with servers where the packages for it are missing.

    Raises:
        UsageError: naming them.
    """
    try:
        import msgpack  # noqa: F401
        import websockets  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(f"policy servers need {error.name!r}: pip install 'act_eval[serve]'") from error


def check_network(compile_mode: str, device: str) -> None:
    """Refuse what torch does not know, before anything is loaded.

    Raises:
        UsageError: naming the device or the compile mode, and what there is.
    """
    if device not in ("auto", "cpu"):
        resolve_device(device)
    resolve_mode(compile_mode, "cpu")


def resolve_device(name: str) -> str:
    """Return the torch device that `name` means here.

    Raises:
        UsageError: if torch does not know or cannot reach it.
    """
    import torch

    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:  # torch's words for a name it does not know or cannot reach
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return chosen
