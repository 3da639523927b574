"""Policies by name (shipped, a folder, a module's, a server's, one of the hub) or as objects."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from act_eval.errors import CheckpointError, UnknownName, UsageError
from act_eval.sources.factories import import_name, names_factory, object_label
from act_eval.sources.hub import fetched, is_hub_id
from act_eval.sources.lerobot import PREFIX, lerobot_source
from act_eval.sources.network_sources import SERVER, CheckpointSource, NetworkSource, PolicyFacts, PolicySource
from act_eval.sources.policy_sources import FactorySource, ObjectSource, ServerSource

EXPERT = "expert"
"""Name of the scripted expert, which needs no checkpoint."""

SHIPPED = Path(__file__).parents[1] / "policies" / "pretrained"
"""Holds the shipped policies, a folder each."""
_CONFIG = "config.json"
ROWS_PER_CALL = 8
"""Rows of a network's calls where nobody says: answers may differ in their last bits with it, so all have the same."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """How the network of a checkpoint is run, by the flags."""

    device: str = "auto"
    compile: str = "auto"
    rows_per_call: int | None = None
    """None: not given."""
    threads: int = 1
    precision: Literal["float32", "bf16"] = "float32"

    def settings(self, usual_rows: int) -> dict[str, Any]:
        """Return the same as arguments of a network's source."""
        return {**vars(self), "rows_per_call": self.rows_per_call or usual_rows}

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
    policy: Any,
    options: Mapping[str, Any],
    network: Network,
    usual_rows: int = ROWS_PER_CALL,
    python: str | None = None,
) -> PolicySource:
    """Return where a policy comes from.

    Args:
        policy: by name, a shipped policy, a folder, `lerobot:FOLDER`, `module:factory`, `ws://host:port`, or a hub id;
            as an object, a class or function that makes a policy, a `ChunkPolicy`, an instance of the simple class of
            docs/own-policy.md, or `(policy, processor)` of an `ACTPolicy` or `ACTRTCPolicy`.
        options: for a factory, a server or a policy of LeRobot.
        network: how a network is run.
        usual_rows: rows of its calls where the flags do not say.
        python: path of the interpreter for a policy of LeRobot; None: this one.

    Raises:
        UsageError: or a child of it, naming what does not fit.
        CheckpointError: if a folder holds no checkpoint, or the hub does not give one.
    """
    if isinstance(policy, str) and policy.startswith(PREFIX):
        replace(network, device="auto", rows_per_call=None).refuse(policy)
        settings = {name: network.settings(usual_rows)[name] for name in ("device", "rows_per_call", "threads")}
        return lerobot_source(policy, python, options, **settings)
    if python is not None:
        raise UsageError(f"--policy-python is for --policy lerobot:FOLDER; {policy} runs in this Python or by itself")
    if not isinstance(policy, str | Path):
        return _of_object(policy, options, network, usual_rows)
    name = str(policy)
    if SERVER.match(name):
        network.refuse(name)
        server = ServerSource(url=name, options=options)
        server.address()
        return server
    if names_factory(name):
        network.refuse(name)
        return FactorySource(target=name, options=options, threads=network.threads)
    if options:
        raise UsageError(f"--policy-options are for module:factory, lerobot:FOLDER and servers; {name!r} takes none")
    folder = checkpoint_folder(name).absolute()  # a worker's directory may be another
    return CheckpointSource(folder=folder, asked=name, **network.settings(usual_rows))


def _of_object(given: Any, options: Mapping[str, Any], network: Network, usual_rows: int) -> PolicySource:
    if isinstance(given, tuple):
        return _of_network(given, options, network, usual_rows)
    label = object_label(given)
    network.refuse(label)
    if isinstance(given, type) or (callable(given) and not hasattr(given, "predict")):
        name = import_name(given)
        if name is not None and names_factory(name):
            return FactorySource(target=name, options=options, threads=network.threads)
        return ObjectSource(given=given, is_factory=True, options=options, threads=network.threads)
    if not hasattr(given, "predict"):
        raise UsageError(
            f"the policy is an instance of {label}; allowed: a name, a path, a class or function that makes a policy, "
            "an instance with predict (docs/own-policy.md), or (policy, processor) of an ACT or ACT-RTC network"
        )
    if options:
        raise UsageError(f"policy_options are for factories and servers; {label} is an instance already")
    return ObjectSource(given=given, threads=network.threads)


def _of_network(given: tuple[Any, ...], options: Mapping[str, Any], network: Network, usual_rows: int) -> NetworkSource:
    from act_eval.policies.act.policy import ACTPolicy
    from act_eval.policies.normalize import Processor
    from act_eval.policies.rtc import ACTRTCPolicy

    kinds = ", ".join(object_label(one) for one in given)
    if len(given) != 2 or not (isinstance(given[0], ACTPolicy | ACTRTCPolicy) and isinstance(given[1], Processor)):
        raise UsageError(
            f"the policy is a tuple of ({kinds}); allowed: (policy, processor), an ACTPolicy or ACTRTCPolicy with its "
            "Processor, as load_pretrained returns them"
        )
    if options:
        raise UsageError(f"policy_options are for factories and servers; ({kinds}) are instances already")
    return NetworkSource(policy=given[0], processor=given[1], **network.settings(usual_rows))


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
        newest = _newest_checkpoint(Path(name))
        training = f"; it is the folder of a training, whose newest checkpoint is {newest}" if newest else ""
        raise CheckpointError(f"{name} is a folder without a checkpoint: it has no {_CONFIG}{training}")
    if is_hub_id(name):
        return fetched(name)
    or_else = ["or the path of a checkpoint folder", "a hub id (org/name)", *(o for o in others if o != EXPERT)]
    raise UnknownName("policy", name, [*shipped(), *(o for o in others if o == EXPERT), ", ".join(or_else)])


def _newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a training's folder, act_eval's or LeRobot's: `checkpoints/last` or a step's."""
    steps = f"[0-9l]*/pretrained_model/{_CONFIG}"
    found = [path.parents[1] for pattern in (f"checkpoints/{steps}", steps) for path in folder.glob(pattern)]
    return max(found, key=lambda path: (path.name == "last", path.name.zfill(20)), default=None)


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
        **({} if spec.history == 1 else {"history": spec.history, "history_spacing": spec.history_spacing}),
    }
