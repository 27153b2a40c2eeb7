"""What intensities must be before anyone is told: inside their limits, in order, one at a time."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from schemas.errors import InvalidMessage, SourceError
from schemas.side_input_codec import encode_grid
from schemas.side_inputs import GridIntensity

__all__ = ["checked"]


def checked(found: Iterable[GridIntensity], where: str) -> Sequence[GridIntensity]:
    """The intensities in the order of their time.

    Raises SourceError that names `where`, the field, the value and its limits, or the two intervals of one zone
    and basis that overlap.
    """
    known = sorted(found, key=lambda one: (one.zone, one.basis, one.resolution, one.valid_from_ns))
    of_series: dict[tuple[str, str, str], list[GridIntensity]] = defaultdict(list)
    for one in known:
        try:
            encode_grid(one)
        except InvalidMessage as error:
            raise SourceError(f"{where}: zone {one.zone!r}: {error}") from error
        of_series[one.zone, one.basis, one.resolution].append(one)
    for (zone, basis, _), series in of_series.items():
        for earlier, later in pairwise(series):
            if later.valid_from_ns < earlier.valid_to_ns:
                raise SourceError(
                    f"{where}: zone {zone!r}, {basis}: [{earlier.valid_from_ns}, {earlier.valid_to_ns}) and "
                    f"[{later.valid_from_ns}, {later.valid_to_ns}) ns overlap; one figure per moment is needed"
                )
    return known
