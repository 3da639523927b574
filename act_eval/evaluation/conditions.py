"""The arms of an evaluation: one schedule per delay and per thing that the policy is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from act_eval.errors import UsageError
from act_eval.timing import (
    EXECUTORS,
    DelayModel,
    ExpertPrefix,
    Schedule,
    Shown,
    arm_name,
    describe_prefix,
    parse_prefix,
    parse_told,
)
from act_eval.types import PolicySpec

if TYPE_CHECKING:
    from act_eval.cli.evaluate import Flags


@dataclass(frozen=True, kw_only=True)
class Arms:
    """What runs, and what cannot."""

    schedules: Mapping[str, Schedule]
    """Name → schedule, in the order in which they begin."""
    left_out: tuple[str, ...]
    """Arms that cannot run, with the reason."""


def arms_of(flags: "Flags", spec: PolicySpec, delays: Sequence[DelayModel], foreseen: bool) -> Arms:
    """Return the arms that the flags ask for.

    An ablation that one delay does not allow is left out there, as long as another delay allows it.

    Args:
        flags: Of the command.
        spec: The policy's.
        delays: Each its own arm.
        foreseen: Whether the scripted expert's next commands can be found out.

    Raises:
        UsageError: or a child of it, naming the flag and what is allowed.
    """
    if not foreseen and any(isinstance(one.prefix, ExpertPrefix) for one in _shown(flags)):
        raise UsageError(f"--prefix expert needs an environment with the scripted expert; {flags.env} has none")
    schedules: dict[str, Schedule] = {}
    refused: dict[str, tuple[Shown, str]] = {}
    for delay in delays:
        for shown in _shown(flags):
            schedule = _schedule(flags, spec, delay, shown)
            if shown == Shown():
                schedule.check(spec)
            if reason := schedule.refusal(spec):
                refused[arm_name(schedule)] = shown, reason
            else:
                schedules[arm_name(schedule)] = schedule
    running = {schedule.shown for schedule in schedules.values()}
    for shown, reason in refused.values():
        if shown not in running:
            raise UsageError(reason)
    left_out = tuple(f"{name}: {reason}" for name, (_, reason) in refused.items())
    return Arms(schedules=schedules, left_out=left_out)


def _schedule(flags: "Flags", spec: PolicySpec, delay: DelayModel, shown: Shown) -> Schedule:
    name = flags.executor or ("rtc" if spec.takes_prefix else "naive")
    if name != "rtc" and flags.beyond_max_delay != "error":
        raise UsageError(f"--beyond-max-delay is for rtc, which alone is told a delay; this is {name}")
    if name != "rtc" and flags.told is not None and not shown.predicts:
        raise UsageError(f"--told is for rtc and for predicted joints, which alone need it; this is {name}")
    return Schedule(
        method=EXECUTORS[name](max(1, spec.chunk // 2) if flags.execute is None else flags.execute),
        delay=delay,
        told=None if flags.told is None else parse_told(flags.told),
        beyond_max_delay=flags.beyond_max_delay,
        timeout=flags.timeout,
        observation_delay=flags.observation_delay,
        actuation_delay=flags.actuation_delay,
        shown=shown,
    )


def _shown(flags: "Flags") -> list[Shown]:
    """Return what arms show, each once."""
    if not flags.prefix or not flags.observe:
        raise UsageError("--prefix and --observe need at least one value each, as in --prefix own pad")
    prefixes = {describe_prefix(prefix): prefix for prefix in map(parse_prefix, flags.prefix)}
    return [Shown(prefix=one, observe=observe) for one in prefixes.values() for observe in dict.fromkeys(flags.observe)]
