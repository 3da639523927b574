"""The reporter of an evaluation: lines, phases and the progress of its episodes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from act_eval.types import EpisodeRecord

OnCount = Callable[[int, int], None]
"""(done, total) of a phase that counts."""


class EpisodeProgress(Protocol):
    """Receives the progress of the episodes of all conditions."""

    def ended(self, condition: str, record: EpisodeRecord) -> None:
        """Receive an episode that has just ended."""

    def stepped(self, condition: str, steps: int) -> None:
        """Receive the number of control steps of a condition since the last call."""


class Reporter(Protocol):
    """Receives the reports of an evaluation; the bodies here drop them."""

    def line(self, text: str) -> None:
        """Receive a line."""

    def phase(self, text: str) -> AbstractContextManager[OnCount]:
        """Enclose a phase such as loading."""
        return nullcontext(lambda _done, _total: None)

    @contextmanager
    def episodes(
        self, finished: Mapping[str, Sequence[EpisodeRecord]], episodes: int, horizons: Mapping[str, int]
    ) -> Iterator[EpisodeProgress]:
        """Enclose the run of the episodes.

        Args:
            finished: condition → records of episodes that finished earlier.
            episodes: number per condition, as far as they run here.
            horizons: condition → horizon [control steps].
        """
        yield _Uncounted()


class _Uncounted(EpisodeProgress):
    """Drops the progress."""


class Silent(Reporter):
    """Reports nothing."""


class Lines(Reporter):
    """Prints only lines, for the log of a job."""

    def line(self, text: str) -> None:
        print(text, flush=True)
