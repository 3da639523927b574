"""The wheel and the sdist hold what they should, and the wheel works where there is no checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import act_eval

ROOT = Path(act_eval.__file__).resolve().parent.parent
ROOMS = ("envs", "policies", "scenes")
PLUGINS = ("lerobot_env_act_eval", "lerobot_policy_act_rtc")


def files_of_the_checkout(folder: str = ".", suffix: str = "") -> set[str]:
    """Return the files of a folder that git does not ignore, relative to the checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in listed.stdout.splitlines() if name.endswith(suffix) and os.path.lexists(ROOT / name)}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and an sdist: ACT_EVAL_DIST where set (`make build`), else built now.

    The build runs on a copy, because setuptools writes into the tree that it builds.
    """
    given = os.environ.get("ACT_EVAL_DIST")
    if given:
        return ROOT / given
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in files_of_the_checkout():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def test_wheel_claims_no_other_top_level_name(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert top == {"act_eval", *PLUGINS, f"act_eval-{act_eval.__version__}.dist-info"}


def test_wheel_holds_the_plugins_of_lerobot(wheel: Path) -> None:
    wanted = {name.removeprefix("plugins/") for name in files_of_the_checkout("plugins", ".py")}
    assert {name.partition("/")[0] for name in wanted} == set(PLUGINS)
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("room", ROOMS)
def test_wheel_holds_the_room_as_real_files(wheel: Path, room: str) -> None:
    entries = {info.filename: info for info in zipfile.ZipFile(wheel).infolist()}
    wanted = {f"act_eval/{name}" for name in files_of_the_checkout(room, ".py")}
    assert wanted
    assert wanted <= set(entries)
    link_bits = [name for name in wanted if entries[name].external_attr >> 28 == 0o12]
    assert not link_bits


def test_wheel_holds_the_pretrained_policies(wheel: Path) -> None:
    wanted = {f"act_eval/{name}" for name in files_of_the_checkout("policies/pretrained")}
    assert wanted
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())


def test_wheel_holds_licence_and_notice(wheel: Path) -> None:
    names = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" in name}
    assert {"LICENSE", "NOTICE"} <= names


def test_sdist_holds_the_rooms(dist: Path) -> None:
    (found,) = dist.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
    for room in ROOMS:
        assert {f"act_eval/{name}" for name in files_of_the_checkout(room, ".py")} <= files


def test_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True)
    code = (
        "import act_eval, act_eval.envs, act_eval.policies, act_eval.scenes, gymnasium\n"
        "env = gymnasium.make('act_eval/ConfuserPick-v0')\n"
        "env.reset(seed=0)\n"
        "env.close()\n"
        "print(act_eval.__file__, act_eval.envs.__file__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for file in done.stdout.split():
        assert Path(file).is_relative_to(target)
