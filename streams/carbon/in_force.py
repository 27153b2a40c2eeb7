"""Which factor of a kind is in force for a site, zone or GPU at a moment: its own, else the default's."""

from bisect import bisect_right
from collections.abc import Iterable

from schemas.factors import Factor

__all__ = ["Factors"]


class Factors:
    """Every version of every factor; of two that begin at once the higher version counts. Immutable once made."""

    def __init__(self, known: Iterable[Factor]) -> None:
        self._histories: dict[tuple[str, str], dict[int, Factor]] = {}
        for one in known:
            starts = self._histories.setdefault((one.kind, one.scope), {})
            held = starts.get(one.effective_from_ns)
            if held is None or one.factor_version > held.factor_version:
                starts[one.effective_from_ns] = one

    def at(self, kind: str, scope: str, instant_ns: int) -> Factor | None:
        """The factor of `scope`, or of `default` where its own has not begun; None where neither has."""
        for name in (scope, "default"):
            starts = self._histories.get((kind, name), {})
            ordered = sorted(starts)
            at = bisect_right(ordered, instant_ns)
            if at:
                return starts[ordered[at - 1]]
        return None

    def value(self, kind: str, scope: str, instant_ns: int) -> float:
        """The figure of `at`; nan where there is none."""
        found = self.at(kind, scope, instant_ns)
        return found.value if found else float("nan")

    def has(self, kind: str, scope: str) -> bool:
        """Whether anything of this kind is on record for `scope` itself, at any time."""
        return (kind, scope) in self._histories

    def scopes(self, *kinds: str) -> list[str]:
        """Every scope but the default for which one of `kinds` is on record."""
        return sorted({scope for kind, scope in self._histories if kind in kinds and scope != "default"})

    def edges_ns(self, kind: str, scope: str) -> set[int]:
        """Instants at which the factor may change."""
        return {start for name in (scope, "default") for start in self._histories.get((kind, name), {})}
