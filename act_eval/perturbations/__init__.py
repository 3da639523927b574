"""Perturbations: changes of an environment under which a policy is evaluated beside its unperturbed twin.

A perturbation belongs to a condition, never to the suite: perturbed and unperturbed episodes have the same seeds, and
the perturbation draws from a random stream of its own.
"""

from act_eval.perturbations.base import SEVERITIES, Offered, Perturbation, Perturbations, label_of, perturbation_entry
from act_eval.perturbations.wrapper import PerturbedEnv, perturbed, showing

__all__ = [
    "SEVERITIES",
    "Offered",
    "Perturbation",
    "Perturbations",
    "PerturbedEnv",
    "label_of",
    "perturbation_entry",
    "perturbed",
    "showing",
]
