"""What a policy's source is; networks of act_eval's own, by checkpoint folder or as objects.

Everything heavy is imported when a policy is loaded. What a run's plan must know of it travels as `PolicyFacts`.
"""

import hashlib
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from act_eval.errors import UsageError
from act_eval.policies.compile_mode import resolve_mode
from act_eval.sources.digests import digest_of, try_digest, unknown_digest
from act_eval.sources.factories import names_factory, object_label
from act_eval.types import ChunkPolicy, PolicySpec

if TYPE_CHECKING:
    from act_eval.policies.checkpoint import Policy
    from act_eval.policies.normalize import Processor

SERVER = re.compile(r"wss?://", re.IGNORECASE)


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
    remarks: tuple[str, ...] = ()
    """Lines for the screen."""
    trained_hz: tuple[float, ...] = ()
    """Frame rates of its training data [Hz], where they are known."""


class PolicySource(Protocol):
    """Where a policy comes from."""

    @property
    def label(self) -> str:
        """A short name, fit for a file name."""
        ...

    @property
    def local_only(self) -> str | None:
        """Why the policy can only run in this process; None if workers can load it."""
        ...

    @property
    def identity(self) -> str:
        """A text that differs between different policies, as far as that is known before loading."""
        ...

    def load(self, ready: bool = True) -> ChunkPolicy:
        """Load the policy into this process.

        Args:
            ready: False where it is looked at and not run, so that nothing needs compiling.

        Raises:
            UsageError: or another `ActEvalError`, if it cannot be found, raises, or is no policy.
        """
        ...

    def facts(self, policy: ChunkPolicy) -> PolicyFacts:
        """Return what is to be known of the policy that `load` gave."""
        ...


@dataclass(frozen=True, kw_only=True)
class _NetworkSource:
    """A network of act_eval's, and how it is run."""

    device: str = "cpu"
    """A torch device, or `auto`: CUDA where there is one."""
    compile: str = "off"
    """Mode for `act_eval.policies.compile`."""
    precision: Literal["float32", "bf16"] = "float32"
    """Precision of the network's matrix products."""
    rows_per_call: int = 8
    """Rows of every network call, filled up where fewer are due."""
    threads: int = 1
    """Threads of each process for the network's arithmetic."""

    @property
    def identity(self) -> str:
        raise NotImplementedError

    def network(self, device: str) -> "tuple[Policy, Processor]":
        """Return the network and its processor, on a device."""
        raise NotImplementedError

    def load(self, ready: bool = True) -> ChunkPolicy:
        import torch

        from act_eval.policies.serve import TorchChunkPolicy

        torch.set_num_threads(self.threads)
        device = resolve_device(self.device)
        policy, processor = self.network(device)
        served = TorchChunkPolicy(policy, processor, device, self.rows_per_call, self.precision)
        if ready:
            served.compile(self.compile)
        return served

    def facts(self, policy: ChunkPolicy) -> PolicyFacts:
        """Return how the network runs, with what `auto` means here, and the instruction set and GPU that it uses."""
        import torch

        from act_eval.policies.compile import Compiled

        device = resolve_device(self.device)
        compiled: Compiled = getattr(policy, "compiled", None) or Compiled(resolve_mode(self.compile, device))
        run = {"device": device, "precision": self.precision, "compile": compiled.mode}
        run |= {"rows_per_call": self.rows_per_call}
        run |= {} if compiled.failure is None else {"compile_failure": compiled.failure}
        on_gpu = torch.device(device).type == "cuda"
        gpu = {"gpu": torch.cuda.get_device_name(torch.device(device))} if on_gpu else {}
        numeric = {"cpu_capability": torch.backends.cpu.get_cpu_capability(), **gpu}
        return PolicyFacts(spec=policy.spec, identity={"digest": self.identity}, run=run, numeric=numeric)


@dataclass(frozen=True, kw_only=True)
class CheckpointSource(_NetworkSource):
    """A policy by its checkpoint folder, and how it is run."""

    folder: Path
    asked: str | None = field(default=None, compare=False)
    """Name that the user gave; None: that of the folder."""
    local_only: None = None

    @property
    def label(self) -> str:
        return label(self.asked or str(self.folder))

    @property
    def identity(self) -> str:
        """A digest of the checkpoint's files."""
        return digest(self.folder)

    def facts(self, policy: ChunkPolicy) -> PolicyFacts:
        """Return how the network runs, and the rate of the data that it was trained on."""
        from act_eval.policies.checkpoint import trained_rates

        return replace(super().facts(policy), trained_hz=trained_rates(self.folder))

    def network(self, device: str) -> "tuple[Policy, Processor]":
        from act_eval.policies.checkpoint import load_pretrained

        return load_pretrained(self.folder, device)


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkSource(_NetworkSource):
    """A network and its processor as objects."""

    policy: "Policy"
    processor: "Processor"
    unknown: str = field(default_factory=unknown_digest)
    """See `ObjectSource`."""

    @property
    def label(self) -> str:
        return object_label(self.policy)

    @property
    def local_only(self) -> str:
        return f"the policy is an instance of {self.label}"

    @property
    def identity(self) -> str:
        """A digest of settings and weights."""
        return self._digest()[0]

    def facts(self, policy: ChunkPolicy) -> PolicyFacts:
        return replace(super().facts(policy), remarks=not_resumable(self.label, self._digest()[1]))

    def _digest(self) -> tuple[str, str | None]:
        return try_digest(self.unknown, lambda: digest_of(self.policy, self.processor))

    def network(self, device: str) -> "tuple[Policy, Processor]":
        """Return copies: the user's own keep their device, and are not compiled.

        Raises:
            CheckpointError: if a weight is not finite.
        """
        from act_eval.policies.tensor_files import check_weights

        check_weights(f"policy {self.label}", self.policy.state_dict())
        return deepcopy(self.policy).to(device).eval(), deepcopy(self.processor).to(device).eval()


def not_resumable(name: str, why: str | None) -> tuple[str, ...]:
    """Return the remark about a policy of which `why` says that it has no digest; none if that is None."""
    return () if why is None else (f"policy  {name} holds a {why}: a run of it cannot be resumed",)


def label(name: str) -> str:
    """Return a short name, fit for a file name, of a policy by name."""
    if SERVER.match(name):
        return re.sub(r"[^\w.-]+", "_", SERVER.sub("", name)).strip("_") or "server"
    if names_factory(name):
        return name.rpartition(":")[2]
    path = Path(name)
    parts = [part for part in path.parts if part not in ("/", ".", "..", "pretrained_model")]
    return parts[-1] if parts else "policy"


def digest(folder: Path) -> str:
    """Return a digest of a checkpoint's files: equal content, equal policy, in any folder."""
    content = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in (".json", ".safetensors") and path.is_file():
            content.update(path.name.encode())
            content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:16]


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
