"""Policies that run as their own code decides: a user's module or object, or a server. Each worker loads its own."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act_eval.errors import UsageError
from act_eval.serving import TOKEN, need_serving
from act_eval.sources.digests import digest_of, try_digest, unknown_digest
from act_eval.sources.factories import (
    factory_local_only,
    import_foreign,
    instance_local_only,
    load_factory,
    object_label,
)
from act_eval.sources.network_sources import PolicyFacts, label, not_resumable
from act_eval.types import ChunkPolicy
from act_eval.user_code import user_code

if TYPE_CHECKING:
    from act_eval.policies.serving.client import RemotePolicy
    from act_eval.policies.serving.openpi import Interface, OpenpiPolicy
    from act_eval.serving.connection import Endpoint


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectSource:
    """A user's policy as an object: an instance, or a factory that is no importable class or function."""

    given: Any
    """A `ChunkPolicy`, an instance of the simple class of docs/own-policy.md, or a factory of either."""
    is_factory: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the factory."""
    threads: int = 1
    unknown: str = field(default_factory=unknown_digest)
    """Digest of an object that cannot be digested; no other object has it."""

    @property
    def label(self) -> str:
        return object_label(self.given)

    @property
    def local_only(self) -> str | None:
        return (factory_local_only if self.is_factory else instance_local_only)(f"policy {self.label}", self.given)

    @property
    def identity(self) -> str:
        """A digest of the instance, or of the factory's code and options."""
        return self._digest()[0]

    def load(self, ready: bool = True) -> ChunkPolicy:
        """Make the policy; an instance is copied where it can be, so that the user's own keeps its state."""
        if self.is_factory:
            return _made(self.label, self.given, self.options, self.threads)
        return _made(self.label, self._copy, {}, self.threads, guarded=False)

    def facts(self, policy: ChunkPolicy) -> PolicyFacts:
        """Return its interface, and a digest of its code and state."""
        # What a factory has made may hold weights that the factory's code does not show.
        found, why = self._digest(*([getattr(policy, "first", policy)] if self.is_factory else []))
        identity = {"digest": found, "object": self.label, **_version(policy)}
        return PolicyFacts(spec=policy.spec, identity=identity, remarks=not_resumable(self.label, why))

    def _digest(self, *made: Any) -> tuple[str, str | None]:
        """Return the digest, and why it is a random one."""
        return try_digest(self.unknown, lambda: digest_of(self.given, dict(self.options), *made))

    def _copy(self) -> Any:
        try:
            return deepcopy(self.given)
        except Exception:  # copying runs the object's own code; one that cannot be copied is used itself
            if callable(getattr(self.given, "reset", None)) and not hasattr(self.given, "spec"):
                raise UsageError(
                    f"policy {self.label} has reset(seed), so that every slot needs its own copy, and cannot be "
                    "copied: give the class instead"
                ) from None
            return self.given


@dataclass(frozen=True, kw_only=True)
class FactorySource:
    """A policy that a user's `module:factory` makes."""

    target: str
    options: Mapping[str, Any]
    """Keyword arguments of the factory (JSON values)."""
    threads: int = 1
    local_only: None = None

    @property
    def label(self) -> str:
        return label(self.target)

    @property
    def identity(self) -> str:
        """A digest of module, options and the files that these name."""
        content = hashlib.sha256(json.dumps([self.target, dict(self.options)], sort_keys=True).encode())
        source = import_foreign(self.target.partition(":")[0], f"--policy {self.target}").__file__
        named = [value for _, value in sorted(self.options.items()) if isinstance(value, str)]
        for path in (*([] if source is None else [source]), *named):
            if os.path.isfile(path):
                content.update(hashlib.sha256(Path(path).read_bytes()).digest())
        return content.hexdigest()[:16]

    def load(self, ready: bool = True) -> ChunkPolicy:
        return _made(self.target, load_factory(self.target, "--policy"), self.options, self.threads)

    def facts(self, policy: ChunkPolicy) -> PolicyFacts:
        identity = {"digest": self.identity, "factory": self.target, **_version(policy)}
        return PolicyFacts(spec=policy.spec, identity=identity)


@dataclass(frozen=True, kw_only=True)
class ServerSource:
    """A policy behind a WebSocket."""

    url: str
    options: Mapping[str, Any]
    """What an openpi server does not say of itself, and how long it is waited for."""
    local_only: None = None

    @property
    def label(self) -> str:
        return label(self.url)

    @property
    def identity(self) -> str:
        """Its address and options."""
        return f"{self.url} {json.dumps(dict(self.options), sort_keys=True)}"

    def load(self, ready: bool = True) -> "RemotePolicy | OpenpiPolicy":
        """Connect.

        Raises:
            UsageError: if the address is malformed, the token is wrong, or the extra `serve` is not installed.
            RemoteError: if no server answers, or it speaks another protocol.
        """
        endpoint, openpi = self.address()
        from act_eval.policies.serving.client import RemotePolicy
        from act_eval.policies.serving.openpi import OpenpiPolicy

        return RemotePolicy(endpoint) if openpi is None else OpenpiPolicy(endpoint, openpi)

    def address(self) -> "tuple[Endpoint, Interface | None]":
        """Return what the address and its options mean.

        Raises:
            UsageError: if they are malformed, or the extra `serve` is not installed.
        """
        need_serving("policy servers")
        from act_eval.policies.serving.openpi import parse_address

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


def _made(called: str, factory: Any, options: Mapping[str, Any], threads: int, guarded: bool = True) -> ChunkPolicy:
    """Return the policy of a factory; `guarded` if it is the user's, so that whatever it raises names it."""
    from act_eval.policies.simple import chunk_policy

    policy = chunk_policy(partial(_call, called, factory, options) if guarded else factory, called)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
    return policy


def _call(called: str, factory: Any, options: Mapping[str, Any]) -> Any:
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    with user_code(f"--policy {called}: calling it with ({given}) raised"):
        return factory(**options)


def _version(policy: ChunkPolicy) -> dict[str, str]:
    version = getattr(policy, "version", None)
    return {} if version is None else {"version": str(version)}
