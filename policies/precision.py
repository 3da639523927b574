"""Where training and inference in bfloat16 pay."""

from typing import Literal

import torch

from act_eval.policies.act.backbone import narrows_to_one_pixel
from act_eval.policies.act.config import ACTConfig
from act_eval.policies.compile_mode import resolve_mode

EMULATED = (
    "this processor has no instructions for bfloat16, so --precision bf16 takes many times as long as full precision"
)
"""What to say where bfloat16 is asked for and emulated: 6 times for a prediction, 20 for a training step (AVX2)."""


def has_bf16(device: str | torch.device) -> bool:
    """Return whether a device computes in bfloat16; elsewhere autocast converts number by number."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.device(device).type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    # AVX-512 alone is enough for oneDNN to convert, not to compute.
    converts = torch.cpu._is_avx512_supported() and not torch.cpu._is_avx512_bf16_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported() and not converts


def resolve_precision(
    precision: Literal["auto", "bf16", "fp32"], device: str | torch.device, config: ACTConfig, compile: str
) -> Literal["bf16", "fp32"]:
    """Return the precision of a training, for `auto` bf16 where it pays and is right.

    Args:
        precision: as asked for.
        device: where it is trained.
        config: of the policy.
        compile: as asked for; see `act_eval.policies.compile.compile_for_training`.
    """
    if precision != "auto":
        return precision
    on_cpu = torch.device(device).type == "cpu"
    wrong = on_cpu and (narrows_to_one_pixel(config) or resolve_mode(compile, device) != "off")
    return "bf16" if has_bf16(device) and not wrong else "fp32"
