"""A clock that never turns back, whatever the wall clock does."""

from hypothesis import given
from hypothesis import strategies as st

from producers.clock import UnixClock

SECOND = 1_000_000_000


class Clocks:
    """Two clocks that a test moves."""

    def __init__(self) -> None:
        self.mono_ns = 5 * SECOND
        self.wall_ns = 1_700_000_000 * SECOND

    def pass_(self, ns: int, step_ns: int = 0) -> None:
        self.mono_ns += ns
        self.wall_ns += ns + step_ns


@given(st.lists(st.tuples(st.integers(0, SECOND), st.integers(-3 * SECOND, 3 * SECOND)), max_size=40))
def test_time_never_runs_backwards(moves: list[tuple[int, int]]) -> None:
    clocks = Clocks()
    clock = UnixClock(lambda: clocks.mono_ns, lambda: clocks.wall_ns)
    before = clock.now()
    for passed, step in moves:
        clocks.pass_(passed, step)
        assert clock.now() >= before
        clock.follow()
        before = clock.now()


def test_a_step_of_the_wall_clock_is_worn_off() -> None:
    clocks = Clocks()
    clock = UnixClock(lambda: clocks.mono_ns, lambda: clocks.wall_ns)
    clocks.pass_(SECOND, step_ns=-SECOND // 2)
    for _ in range(40):
        clock.follow()
        clocks.pass_(SECOND // 2)
    assert abs(clock.now() - clocks.wall_ns) < 1000
