"""The policy input of a request: exactly what an ablation defines, and never a change of what runs."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_policies import Tagged, ToyPolicy, blank

from act_eval.errors import TimingError
from act_eval.executors import ChunkExecutor, Foresee, repeat_last
from act_eval.timing import (
    RTC,
    Ablation,
    CommittedPrefix,
    Constant,
    ConstantEstimate,
    ExpertPrefix,
    Naive,
    PadPrefix,
    PrefixAblation,
    Proprio,
    Schedule,
    ShuffledPrefix,
    Trace,
    WrongDelay,
    condition_name,
    condition_settings,
    describe_prefix,
    parse_prefix,
)
from act_eval.types import Actions, ChunkRequest

STEPS, SEED = 40, 11
OWN = CommittedPrefix()
ABLATIONS = (ExpertPrefix(), PadPrefix(), ShuffledPrefix(), WrongDelay(2), WrongDelay(-2))
EVERY = pytest.mark.parametrize("prefix", ABLATIONS, ids=lambda prefix: repr(prefix))
QUICK = settings(max_examples=25, deadline=None, derandomize=True)


def tagged() -> Tagged:
    return Tagged(10, window="shifted", max_delay=6)


def schedule(prefix: PrefixAblation = OWN, delay: int = 4, proprio: Proprio = "observed") -> Schedule:
    return Schedule(method=RTC(5), delay=Constant(delay), ablation=Ablation(prefix=prefix, proprio=proprio))


def foreseen(slot: int, steps: int) -> np.ndarray:
    return -100.0 * (slot + 1) - np.arange(steps, dtype=np.float32)[:, None]


def ran(
    policy: ToyPolicy, wanted: Schedule, steps: int = STEPS, seed: int = SEED, foresee: Foresee = foreseen
) -> list[Actions]:
    """Run one episode and return its actions."""
    executor = ChunkExecutor(policy, wanted, repeat_last, foresee=foresee, gripper_dims=(-1,))
    executor.reset([0], [seed])
    return [executor.act(np.array([t]), blank(1)) for t in range(steps)]


def asked(wanted: Schedule, seed: int = SEED) -> tuple[list[ChunkRequest], list[float]]:
    """Return the requests whose prefix has run to its end, the first of the episode left out, and what ran."""
    policy = tagged()
    commands = [float(actions.command[0, 0]) for actions in ran(policy, wanted, seed=seed)]
    first, *later = policy.requests
    assert first.estimated_delay.tolist() == [0]
    np.testing.assert_array_equal(first.prefix, 0)
    whole = [request for request in later if request.steps[0] + 7 < STEPS]
    assert len(whole) > 4
    return whole, commands


def assert_same_actions(one: Sequence[Actions], other: Sequence[Actions]) -> None:
    for a, b in zip(one, other, strict=True):
        for name, value in vars(a).items():
            assert name == "chunk_switch_effects" or np.array_equal(value, getattr(b, name)), name


def test_own_is_what_runs() -> None:
    requests, commands = asked(schedule())
    for request in requests:
        t = int(request.steps[0])
        assert request.estimated_delay.tolist() == [4]
        assert request.prefix_known is not None
        assert request.prefix_known.tolist() == [4]
        assert request.prefix[0, :, 0].tolist() == [*commands[t : t + 4], 0, 0]


def test_expert_is_what_is_foreseen_at_the_observation() -> None:
    requests, _ = asked(schedule(ExpertPrefix()))
    for request in requests:
        assert request.estimated_delay.tolist() == [4]
        assert request.prefix[0, :, 0].tolist() == [-100, -101, -102, -103, 0, 0]


def test_pad_tells_the_delay_and_none_of_the_commands() -> None:
    requests, _ = asked(schedule(PadPrefix()))
    for request in requests:
        assert request.estimated_delay.tolist() == [4]
        assert request.prefix_known is not None
        assert request.prefix_known.tolist() == [0]
        np.testing.assert_array_equal(request.prefix[0, :, 0], [np.nan] * 4 + [0, 0])


def test_shuffled_are_the_commands_of_which_none_keeps_its_place() -> None:
    requests, commands = asked(schedule(ShuffledPrefix()))
    orders = set()
    for request in requests:
        t, prefix = int(request.steps[0]), request.prefix[0, :4, 0].tolist()
        assert request.estimated_delay.tolist() == [4]
        assert sorted(prefix) == sorted(commands[t : t + 4])
        assert all(a != b for a, b in zip(prefix, commands[t : t + 4], strict=True))
        orders.add(tuple(np.argsort(prefix)))
    assert len(orders) > 1
    again, _ = asked(schedule(ShuffledPrefix()))
    other, _ = asked(schedule(ShuffledPrefix()), seed=SEED + 1)
    prefixes = [[request.prefix.tolist() for request in seen] for seen in (requests, again, other)]
    assert prefixes[0] == prefixes[1] != prefixes[2]


def test_a_delay_estimated_too_small_cuts_the_prefix() -> None:
    requests, commands = asked(schedule(WrongDelay(-3)))
    for request in requests:
        t = int(request.steps[0])
        assert request.estimated_delay.tolist() == [1]
        assert request.prefix[0, :, 0].tolist() == [commands[t], 0, 0, 0, 0, 0]


def test_a_delay_estimated_too_large_extends_the_prefix_by_what_the_plan_has() -> None:
    requests, commands = asked(schedule(WrongDelay(2)))
    left = []
    for request in requests:
        t = int(request.steps[0])
        last = commands[t + 3]
        left.append(9 - int(last) % 100)
        assert request.estimated_delay.tolist() == [6]
        # The running chunk would go on with its next index; after its tenth action that one would be held.
        beyond = [last + min(1, left[-1]), last + min(2, left[-1])]
        assert request.prefix[0, :, 0].tolist() == [*commands[t : t + 4], *beyond]
    assert min(left) == 1
    assert max(left) > 2


def test_a_wrong_delay_is_estimated_also_where_nothing_is_committed() -> None:
    policy = tagged()
    commands = [float(actions.command[0, 0]) for actions in ran(policy, schedule(WrongDelay(2), delay=0))]
    for request in policy.requests[1:-1]:
        assert request.estimated_delay.tolist() == [2]
        before = commands[int(request.steps[0]) - 1]
        assert request.prefix[0, :2, 0].tolist() == [before + 1, before + 2]


@EVERY
def test_what_runs_is_untouched(prefix: PrefixAblation) -> None:
    assert_same_actions(ran(tagged(), schedule(prefix)), ran(tagged(), schedule()))


@QUICK
@given(
    prefix=st.sampled_from(ABLATIONS),
    s=st.integers(3, 9),
    delays=st.lists(st.one_of(st.integers(0, 9), st.none()), min_size=1, max_size=10),
    proprio=st.sampled_from(["observed", "predicted", "predicted-with-gripper"]),
)
def test_what_runs_is_untouched_by_late_early_and_lost_answers(
    prefix: PrefixAblation, s: int, delays: list[int | None], proprio: Proprio
) -> None:
    def wanted(ablation: Ablation) -> Schedule:
        trace = Trace(episodes={SEED: tuple(([*delays, 1] * STEPS)[:STEPS])})
        return Schedule(method=RTC(s), delay=trace, delay_estimator=ConstantEstimate(3), timeout=9, ablation=ablation)

    own, ablated = tagged(), tagged()
    expected = ran(own, wanted(Ablation()))
    assert_same_actions(ran(ablated, wanted(Ablation(prefix=prefix, proprio=proprio))), expected)
    offset = prefix.offset if isinstance(prefix, WrongDelay) else 0
    for plain, changed in zip(own.requests[1:], ablated.requests[1:], strict=True):
        assert changed.steps.tolist() == plain.steps.tolist()
        assert changed.estimated_delay.tolist() == [3 + offset]


def test_the_experts_prefix_needs_somebody_who_foresees_it() -> None:
    with pytest.raises(TimingError, match="prefix 'expert' needs an environment whose scripted expert can look ahead"):
        ChunkExecutor(tagged(), schedule(ExpertPrefix()), repeat_last)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (schedule(PadPrefix(), delay=0), "prefix 'pad' needs 1 committed command or more; the estimated delay is 0"),
        (
            schedule(ShuffledPrefix(), delay=1),
            "prefix 'shuffled' needs 2 committed commands or more; the estimated delay is 1",
        ),
        (schedule(WrongDelay(3)), "prefix 'wrong_delay:3' gives estimated delay 7; the policy takes 0 .. 6"),
        (schedule(WrongDelay(-5)), "prefix 'wrong_delay:-5' gives estimated delay -1; the policy takes 0 .. 6"),
        (
            Schedule(method=Naive(5), ablation=Ablation(prefix=PadPrefix())),
            "prefix 'pad' needs rtc, the only method with a prefix; got naive",
        ),
        (
            Schedule(method=RTC(5), delay=Constant(2), observation_delay=1, ablation=Ablation(prefix=ExpertPrefix())),
            "prefix 'expert' needs observation delay 0 and actuation delay 0",
        ),
        (
            schedule(delay=0, proprio="predicted"),
            "joints 'predicted' equal the observed joints at estimated delay 0",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_bound(refused: Schedule, message: str) -> None:
    assert refused.refusal(tagged().spec) == message


def test_condition_names_hold_the_ablation_unless_it_is_the_default() -> None:
    ablations = [
        Ablation(prefix=prefix, proprio=proprio)
        for prefix in (OWN, *ABLATIONS)
        for proprio in ("observed", "predicted")
    ]
    names = [condition_name(Schedule(method=RTC(5), delay=Constant(4), ablation=one)) for one in ablations]
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
    settings = condition_settings(schedule(WrongDelay(-2), proprio="predicted-with-gripper"))
    assert {key: settings[key] for key in ("prefix", "proprio")} == {
        "prefix": "wrong_delay:-2",
        "proprio": "predicted-with-gripper",
    }
    assert not {"prefix", "proprio"} & condition_settings(schedule()).keys()


@EVERY
def test_the_text_of_a_prefix_means_the_same_prefix(prefix: PrefixAblation) -> None:
    assert parse_prefix(describe_prefix(prefix)) == prefix
