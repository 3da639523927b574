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
LARGEST = 90 * 10**6
"""Bytes of a wheel, shipped policies included."""
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
    return build(copy_of_the_checkout(tmp_path_factory.mktemp("checkout")), tmp_path_factory.mktemp("dist"))


def copy_of_the_checkout(copy: Path) -> Path:
    for name in files_of_the_checkout():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


def build(source: Path, out: Path, *more: str) -> Path:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *more, str(source)]
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


def test_wheel_is_small_enough_to_install_in_passing(wheel: Path) -> None:
    assert wheel.stat().st_size <= LARGEST


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


@pytest.mark.slow
def test_sdist_and_checkout_build_the_same_wheel(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:  # `wheel` was built from the sdist, as `python -m build` does
    copy = copy_of_the_checkout(tmp_path_factory.mktemp("again"))
    (direct,) = build(copy, tmp_path_factory.mktemp("direct"), "--wheel").glob("*.whl")
    assert direct.name == wheel.name
    assert contents(direct) == contents(wheel)


def contents(wheel: Path) -> dict[str, int]:
    """Return the checksum of every file of a wheel."""
    return {info.filename: info.CRC for info in zipfile.ZipFile(wheel).infolist()}


@pytest.mark.slow
def test_installed_command_evaluates_a_shipped_policy(wheel: Path, tmp_path: Path) -> None:
    """In an environment that has what act_eval depends on, but not act_eval."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python, command = environment / "bin" / "python", environment / "bin" / "act-eval"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip())
    # A folder that a .pth file names is searched, while the .pth files in it, such as that of a checkout, are not read.
    (own / "dependencies.pth").write_text(str(Path(pytest.__file__).parent.parent))
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: object) -> str:
        done = subprocess.run(
            [str(word) for word in words], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert Path(run(python, "-c", "import act_eval; print(act_eval.__file__)").strip()).is_relative_to(environment)
    flags = ("--policy", "act_rtc", "--env", "confuser_pick", "--episodes", 1, "--delay", 4, "--workers", 1)
    shown = run(command, "evaluate", *flags, "--out", "run")
    assert "rtc_d4_s10" in shown
    assert len((tmp_path / "run" / "rtc_d4_s10" / "episodes.jsonl").read_text().splitlines()) == 1
    assert (tmp_path / "run" / "report.html").is_file()
    assert "evaluate" in run(command, "completion", "bash")
