"""When what was announced so far is ingested: by bytes, by count, and by age."""

from __future__ import annotations

from typing import NamedTuple


class GatherLimits(NamedTuple):
    """What ends a gathering.

    Attributes:
        max_bytes: Expected bytes, decompressed.
        max_objects: Objects.
        max_age_s: Seconds that the first object has waited.
    """

    max_bytes: int
    max_objects: int
    max_age_s: float


class Gathered(NamedTuple):
    """What was gathered so far.

    Attributes:
        bytes: Expected bytes of all objects, decompressed.
        objects: How many they are.
        first_s: When the first one came, on a clock that only goes forward; in seconds.
    """

    bytes: int = 0
    objects: int = 0
    first_s: float = 0.0

    def plus(self, expected_bytes: int, now_s: float) -> Gathered:
        """This with one more object.

        Example:
            >>> Gathered().plus(10, 7.0).plus(5, 9.0)
            Gathered(bytes=15, objects=2, first_s=7.0)
        """
        first_s = self.first_s if self.objects else now_s
        return Gathered(self.bytes + expected_bytes, self.objects + 1, first_s)


def wait_s(gathered: Gathered, limits: GatherLimits, now_s: float) -> float | None:
    """How many seconds more to gather before all of it is ingested.

    Args:
        gathered: What there is.
        limits: What ends a gathering.
        now_s: The present, on the clock of `Gathered.first_s`.

    Returns:
        0 if it is to be ingested now, None if nothing was gathered yet.

    Example:
        >>> limits = GatherLimits(max_bytes=100, max_objects=3, max_age_s=10.0)
        >>> one = Gathered().plus(40, now_s=5.0)
        >>> wait_s(one, limits, 6.0), wait_s(one, limits, 15.0), wait_s(Gathered(), limits, 6.0)
        (9.0, 0.0, None)
        >>> wait_s(one.plus(60, now_s=6.0), limits, 6.0)
        0.0
    """
    if not gathered.objects:
        return None
    if gathered.bytes >= limits.max_bytes or gathered.objects >= limits.max_objects:
        return 0.0
    return max(0.0, gathered.first_s + limits.max_age_s - now_s)


def retry_delay_s(tries: int, limit_s: float) -> float:
    """Seconds before something that failed `tries` times is tried again: 1, 2, 4, … `limit_s`.

    Example:
        >>> [retry_delay_s(tries, 60.0) for tries in (1, 2, 6, 7, 5000)]
        [1.0, 2.0, 32.0, 60.0, 60.0]
    """
    return min(limit_s, 2.0 ** min(tries - 1, 60))
