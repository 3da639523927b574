"""How the commands of the site are run in the tests: made small by options that come after theirs, or why not at all.

The first rule whose pattern matches the beginning of a command is its rule; a command without one fails the tests.
"""

import re
from dataclasses import dataclass

from site_pages import Command


@dataclass(frozen=True)
class Run:
    """The command is run, in a folder of its own that holds what the pages speak of."""

    pattern: str
    more: str = ""
    """Put behind the command; of an option that is given twice, the later one counts."""
    slow: bool = True
    """Whether it takes longer than a second or two, and runs in a process of its own."""
    needs: tuple[str, ...] = ()
    """Packages that not every installation has."""
    codes: tuple[int, ...] = (0,)
    """Exit codes that are an answer."""
    words: tuple[tuple[str, str], ...] = ()
    """Words of the page, and what stands for them in the folder."""


@dataclass(frozen=True)
class NotRun:
    """The command cannot be run here."""

    pattern: str
    why: str


Rule = Run | NotRun

_ONE = "--episodes 1 --workers 1"
_COLLECT = "--episodes 1 --workers 1 --image-size 32 --out data/new"
_TRAIN = (
    "--out outputs/train/new --steps 2 --batch-size 2 --episodes 2 --held-out 0 --validate-every 0 --evaluate-every 0 "
    "--threads 1"
)
_CARTPOLE, _PUSHT = ((("my_policy:make", f"my_stumbles:{name}"),) for name in ("cartpole", "pusht"))
_SERVER = "a server that runs until ctrl-C, and its client: tests/cli/test_serve_command.py runs both"

RULES: tuple[Rule, ...] = (
    # What sets up, installs, or needs something that a test cannot have.
    NotRun(r"make ", "sets up .venv anew; test_make_knows_its_targets looks at what each target would run"),
    NotRun(r"source \.venv/", "the environment that the tests run in"),
    NotRun(r"(sudo apt-get|pip) install ", "changes the installation; tests/packaging installs the wheel"),
    NotRun(r"git clone |.* --robot-meshes", "needs MuJoCo Menagerie; tests/scenes has the meshes' own tests"),
    NotRun(r"lerobot-(eval|train|rollout) ", "needs LeRobot; tests/lerobot_package installs it and runs them"),
    NotRun(r"act-eval export-lerobot ", "needs its training to the end; tests/training/test_train_command.py exports"),
    NotRun(r"ssh ", "needs another machine"),
    NotRun(r"pytest -m slow tests/", "is part of the slow tests itself"),
    NotRun(r"pytest --success-rate-record ", "test_the_gates_of_a_users_repository runs it on the page's own tests"),
    NotRun(r"act-eval serve --policy act_rtc --port 8000$", _SERVER),
    NotRun(r"python scripts/evaluate\.py --policy ws://127\.0\.0\.1:8000 --env confuser_pick ", _SERVER),
    NotRun(r"act-eval serve-env ", "a server that runs until ctrl-C: tests/cli/test_serve_env_command.py runs one"),
    NotRun(r"python scripts/evaluate\.py .*--env ws://", "tests/cli/test_serve_env_command.py runs server and client"),
    NotRun(r"python\S* -m venv |~/\w+/bin/pip ", "tests/envs/test_named_suites_real.py makes such environments"),
    NotRun(r"act-eval (collect|train) .*--env-python ", "tests/collect/test_other_environments.py, without Meta-World"),
    NotRun(r"python scripts/evaluate\.py .*--env-python ", "tests/envs/test_named_suites_real.py runs every suite so"),
    NotRun(r"python scripts/evaluate\.py --policy ws://\S+ --env gym_aloha/", "needs an openpi server"),
    NotRun(r"python3\.12 -m venv lr |.* --policy-python ", "needs LeRobot; tests/lerobot_package installs it"),
    NotRun(r"accelerate launch scripts/train\.py$", "tests/test_train_processes.py launches two processes"),
    NotRun(r"python scripts/evaluate\.py --launcher ", "tests/launch runs both launchers on clusters of this machine"),
    NotRun(r"(act-eval|python -m act_eval) ([A-Z]+|[\w-]+$|report …)", "the name of a command, or a pattern"),
    NotRun(r"python scripts/benchmark_compile\.py ", "compiles for minutes; tests/bench runs its parts"),
    NotRun(r"act-eval publish NAME ", "writes into the package; tests/cli/test_publish.py publishes to a folder"),
    NotRun(
        r"act-eval train .*(_corrections|--correction-rounds)",
        "trains on what the command before collects; tests/collect/test_corrections.py runs both",
    ),
    NotRun(
        r"act-eval (train|evaluate) .*moving_state",
        "of what the command before collects; tests/training/test_train_command.py runs all three",
    ),
    # Cheap.
    Run(r"act-eval completion bash$", slow=False),
    Run(r"act-eval completion \w+ > "),
    Run(r"act-eval report RUN_A RUN_B$", slow=False, words=(("RUN_A", "RUN"), ("RUN_B", "OUT"))),
    Run(r"act-eval report ", slow=False, words=(("RUN…", "RUN"),)),
    Run(r"act-eval compare ", slow=False, codes=(0, 1)),
    Run(r"act-eval baseline ", slow=False),
    Run(r"act-eval merge OUT$", slow=False, words=(("OUT", "parts"),)),
    Run(r"act-eval merge", slow=False),
    Run(r"python scripts/experiments/study\.py \w+\.toml --(list|table)", slow=False),
    NotRun(r"python scripts/benchmarks/gpu\.py", "needs a GPU"),
    NotRun(r"python scripts/experiments/study\.py ", "takes hours; tests/experiments/test_study.py runs a small study"),
    Run(r"act-eval export \S+ --to tensorboard wandb", needs=("wandb",)),
    Run(r"act-eval export \S+ --to rerun", needs=("rerun",)),
    Run(r"act-eval export ", slow=False),
    Run(r"act-eval render OUT --episodes all", "--workers 1", slow=False),
    Run(r"act-eval render RUN", "--size 256 --workers 1", slow=False, words=(("RUN", "OUT"),)),
    Run(r"act-eval render OUT --episodes 3,17", "--size 256 --workers 1", slow=False, words=(("3,17", "0,1"),)),
    Run(r"act-eval render ", "--size 256 --workers 1", slow=False),
    Run(
        r"act-eval collect .*--recovery",
        "--env confuser_pick --episodes 1 --workers 1 --image-size 32 --out data/new",
    ),
    Run(r"act-eval collect .*--policy ", "--episodes 1 --workers 1 --out data/new"),
    Run(r"act-eval collect ", "--episodes 1 --workers 1 --image-size 32 --out data/new", slow=False),
    Run(
        r"python scripts/evaluate\.py --policy my_policy:make --env gym_pusht/",
        _ONE,
        needs=("gym_pusht",),
        words=_PUSHT,
    ),
    Run(
        r"python scripts/evaluate\.py --policy my_policy:make --env dm_control:",
        f"{_ONE} --horizon 20",
        words=_CARTPOLE,
    ),
    Run(r"python scripts/evaluate\.py --policy my_reach:GoThere ", _ONE, slow=False),
    Run(r"act-eval probe --policy my_policy:Reach ", "--episodes 2 --per-episode 2", slow=False),
    # Networks are loaded, compiled or trained.
    Run(r"python scripts/evaluate\.py --export csv wandb", _ONE, needs=("wandb",)),
    Run(r"python scripts/evaluate\.py .*--shard ", "--episodes 8 --workers 1 --no-probe --out part"),
    Run(r"python scripts/evaluate\.py --workers 8", "--episodes 1 --no-probe --video none"),
    Run(r"python scripts/evaluate\.py --policy outputs/lerobot/", f"{_ONE} --no-probe --delay 0 4"),
    Run(r"(python scripts/evaluate\.py|act-eval evaluate)", f"{_ONE} --no-probe --out outputs/tried"),
    Run(r"act-eval robustness .*--axes ", f"{_ONE} --no-probe --axes light --severities 3 --out outputs/robust"),
    Run(r"act-eval robustness ", f"{_ONE} --no-probe --axes light --severities 3 --out outputs/robust"),
    Run(r"act-eval sweep .*--shard ", "--episodes 2 --workers 1"),
    Run(r"act-eval sweep ", f"{_ONE} --envs moving_pick --delays 0 4"),
    Run(r"act-eval probe ", "--episodes 2 --per-episode 2"),
    Run(r"python scripts/train\.py .*--resume "),
    Run(
        r"python scripts/train\.py .*--model\.vision-backbone vit",
        _TRAIN + " --model.vit-width 64 --model.vit-layers 1",
    ),
    Run(r"python scripts/train\.py", _TRAIN),
    Run(r"python scripts/benchmarks/evaluation\.py", "--episodes 2 --rounds 1 --parts speed"),
    Run(r"python scripts/benchmarks/workers\.py", "--episodes 2 --rounds 1"),
    Run(r"python scripts/benchmarks/precision\.py", "--episodes 2 --policies act"),
    Run(r"python scripts/benchmarks/serving\.py", "--requests 10"),
    Run(r"python scripts/benchmarks/env_process\.py", "--pairs 1 --episodes 1"),
    Run(r"python scripts/experiments/verdict_errors\.py ", "--rounds 20 --pairs 38"),
    Run(r"python scripts/benchmarks/scale\.py", "--sizes 3 4"),
    Run(r"python scripts/benchmarks/perturbations\.py ", "--steps 2 --image-size 16"),
    Run(r"python scripts/benchmarks/rendering\.py ", "--frames 2"),
    Run(r"python scripts/benchmarks/prefix\.py ", "--network shipped --batch-size 2 --steps 1"),
    Run(r"python scripts/benchmarks/scheduler\.py ", "--rounds 1"),
    NotRun(r"python scripts/benchmarks/lerobot_eval\.py ", "needs LeRobot"),
    Run(r"python scripts/benchmarks/start\.py ", "--rounds 1 --workers 1"),
    Run(r"python scripts/benchmarks/throughput\.py ", "--rounds 1 --steps 2", needs=("gym_aloha",)),
)


def rule_of(command: Command) -> Rule | None:
    """Return what is said of a command."""
    return next((rule for rule in RULES if re.match(rule.pattern, command.text)), None)


def as_run(command: Command, rule: Run) -> str:
    """Return the command with what makes it small, before where its output goes."""
    text = command.text
    for shown, stands_for in rule.words:
        text = re.sub(rf"(?<!\S){re.escape(shown)}(?!\S)", stands_for, text)
    words, arrow, file = text.partition(" > ")
    return " ".join(filter(None, (words, rule.more))) + arrow + file
