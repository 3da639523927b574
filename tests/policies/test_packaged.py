"""Networks compiled ahead of time: equal answers, one package per network and batch shape, none made twice."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_policies import normalised_batch, processor, request, tiny_act, tiny_rtc

from act_eval.errors import CompileError
from act_eval.policies.act import ACTPolicy
from act_eval.policies.act.policy import ChunkingPolicy
from act_eval.policies.aot import PackagedModel
from act_eval.policies.checkpoint import load_pretrained
from act_eval.policies.rtc import ACTRTCPolicy
from act_eval.policies.serve import TorchChunkPolicy

Policy = ACTPolicy | ACTRTCPolicy
SHIPPED = Path(__file__).parents[2] / "policies" / "pretrained"
NAMES = ("overhead", "wrist")


def packaged(policy: ChunkingPolicy, folder: Path, mode: str = "default") -> PackagedModel:
    model = PackagedModel(policy.model, mode, folder)  # pyright: ignore[reportArgumentType]
    policy.model = model
    return model


def with_other_weights(policy: Policy) -> Policy:
    with torch.no_grad():
        policy.model.action_head.bias += 1  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    return policy


def packages(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def library_in(folder: Path) -> Path:
    """Return the library of the only package in a folder, or with torch 2.11 its archive."""
    (package,) = packages(folder)
    return next((folder / package).glob("data/**/*.so"), folder / package)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(((one - other).abs() <= 1e-5 * other.abs().clamp(min=1)).all())


class Asked(Exception):
    """A package was to be made."""


def asked_name(
    monkeypatch: pytest.MonkeyPatch, folder: Path, policy: Policy, mode: str = "default", rows: int = 4
) -> str:
    """Return the name of the package that a call asks for."""
    names = []

    def make(package: Path, *_: object) -> None:
        names.append(package.name)
        raise Asked

    monkeypatch.setattr("act_eval.policies.aot._make", make)
    packaged(policy, folder, mode)
    with pytest.raises(Asked):
        policy.predict_action_chunk(normalised_batch(policy.config, rows=rows))
    return names[0]


def test_a_name_stands_for_all_that_a_package_depends_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def name(policy: Policy, **more: Any) -> str:
        return asked_name(monkeypatch, tmp_path, policy, **more)

    usual = name(tiny_act())
    assert name(with_other_weights(tiny_act())) == usual
    others = [
        name(tiny_act(), rows=3),
        name(tiny_act(n_heads=2)),  # the same parameters
        name(tiny_act(pre_norm=True)),
        name(tiny_rtc()),
        name(tiny_act(), mode="reduce-overhead"),
        name(tiny_act(), mode="max-autotune"),
    ]
    with torch.autocast("cpu", torch.bfloat16):
        others.append(name(tiny_act()))
    policy = tiny_act()
    policy.model.action_head = torch.nn.Sequential(policy.model.action_head)
    others.append(name(policy))
    assert len({usual, *others}) == 1 + len(others)


def test_another_processor_gets_another_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = asked_name(monkeypatch, tmp_path, tiny_act())
    monkeypatch.setattr("act_eval.policies.aot._processor", lambda: "another")
    assert asked_name(monkeypatch, tmp_path, tiny_act()) != here


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    policy = tiny_act()
    packaged(policy, taken)
    with pytest.raises(CompileError, match=r"compiling into .*taken: .*\$TORCHINDUCTOR_CACHE_DIR.*--compile off"):
        policy.predict_action_chunk(normalised_batch(policy.config))


@pytest.mark.slow  # compiles C++
@pytest.mark.parametrize("make", [tiny_act, tiny_rtc])
def test_packages_answer_as_the_plain_network_and_are_made_once(
    make: Callable[..., Policy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, copied = tmp_path / "packages", tmp_path / "copied"
    policy = make()
    batches = [normalised_batch(policy.config, seed=seed) for seed in range(3)]
    plain = [policy.predict_action_chunk(batch) for batch in batches]
    model = packaged(policy, folder)
    for batch, chunk in zip(batches, plain, strict=True):
        assert close(policy.predict_action_chunk(batch), chunk)
    assert model.calls == 3
    assert len(packages(folder)) == 1

    def never(*_: object) -> None:
        raise Asked

    other = with_other_weights(make())
    chunk = other.predict_action_chunk(batches[0])
    assert close(chunk, plain[0] + 1)
    with monkeypatch.context() as patch:
        patch.setattr("act_eval.policies.aot._make", never)
        packaged(other, folder)
        assert close(other.predict_action_chunk(batches[0]), chunk)
        with torch.no_grad():
            model._orig_mod.action_head.bias += 1
        assert close(policy.predict_action_chunk(batches[0]), plain[0] + 1)

    shutil.copytree(folder, copied)  # the system would not load a library of the same place again
    library_in(copied).write_bytes(b"no library")
    again = make()
    packaged(again, copied)
    assert close(again.predict_action_chunk(batches[0]), plain[0])
    assert len(packages(copied)) == 1
    assert library_in(copied).stat().st_size > 1000  # made anew


@pytest.mark.slow  # compiles C++
@pytest.mark.parametrize("name", ["act", "act_rtc", "act_collapsed"])
def test_shipped_policies_answer_alike(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    answers = []
    for mode in ("off", "default"):
        policy, normaliser = load_pretrained(SHIPPED / name, "cpu")
        served = TorchChunkPolicy(policy, normaliser, rows_per_call=3)
        served.compile(mode)
        answers.append([served.predict(request(3, (96, 96), seed, cameras=NAMES)).actions for seed in range(5)])
        assert served.compiled is not None
        assert served.compiled.mode == mode
    assert len(packages(tmp_path / "packages")) == 1
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-5, atol=1e-5)


@pytest.mark.slow  # compiles C++
@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"])
def test_every_mode_serves_on_a_cpu(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    policy = tiny_rtc()
    plain, compiled = (TorchChunkPolicy(policy, processor(policy), rows_per_call=3) for _ in range(2))
    expected = plain.predict(request(3)).actions
    compiled.compile(mode)
    np.testing.assert_allclose(compiled.predict(request(3)).actions, expected, rtol=1e-5, atol=1e-5)
