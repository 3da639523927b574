"""How an evaluation reports what it does: lines, phases and the progress of its episodes. It writes nowhere itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from act_eval.types import EpisodeRecord

OnCount = Callable[[int, int], None]
"""(done, total) of a phase that counts."""


class EpisodeProgress(Protocol):
    """Receives the progress of the episodes of all conditions."""

    def ended(self, condition: str, record: EpisodeRecord) -> None:
        """Take an episode that has just ended."""
        ...

    def stepped(self, condition: str, steps: int) -> None:
        """Take the control steps that a condition's episodes have taken since the last call."""
        ...


class Reporter(Protocol):
    """Receives what an evaluation reports."""

    def line(self, text: str) -> None:
        """Take a line for the reader."""
        ...

    def phase(self, text: str) -> AbstractContextManager[OnCount]:
        """Take the begin and the end of a phase that takes a while, such as loading."""
        ...

    def episodes(
        self, finished: Mapping[str, Sequence[EpisodeRecord]], episodes: int, horizons: Mapping[str, int]
    ) -> AbstractContextManager[EpisodeProgress]:
        """Take the progress of episodes.

        Args:
            finished: condition → records of episodes that have finished before.
            episodes: of each condition, as far as they run here.
            horizons: condition → most control steps of an episode.
        """
        ...


class Silent:
    """Reports nothing."""

    def line(self, text: str) -> None:
        """Drop a line."""

    def phase(self, text: str) -> AbstractContextManager[OnCount]:
        """Report nothing."""
        return nullcontext(lambda _done, _total: None)

    @contextmanager
    def episodes(
        self, finished: Mapping[str, Sequence[EpisodeRecord]], episodes: int, horizons: Mapping[str, int]
    ) -> Iterator[EpisodeProgress]:
        """Report nothing."""
        yield _Uncounted()


class Lines(Silent):
    """Prints lines alone, as for the log of a job."""

    def line(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)


class _Uncounted:
    def ended(self, condition: str, record: EpisodeRecord) -> None:
        pass

    def stepped(self, condition: str, steps: int) -> None:
        pass
