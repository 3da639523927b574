"""What policies are shown of a request: exactly what an ablation defines, and never a change of what runs."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_envs import HookedWalk
from toy_policies import Tagged, ToyPolicy, blank, run

from act_eval.errors import SimulationError, TimingError, UsageError
from act_eval.executors import ChunkExecutor, Foresee
from act_eval.rollout import Episode, hold_of, rollout
from act_eval.seeding import Stream, stream
from act_eval.timing import (
    RTC,
    Constant,
    ExpertPrefix,
    Lognormal,
    Naive,
    Observe,
    OwnPrefix,
    PadPrefix,
    PrefixShown,
    Schedule,
    Shown,
    ShuffledPrefix,
    ToldConstant,
    Trace,
    WrongDelay,
    arm_name,
    arm_settings,
    describe_prefix,
    parse_prefix,
)
from act_eval.types import ActionChunks, Actions, ChunkRequest, EpisodeRecord, Observation, PolicySpec, StepRecord

STEPS, SEED = 40, 11
OWN = OwnPrefix()
ABLATIONS = (ExpertPrefix(), PadPrefix(), ShuffledPrefix(), WrongDelay(2), WrongDelay(-2))
EVERY = pytest.mark.parametrize("prefix", ABLATIONS, ids=lambda prefix: repr(prefix))
QUICK = settings(max_examples=40, deadline=None, derandomize=True)


def tagged() -> Tagged:
    return Tagged(10, window="shifted", max_delay=6)


def schedule(prefix: PrefixShown = OWN, delay: int = 4, observe: Observe = "present") -> Schedule:
    return Schedule(method=RTC(5), delay=Constant(delay), shown=Shown(prefix=prefix, observe=observe))


def foreseen(slot: int, steps: int) -> np.ndarray:
    return -100.0 * (slot + 1) - np.arange(steps, dtype=np.float32)[:, None]


def ran(
    policy: ToyPolicy, wanted: Schedule, steps: int = STEPS, seed: int = SEED, foresee: Foresee = foreseen
) -> list[Actions]:
    """Run one episode and return its actions."""
    executor = ChunkExecutor(policy, wanted, foresee=foresee)
    executor.reset([0], [seed])
    return [executor.act(np.array([t]), blank(1)) for t in range(steps)]


def asked(wanted: Schedule, seed: int = SEED) -> tuple[list[ChunkRequest], list[float]]:
    """Return the requests whose prefix has run to its end, the first of the episode left out, and what ran."""
    policy = tagged()
    commands = [float(actions.command[0, 0]) for actions in ran(policy, wanted, seed=seed)]
    first, *later = policy.requests
    assert first.told_delay.tolist() == [0]
    np.testing.assert_array_equal(first.prefix, 0)
    whole = [request for request in later if request.steps[0] + 7 < STEPS]
    assert len(whole) > 4
    return whole, commands


def assert_same_actions(one: Sequence[Actions], other: Sequence[Actions]) -> None:
    for a, b in zip(one, other, strict=True):
        for name, value in vars(a).items():
            if name != "takeovers":
                np.testing.assert_array_equal(value, getattr(b, name), err_msg=name)


def test_own_is_what_runs() -> None:
    requests, commands = asked(schedule())
    for request in requests:
        t = int(request.steps[0])
        assert request.told_delay.tolist() == [4]
        assert request.prefix_known is not None
        assert request.prefix_known.tolist() == [4]
        assert request.prefix[0, :, 0].tolist() == [*commands[t : t + 4], 0, 0]


def test_expert_is_what_is_foreseen_at_the_observation() -> None:
    requests, _ = asked(schedule(ExpertPrefix()))
    for request in requests:
        assert request.told_delay.tolist() == [4]
        assert request.prefix[0, :, 0].tolist() == [-100, -101, -102, -103, 0, 0]


def test_pad_tells_the_delay_and_none_of_the_commands() -> None:
    requests, _ = asked(schedule(PadPrefix()))
    for request in requests:
        assert request.told_delay.tolist() == [4]
        assert request.prefix_known is not None
        assert request.prefix_known.tolist() == [0]
        np.testing.assert_array_equal(request.prefix[0, :, 0], [np.nan] * 4 + [0, 0])


def test_shuffled_are_the_commands_of_which_none_keeps_its_place() -> None:
    requests, commands = asked(schedule(ShuffledPrefix()))
    orders = set()
    for request in requests:
        t, shown = int(request.steps[0]), request.prefix[0, :4, 0].tolist()
        assert request.told_delay.tolist() == [4]
        assert sorted(shown) == sorted(commands[t : t + 4])
        assert all(a != b for a, b in zip(shown, commands[t : t + 4], strict=True))
        orders.add(tuple(np.argsort(shown)))
    assert len(orders) > 1
    again, _ = asked(schedule(ShuffledPrefix()))
    other, _ = asked(schedule(ShuffledPrefix()), seed=SEED + 1)
    prefixes = [[request.prefix.tolist() for request in seen] for seen in (requests, again, other)]
    assert prefixes[0] == prefixes[1] != prefixes[2]


def test_a_delay_told_too_small_cuts_the_prefix() -> None:
    requests, commands = asked(schedule(WrongDelay(-3)))
    for request in requests:
        t = int(request.steps[0])
        assert request.told_delay.tolist() == [1]
        assert request.prefix[0, :, 0].tolist() == [commands[t], 0, 0, 0, 0, 0]


def test_a_delay_told_too_large_extends_the_prefix_by_what_the_plan_has() -> None:
    requests, commands = asked(schedule(WrongDelay(2)))
    left = []
    for request in requests:
        t = int(request.steps[0])
        last = commands[t + 3]
        left.append(9 - int(last) % 100)
        assert request.told_delay.tolist() == [6]
        # The running chunk would go on with its next index; after its tenth action that one would be held.
        beyond = [last + min(1, left[-1]), last + min(2, left[-1])]
        assert request.prefix[0, :, 0].tolist() == [*commands[t : t + 4], *beyond]
    assert min(left) == 1
    assert max(left) > 2


def test_a_wrong_delay_is_told_also_where_nothing_is_committed() -> None:
    policy = tagged()
    commands = [float(actions.command[0, 0]) for actions in ran(policy, schedule(WrongDelay(2), delay=0))]
    for request in policy.requests[1:-1]:
        assert request.told_delay.tolist() == [2]
        before = commands[int(request.steps[0]) - 1]
        assert request.prefix[0, :2, 0].tolist() == [before + 1, before + 2]


@EVERY
def test_what_runs_is_untouched(prefix: PrefixShown) -> None:
    assert_same_actions(ran(tagged(), schedule(prefix)), ran(tagged(), schedule()))


@QUICK
@given(
    prefix=st.sampled_from(ABLATIONS),
    s=st.integers(3, 9),
    delays=st.lists(st.one_of(st.integers(0, 9), st.none()), min_size=1, max_size=10),
    observe=st.sampled_from(["present", "predicted", "predicted_all"]),
)
def test_what_runs_is_untouched_by_late_early_and_lost_answers(
    prefix: PrefixShown, s: int, delays: list[int | None], observe: Observe
) -> None:
    def wanted(shown: Shown) -> Schedule:
        trace = Trace(episodes={SEED: tuple([*delays, 1] * STEPS)})
        return Schedule(method=RTC(s), delay=trace, told=ToldConstant(3), timeout=9, shown=shown)

    own, shown = tagged(), tagged()
    expected = ran(own, wanted(Shown()))
    assert_same_actions(ran(shown, wanted(Shown(prefix=prefix, observe=observe))), expected)
    offset = prefix.offset if isinstance(prefix, WrongDelay) else 0
    for plain, changed in zip(own.requests[1:], shown.requests[1:], strict=True):
        assert changed.steps.tolist() == plain.steps.tolist()
        assert changed.told_delay.tolist() == [3 + offset]


class Joined(ToyPolicy):
    """Two joints, the second one the gripper; its chunk is 100·k + i for both."""

    def __init__(self, window: str, max_delay: int | None) -> None:
        super().__init__(10, window=window, max_delay=max_delay)  # pyright: ignore[reportArgumentType]
        self.spec = PolicySpec(**{**vars(self.spec), "action_dim": 2})

    def predict(self, request: ChunkRequest) -> ActionChunks:
        self.requests.append(request)
        numbers = 100 * (len(self.requests) - 1) + np.arange(10, dtype=np.float32)
        return ActionChunks(np.stack([numbers, numbers + 0.5], axis=1)[None])


def joined(policy: ToyPolicy, wanted: Schedule) -> np.ndarray:
    """Run one episode whose joints are (-t, -t - 0.5) at step t; return the commands (STEPS, 2)."""
    executor = ChunkExecutor(policy, wanted)
    executor.reset([0], [SEED])
    commands = []
    for t in range(STEPS):
        joints = np.array([[-t, -t - 0.5]], np.float32)
        seen = Observation(pixels={}, agent_pos=joints, environment_state=None)
        commands.append(executor.act(np.array([t]), seen).command[0])
    return np.array(commands)


@pytest.mark.parametrize("observe", ["predicted", "predicted_all"])
@pytest.mark.parametrize("kind", [Naive, RTC])
def test_predicted_joints_are_the_last_committed_command(kind: type, observe: Observe) -> None:
    policy = Joined("shifted", 6)
    wanted = Schedule(method=kind(5), delay=Constant(3), shown=Shown(observe=observe))
    commands = joined(policy, wanted)
    first, *later = policy.requests
    assert first.observation.agent_pos.tolist() == [[0, -0.5]]
    for request in later[:-1]:
        t = int(request.steps[0])
        gripper = -t - 0.5 if observe == "predicted" else commands[t + 2, 1]
        assert request.observation.agent_pos.tolist() == [[commands[t + 2, 0], gripper]]
        if kind is RTC:
            np.testing.assert_array_equal(request.prefix[0, :3], commands[t : t + 3])
            np.testing.assert_array_equal(request.last_action[0], commands[t - 1])
        else:
            assert request.told_delay.tolist() == [0]
            np.testing.assert_array_equal(request.prefix, 0)
            np.testing.assert_array_equal(request.last_action[0], commands[t + 2])


@pytest.mark.parametrize("d", range(7))
@pytest.mark.parametrize("s", range(1, 11))
def test_naive_with_predicted_joints_runs_as_rtc_over_a_shifted_window(s: int, d: int) -> None:
    """Joints of step t + d ask for the actions from t + d on, whatever the window says of joints of step t."""
    wanted = Schedule(method=Naive(s), delay=Constant(d), shown=Shown(observe="predicted_all"))
    reference = Schedule(method=RTC(s), delay=Constant(d))
    policy = Tagged(10)
    if d == 0:
        with pytest.raises(TimingError, match="are the present ones where the told delay is 0"):
            wanted.check(policy.spec)
    elif d <= s:
        assert run(policy, wanted, STEPS) == run(Tagged(10, window="shifted", max_delay=10), reference, STEPS)
    else:
        with pytest.raises(TimingError, match=f"naive needs d <= s <= C, .*got s = {s}"):
            wanted.check(policy.spec)


class Follower(ToyPolicy):
    """Takes the joints for the command before and counts on from there: alone right if its joints fit its window."""

    def chunk(self, request: ChunkRequest, n: int) -> np.ndarray:
        return request.observation.agent_pos[n, 0] + 1 + np.arange(self.spec.chunk)


@QUICK
@given(
    s=st.integers(1, 10),
    delays=st.lists(st.integers(0, 12), min_size=1, max_size=12),
    age=st.integers(0, 3),
    observe=st.sampled_from(["present", "predicted_all"]),
)
def test_the_window_fits_the_joints_under_any_delay(s: int, delays: list[int], age: int, observe: Observe) -> None:
    """Joints follow their command at once: then the action for step t is t, as far as chunks reach."""
    trace = Trace(episodes={SEED: tuple(delays * STEPS)})
    wanted = Schedule(method=Naive(s), delay=trace, observation_delay=age, shown=Shown(observe=observe))
    executor = ChunkExecutor(Follower(10), wanted)
    executor.reset([0], [SEED])
    last, starved = -1.0, 0
    for t in range(STEPS):
        joints = np.full((1, 1), last, np.float32)
        actions = executor.act(np.array([t]), Observation(pixels={}, agent_pos=joints, environment_state=None))
        # A held step costs one count: everything that is planned after it was counted without it.
        starved += int(actions.starved[0])
        last = float(actions.command[0, 0])
        assert t - starved <= last <= t
        assert starved or last == t


class Reader:
    """Walks towards the goal, drawn aside by its prefix as far as it may be read and by the joints."""

    spec = PolicySpec(chunk=6, action_dim=2, window="shifted", takes_prefix=True, max_delay=5, inputs={})

    def __init__(self) -> None:
        self.rngs: dict[int, np.random.Generator] = {}

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        for row, seed in zip(rows, seeds, strict=True):
            self.rngs[row] = stream(seed, Stream.POLICY)

    def predict(self, request: ChunkRequest) -> ActionChunks:
        return ActionChunks(np.stack([self.row(request, n) for n in range(len(request.rows))]))

    def row(self, request: ChunkRequest, n: int) -> np.ndarray:
        assert request.observation.environment_state is not None
        assert request.prefix_known is not None
        known = request.prefix[n, : request.prefix_known[n]]
        drift = (known * np.arange(1, len(known) + 1)[:, None]).sum(axis=0) / 50
        drift += request.observation.agent_pos[n] / 20 + request.told_delay[n] / 50
        noise = self.rngs[int(request.rows[n])].normal(0, 0.4, (6, 2))
        return (request.observation.environment_state[n] + noise + drift).astype(np.float32)


def of_position(envs: Sequence[gym.Env]) -> Foresee:
    """A foresight that depends on the slot's environment."""
    return lambda slot, steps: np.tile(envs[slot].unwrapped.position, (steps, 1)).astype(np.float32)  # pyright: ignore


EPISODES = [Episode(number, 500 + 3 * number) for number in range(7)]


class Commands:
    """Keeps what runs, by episode."""

    def __init__(self) -> None:
        self.of: dict[int, bytes] = {}

    def on_step(self, record: StepRecord) -> None:
        self.of[record.episode] = self.of.get(record.episode, b"") + record.command.tobytes()

    def on_episode_end(self, record: EpisodeRecord) -> None:
        pass


def walked(slots: int, wanted: Schedule, episodes: Sequence[Episode]) -> dict[int, tuple[EpisodeRecord, bytes]]:
    """Return each episode's record and commands."""
    envs = [HookedWalk() for _ in range(slots)]
    executor = ChunkExecutor(Reader(), wanted, hold_of(envs), foresee=of_position(envs))
    commands = Commands()
    return {one.episode: (one, commands.of[one.episode]) for one in rollout(envs, executor, episodes, (commands,))}


@pytest.mark.parametrize(
    "shown",
    [*(Shown(prefix=prefix) for prefix in ABLATIONS), Shown(observe="predicted"), Shown(observe="predicted_all")],
    ids=repr,
)
def test_an_episode_is_the_same_in_any_batch_and_differs_from_the_plain_arm(shown: Shown) -> None:
    def wanted(one: Shown) -> Schedule:
        return Schedule(method=RTC(3), delay=Lognormal(0, 2, 0.6), told=ToldConstant(3), shown=one)

    alone = walked(1, wanted(shown), EPISODES)
    assert len(alone) == len(EPISODES)
    for slots in (2, 5):
        assert walked(slots, wanted(shown), EPISODES[::-1]) == alone
    assert alone != walked(1, wanted(Shown()), EPISODES), "the policy reads what it is shown"


def test_a_policy_that_reads_padding_is_named() -> None:
    class Careless(Reader):
        def row(self, request: ChunkRequest, n: int) -> np.ndarray:
            return super().row(request, n) + request.prefix[n].sum()

    envs = [HookedWalk()]
    executor = ChunkExecutor(Careless(), schedule(PadPrefix(), delay=2), hold_of(envs))
    [record] = rollout(envs, executor, EPISODES[:1])
    assert record.outcome == "policy_error"
    assert record.error is not None
    assert record.error.startswith("the policy answered with a non-finite action: nan")


def test_an_expert_that_cannot_be_foreseen_makes_the_episode_invalid_and_no_other() -> None:
    envs = [HookedWalk(), HookedWalk()]

    def fails_in_slot_1(slot: int, steps: int) -> np.ndarray:
        if slot == 1:
            raise SimulationError("physics is no longer finite at t = 0.3 s")
        return np.zeros((steps, 2), np.float32)

    executor = ChunkExecutor(Reader(), schedule(ExpertPrefix(), delay=2), hold_of(envs), foresee=fails_in_slot_1)
    broken, whole = sorted(rollout(envs, executor, EPISODES[:2]), key=lambda record: record.outcome != "invalid")
    assert broken.episode == 1
    assert broken.error == "foreseeing the expert: physics is no longer finite at t = 0.3 s"
    assert broken.steps > 0
    assert whole.outcome in ("success", "missed")
    assert whole.error is None


def test_predicted_joints_need_commands_of_their_length() -> None:
    executor = ChunkExecutor(
        Joined("same", None), Schedule(method=Naive(5), delay=Constant(2), shown=Shown(observe="predicted"))
    )
    executor.reset([0], [SEED])
    for t in range(5):
        executor.act(np.array([t]), blank(1))
    with pytest.raises(UsageError, match=r"agent_pos has shape \(1,\), a command \(2,\)"):
        executor.act(np.array([5]), blank(1))


def test_the_experts_prefix_needs_somebody_who_foresees_it() -> None:
    with pytest.raises(TimingError, match="prefix 'expert' needs an environment that the scripted expert can foresee"):
        ChunkExecutor(tagged(), schedule(ExpertPrefix()))


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (schedule(PadPrefix(), delay=0), "prefix 'pad' needs 1 committed command or more; the told delay is 0"),
        (
            schedule(ShuffledPrefix(), delay=1),
            "prefix 'shuffled' needs 2 committed commands or more; the told delay is 1",
        ),
        (schedule(WrongDelay(3)), "prefix 'wrong_delay:3' would tell delay 7; the policy takes 0 .. 6"),
        (schedule(WrongDelay(-5)), "prefix 'wrong_delay:-5' would tell delay -1; the policy takes 0 .. 6"),
        (
            Schedule(method=Naive(5), shown=Shown(prefix=PadPrefix())),
            "prefix 'pad' needs rtc, which alone hands over a prefix; got naive",
        ),
        (
            Schedule(method=RTC(5), delay=Constant(2), observation_delay=1, shown=Shown(prefix=ExpertPrefix())),
            "prefix 'expert' counts from the present: it needs observation delay 0 and actuation delay 0",
        ),
        (schedule(delay=0, observe="predicted"), "joints 'predicted' are the present ones where the told delay is 0"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_bound(refused: Schedule, message: str) -> None:
    assert refused.refusal(tagged().spec) == message


def test_arms_are_named_after_what_they_show_and_the_plain_one_is_not() -> None:
    shown = [
        Shown(prefix=prefix, observe=observe) for prefix in (OWN, *ABLATIONS) for observe in ("present", "predicted")
    ]
    names = [arm_name(Schedule(method=RTC(5), delay=Constant(4), shown=one)) for one in shown]
    assert names == [
        "rtc_d4_s5",
        "rtc_d4_s5_predicted",
        "rtc_d4_s5_expert",
        "rtc_d4_s5_expert_predicted",
        "rtc_d4_s5_pad",
        "rtc_d4_s5_pad_predicted",
        "rtc_d4_s5_shuffled",
        "rtc_d4_s5_shuffled_predicted",
        "rtc_d4_s5_wrong_delay2",
        "rtc_d4_s5_wrong_delay2_predicted",
        "rtc_d4_s5_wrong_delay-2",
        "rtc_d4_s5_wrong_delay-2_predicted",
    ]
    settings = arm_settings(schedule(WrongDelay(-2), observe="predicted_all"))
    assert {key: settings[key] for key in ("prefix", "observe")} == {
        "prefix": "wrong_delay:-2",
        "observe": "predicted_all",
    }
    assert not {"prefix", "observe"} & arm_settings(schedule()).keys()


@EVERY
def test_the_text_of_a_prefix_means_the_same_prefix(prefix: PrefixShown) -> None:
    assert parse_prefix(describe_prefix(prefix)) == prefix


def test_predicted_joints_under_naive_are_those_of_the_told_step() -> None:
    """Told too much, an early answer waits for the step of its joints; told too little, it drops what is past."""
    for told, begins in ((4, 4), (1, 2)):
        shown = Shown(observe="predicted_all")
        wanted = Schedule(method=Naive(6), delay=Constant(2), told=ToldConstant(told), shown=shown)
        assert arm_name(wanted) == f"naive_d2_s6_told{told}_predicted_all"
        assert arm_settings(wanted)["told"] == f"constant:steps={told}"
        commands = run(Tagged(12), wanted, 6 + begins + 2)
        first = 100 + begins - told
        assert commands == [*range(6 + begins), first, first + 1]
