"""Training spread over processes, as `accelerate launch` and `torchrun` start it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from act_eval.cli.train import run

_SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
_TINY = (
    *("--model.dim-model", 16, "--model.n-heads", 2, "--model.dim-feedforward", 16, "--model.backbone-widths", 8),
    *("--model.n-encoder-layers", 1, "--model.n-decoder-layers", 1, "--model.rtc-max-delay", 2),
    *("--model.rtc-prefix-noise", 0),  # like dropout and shifts, it is drawn by each process
    *("--model.chunk-size", 4, "--model.n-action-steps", 2, "--model.dropout", 0, "--shift", 0),
    *("--precision", "fp32", "--steps", 4, "--save-every", 2, "--validate-every", 4, "--validation-batches", 1),
    *("--evaluate-every", 0, "--threads", 1, "--device", "cpu"),
)


def launch(processes: int, *words: object) -> list[str]:
    """Start the processes as a launcher does; return what each said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(processes):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        env = (
            os.environ | {k: str(v) for k, v in place.items()} | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        )
        command = [sys.executable, str(_SCRIPT), *(str(word) for word in words)]
        ranks.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    said = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * processes, said
    return [out for out, _ in said]


@pytest.mark.slow
def test_two_processes_train_like_one_with_twice_the_batch(tmp_path: Path, make_demos: Callable) -> None:
    make_demos(tmp_path / "demos", lengths=(7, 5, 9, 6), size=16)  # short, so that most samples are padded
    words = ["--dataset", tmp_path / "demos", *_TINY]
    first, second = launch(2, *words, "--batch-size", 2, "--out", tmp_path / "two")
    assert "4 steps of 4 samples" in first
    assert second == ""
    assert run([str(word) for word in (*words, "--batch-size", 4, "--out", tmp_path / "one")], prog="train.py") == 0
    curves = {
        name: [json.loads(line) for line in (tmp_path / name / "train.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    }
    assert [line["step"] for line in curves["two"]] == [1, 2, 3, 4, 4]
    for step in range(4):
        for name in ("loss", "grad_norm", "l1_delay_0", "l1_delay_2"):
            one, two = curves["one"][step][name], curves["two"][step][name]
            assert two == pytest.approx(one, rel=1e-5), (step, name)
    assert "validation" in curves["two"][-1]
