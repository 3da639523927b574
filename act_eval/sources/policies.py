"""Which policy a name on the command line means: shipped, a folder, a module's, a server's, or one of the hub."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from act_eval.errors import CheckpointError, UnknownName, UsageError
from act_eval.sources.factories import names_factory
from act_eval.sources.hub import fetched, is_hub_id
from act_eval.sources.policy_sources import CheckpointSource, FactorySource, PolicyFacts, PolicySource, ServerSource

EXPERT = "expert"
"""Name of the scripted expert, which needs no checkpoint."""

SHIPPED = Path(__file__).parents[1] / "policies" / "pretrained"
"""Where the shipped policies lie, a folder each."""
_CONFIG = "config.json"
ROWS_PER_CALL = 8
"""Rows of a network's calls where nobody says: answers may differ in their last bits with it, so all have the same."""
_SERVER = re.compile(r"wss?://", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Network:
    """How the network of a checkpoint is run, by the flags."""

    device: str = "auto"
    compile: str = "auto"
    rows_per_call: int | None = None
    """None: not given."""
    threads: int = 1
    precision: Literal["float32", "bf16"] = "float32"

    def refuse(self, name: str) -> None:
        """Refuse flags that say something about a network that is not run here.

        Raises:
            UsageError: naming the flag.
        """
        given = {"device": self.device != "auto", "compile": self.compile != "auto"}
        given["rows-per-call"] = self.rows_per_call is not None
        given["precision"] = self.precision != "float32"
        for flag, is_given in given.items():
            if is_given:
                raise UsageError(f"--{flag} is about a checkpoint's network; {name} runs as its own code decides")


def policy_source(
    name: str, options: Mapping[str, Any], network: Network, usual_rows: int = ROWS_PER_CALL
) -> PolicySource:
    """Return where the policy of a name comes from.

    Args:
        name: a shipped policy, a folder, `module:factory`, `ws://host:port`, or a hub id.
        options: for a factory or a server.
        network: how a checkpoint's network is run.
        usual_rows: rows of its calls where the flags do not say.

    Raises:
        UsageError: or a child of it, naming what does not fit.
        CheckpointError: if a folder holds no checkpoint, or the hub does not give one.
    """
    if _SERVER.match(name):
        network.refuse(name)
        server = ServerSource(url=name, options=options)
        server.address()
        return server
    if names_factory(name):
        network.refuse(name)
        return FactorySource(target=name, options=options, threads=network.threads)
    if options:
        raise UsageError(f"--policy-options are for module:factory and for servers; {name!r} takes none")
    return CheckpointSource(
        folder=checkpoint_folder(name).absolute(),  # a worker's directory may be another
        device=network.device,
        compile=network.compile,
        rows_per_call=network.rows_per_call or usual_rows,
        threads=network.threads,
        precision=network.precision,
    )


def shipped() -> list[str]:
    """Return the names of the policies that come with this package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{_CONFIG}"))


def checkpoint_folder(name: str, others: tuple[str, ...] = (EXPERT, "module:factory", "ws://host:port")) -> Path:
    """Return the checkpoint folder of a shipped policy's name, of a path, or of a hub id, which is fetched.

    Args:
        name: see there.
        others: what else a name may be where it is asked for, for the error.

    Raises:
        CheckpointError: if the path is a folder without a checkpoint, or the hub does not give one.
        UnknownName: if there is neither a shipped policy nor a folder of this name, and it is no hub id.
    """
    for folder in (SHIPPED / name, Path(name), Path(name) / "pretrained_model"):
        if (folder / _CONFIG).is_file():
            return folder
    if Path(name).is_dir():
        raise CheckpointError(f"{name} is a folder without a checkpoint: it has no {_CONFIG}")
    if is_hub_id(name):
        return fetched(name)
    or_else = ["or the path of a checkpoint folder", "a hub id (org/name)", *(o for o in others if o != EXPERT)]
    raise UnknownName("policy", name, [*shipped(), *(o for o in others if o == EXPERT), ", ".join(or_else)])


def label(name: str) -> str:
    """Return a short name, fit for a file name, of what was asked for."""
    if _SERVER.match(name):
        return re.sub(r"[^\w.-]+", "_", _SERVER.sub("", name)).strip("_") or "server"
    if names_factory(name):
        return name.rpartition(":")[2]
    path = Path(name)
    parts = [part for part in path.parts if part not in ("/", ".", "..", "pretrained_model")]
    return parts[-1] if parts else "policy"


def digest(folder: Path) -> str:
    """Return a digest of a checkpoint's files: equal content, equal policy, whatever its place."""
    content = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in (".json", ".safetensors"):
            content.update(path.name.encode())
            content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:16]


def policy_entry(name: str, facts: PolicyFacts) -> dict[str, Any]:
    """Return a policy's entry in a manifest (JSON values).

    Args:
        name: What it is called; a server says so itself.
        facts: What it says of itself.
    """
    spec = facts.spec
    return {
        "name": name,
        **facts.identity,
        "chunk": spec.chunk,
        "window": spec.window,
        "max_delay": spec.max_delay if spec.takes_prefix else None,
    }
