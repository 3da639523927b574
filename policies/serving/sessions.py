"""What a server keeps of its clients, so that a line may break without changing an answer.

Each client has rows of its own in the one policy, and the answer to its last question is kept: a question that
comes again, because the line broke before its answer arrived, is answered and not asked a second time.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from act_eval.errors import RemoteError
from act_eval.policies.serving.protocol import Question
from act_eval.types import ChunkPolicy, ChunkRequest

MOST_SESSIONS = 256
"""The one that asked longest ago is forgotten."""

Frame = bytes | str
"""Text only where a plain client is told of an error."""
Ask = Callable[[Mapping[int, int], ChunkRequest], Frame]
"""(row → seed of the episodes that begin, request), both in the policy's own rows → the answer."""


@dataclass
class _Session:
    rows: dict[int, int] = field(default_factory=dict)
    """The client's row → the policy's."""
    number: int = -1
    answer: Frame = b""


class Sessions:
    """One policy for many clients; calls must not overlap."""

    def __init__(self, policy: ChunkPolicy) -> None:
        # Whoever does not say is taken to remember episodes: to forget one unnoticed would falsify its result.
        self._remembers = getattr(policy, "remembers", True)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._fresh_rows = count()

    def answer(self, question: Question, ask: Ask) -> Frame:
        """Return the answer to a question, that of the last time where it comes again.

        Raises:
            RemoteError: if the policy remembers episodes and does not know one of the question's.
        """
        session = self._sessions.setdefault(question.session, _Session())
        self._sessions.move_to_end(question.session)
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        if question.number != session.number:
            rows = self._rows(session, question)
            request = replace(question.request, rows=np.array([rows[r] for r in question.request.rows], np.int64))
            session.answer = ask({rows[row]: seed for row, seed in question.resets.items()}, request)
            session.number = question.number
        return session.answer

    def _rows(self, session: _Session, question: Question) -> Mapping[int, int]:
        """Return the client's row → the policy's, new rows included."""
        asking = question.request.rows.tolist()
        forgotten = [row for row in asking if row not in session.rows and row not in question.resets]
        if forgotten and self._remembers:
            raise RemoteError(
                f"row {forgotten[0]} is in the middle of an episode that this server does not know: the policy "
                "remembers its episodes, and the server was started anew or has forgotten this client"
            )
        for row in (*question.resets, *asking):
            if row not in session.rows:
                session.rows[row] = next(self._fresh_rows)
        return session.rows
