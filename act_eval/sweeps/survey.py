"""Facts of the policies and environments of a sweep, collected before the first episode."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing import get_context

from act_eval.errors import LaunchError
from act_eval.processes import main_module_hidden
from act_eval.sources.environments import EnvFacts, EnvSource
from act_eval.sources.network_sources import PolicyFacts, PolicySource
from act_eval.sources.perturbations import AskedPerturbation
from act_eval.sources.workers import CheckedPerturbation, checked_perturbations


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Facts by name."""

    policies: Mapping[str, PolicyFacts]
    envs: Mapping[str, EnvFacts]
    warnings: tuple[str, ...] = ()
    """Of environments whose start does not depend on the seed alone."""
    perturbations: Mapping[tuple[str, str], tuple[CheckedPerturbation, ...]] = field(default_factory=dict)
    """(Policy, environment) → the perturbations that run, as checked."""
    perturbations_left_out: tuple[str, ...] = ()
    """Those that do not run, with policy, environment and reason."""

    @property
    def remarks(self) -> list[str]:
        """What policies and environments have to say, a line each."""
        of_policies = [line for one in self.policies.values() for line in one.remarks]
        of_policies += [
            f"policy  the checkpoint of {name} sets {text}; --executors and --execution-horizon decide here"
            for name, one in self.policies.items()
            if (text := one.spec.checkpoint_timing)
        ]
        of_envs = [f"env     {line}" for one in self.envs.values() for line in one.remarks]
        return [*self.warnings, *of_policies, *of_envs, *(f"left out {one}" for one in self.perturbations_left_out)]


def survey(
    policies: Mapping[str, PolicySource],
    envs: Mapping[str, EnvSource],
    apart: bool,
    perturbations: Sequence[AskedPerturbation] = (),
) -> Survey:
    """Return the facts of policies and environments, each built once.

    Args:
        policies: Name → source.
        envs: Name → source.
        apart: whether to load them in another process, so that this one needs neither torch nor MuJoCo.
        perturbations: those asked for, which are checked for every policy in every environment.

    Raises:
        LaunchError: if that process died.
        ActEvalError: raised while loading a policy or making an environment.
    """
    if not apart:
        return _look(policies, envs, perturbations)
    try:
        with main_module_hidden(), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(_look, policies, envs, perturbations).result()
    except BrokenProcessPool as error:
        raise LaunchError(f"the process that loads {', '.join([*policies, *envs])} was killed") from error


def _look(
    policies: Mapping[str, PolicySource], envs: Mapping[str, EnvSource], asked: Sequence[AskedPerturbation]
) -> Survey:
    from act_eval.sources.dry_run import start_warnings

    places: dict[str, EnvFacts] = {}
    warnings: tuple[str, ...] = ()
    loaded = {name: source.facts(source.load(ready=False)) for name, source in policies.items()}  # no prediction needed
    checked: dict[tuple[str, str], tuple[CheckedPerturbation, ...]] = {}
    left_out: list[str] = []
    for name, source in envs.items():
        with closing(source.make()) as env:
            places[name] = source.facts(env)
            warnings += () if source.declared is None else start_warnings(env, source.label)
            for policy, facts in loaded.items():
                found, without = checked_perturbations(asked, env, name, facts.spec.inputs)
                checked[policy, name] = found
                left_out += [f"{policy}, {name}: {reason}" for reason in without]
    return Survey(
        policies=loaded,
        envs=places,
        warnings=warnings,
        perturbations=checked,
        perturbations_left_out=tuple(left_out),
    )
