"""Numerical equivalence of eager and compiled code, from equal weights and equal random numbers.

The bound is |difference| ≤ 1e-5 · max(1, |reference|) for every number of the chunk, the loss and every gradient.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from act_eval.policies.checkpoint import Policy

from .subjects import Batch, observation_of

BOUND = 1e-5


@dataclass(frozen=True)
class Equivalence:
    """Largest differences over all batches, each divided by max(1, |reference|)."""

    chunk: float
    loss: float
    gradient: float
    gradient_of: str
    """The parameter whose gradient differs most."""
    mean_loss: float
    """Mean difference of the loss."""
    mean_gradient_norm: float
    """Mean difference of the norm of the whole gradient."""
    batches: int


@dataclass(frozen=True)
class _Step:
    loss: Tensor
    gradients: dict[str, Tensor]

    @property
    def norm(self) -> float:
        return float(torch.stack([g.norm() for g in self.gradients.values()]).norm())


def compare(policy: Policy, eager: nn.Module, compiled: nn.Module, batches: list[Batch]) -> Equivalence:
    """Run chunks and training steps with both and return how far they lie apart.

    Args:
        policy: its model is set to one and the other; left at `eager`.
        eager: the plain model.
        compiled: the same model, compiled with the random numbers of eager code.
        batches: training batches.
    """
    chunks, losses, norms = [0.0], [], []
    gradients: dict[str, float] = {}
    for number, batch in enumerate(batches):
        policy.model = eager
        chunk, step = predicted(policy, batch), training_step(policy, batch, number)
        policy.model = compiled
        chunks.append(distance(chunk, predicted(policy, batch)))
        other = training_step(policy, batch, number)
        losses.append((distance(step.loss, other.loss), abs(float(step.loss - other.loss))))
        norms.append(abs(step.norm - other.norm))
        for name, gradient in step.gradients.items():
            gradients[name] = max(gradients.get(name, 0.0), distance(gradient, other.gradients[name]))
    policy.model = eager
    worst = max(gradients, key=lambda name: gradients[name])
    return Equivalence(
        chunk=max(chunks),
        loss=max(relative for relative, _ in losses),
        gradient=gradients[worst],
        gradient_of=worst,
        mean_loss=sum(plain for _, plain in losses) / len(losses),
        mean_gradient_norm=sum(norms) / len(norms),
        batches=len(batches),
    )


def predicted(policy: Policy, batch: Batch) -> Tensor:
    """Return a chunk, copied: a compiled model may write into it at its next call."""
    return policy.predict_action_chunk(observation_of(batch)).clone()


def training_step(policy: Policy, batch: Batch, seed: int) -> _Step:
    """Return loss and gradients in training mode, dropout and the latent's noise on, from one seed."""
    policy.train()
    policy.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    loss, _ = policy(batch)
    loss.backward()
    named = ((name.replace("_orig_mod.", ""), p.grad) for name, p in policy.named_parameters())
    return _Step(loss.detach().clone(), {name: grad.clone() for name, grad in named if grad is not None})


def distance(reference: Tensor, other: Tensor) -> float:
    """Return the largest |difference| / max(1, |reference|); infinite if a number is not finite."""
    apart = (reference - other).abs() / reference.abs().clamp(min=1)
    return float(apart.max()) if bool(torch.isfinite(apart).all()) else float("inf")
