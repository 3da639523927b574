"""The norms of ResNet backbones against torchvision's."""

import pytest
import torch
from torchvision.ops import FrozenBatchNorm2d

from act_eval.policies.act.torchvision_backbones import FrozenNorm


def norms(channels: int) -> tuple[FrozenNorm, FrozenBatchNorm2d]:
    generator = torch.Generator().manual_seed(3)
    ours, theirs = FrozenNorm(channels), FrozenBatchNorm2d(channels)
    for buffer in ours.state_dict().values():
        buffer.copy_(torch.rand(channels, generator=generator) + 0.5)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_and_gradients_are_torchvisions(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 5, 6, 7, dtype=dtype).to(memory_format=torch.channels_last)
    found = []
    for norm in norms(5):
        x = images.clone().requires_grad_()
        y = norm(x * 1)  # not a leaf, as behind a convolution
        y.float().square().sum().backward()
        found.append((y, x.grad))
    (ours, our_gradient), (theirs, their_gradient) = found
    assert ours.dtype == dtype
    if dtype == torch.float32:
        assert torch.equal(ours, theirs)
        assert torch.equal(our_gradient, their_gradient)
    else:
        torch.testing.assert_close(ours.float(), theirs, rtol=2**-8, atol=1e-6)
        torch.testing.assert_close(our_gradient.float(), their_gradient.float(), rtol=2**-6, atol=1e-2)
