"""Steps from engines that tell each row's context: what enters and what goes on is found by comparison."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from producers.hooks.contract import Admission, Entry, Step
from schemas.iterations import NORMAL

__all__ = ["Row", "StepMaker"]


@dataclass(frozen=True, slots=True)
class Row:
    """One request in one pass, as an engine tells it."""

    key: str
    new_tokens: int
    context_tokens: int
    """In the KV cache before the pass."""
    emitted: int
    admission: Admission
    drafts: int = 0
    rejected: int = 0


class StepMaker:
    """Remembers where each request's context should be: a row that starts elsewhere has entered anew."""

    def __init__(self) -> None:
        self._expected: dict[str, int] = {}

    def step(
        self,
        start_ns: int,
        end_ns: int,
        rows: Sequence[Row],
        *,
        finished: Collection[str] = (),
        kind: int = NORMAL,
        padded_tokens: int = 0,
    ) -> Step:
        """One pass; `finished` names requests that do not run any more, this pass included."""
        for key in finished:
            self._expected.pop(key, None)
        entered = {}
        for row in rows:
            if self._expected.get(row.key) != row.context_tokens:
                entered[row.key] = Entry(row.context_tokens, row.admission)
            self._expected[row.key] = row.context_tokens + row.new_tokens - row.rejected
        return Step(
            start_ns=start_ns,
            end_ns=end_ns,
            new_tokens={row.key: row.new_tokens for row in rows},
            total_tokens=sum(row.new_tokens for row in rows),
            entered=entered,
            finished=finished,
            drafts={row.key: row.drafts for row in rows if row.drafts},
            rejected={row.key: row.rejected for row in rows if row.rejected},
            emitted={row.key: row.emitted for row in rows if row.emitted},
            kind=kind,
            padded_tokens=padded_tokens,
        )
