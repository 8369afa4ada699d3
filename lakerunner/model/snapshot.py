"""A state of a lake that can be returned to: its number, and when it was the current one."""

from __future__ import annotations

import re
from hashlib import blake2s

import msgspec

from lakerunner.errors import InvalidTimeError
from lakerunner.model.times import TimeLike, isoformat, to_nanoseconds

_TEXT = re.compile(r"(\d+)(?:\.(\d+))?@(\S+)")


class LakeSnapshot(msgspec.Struct, frozen=True, order=True):
    """A state of a whole lake, for `Lake.at`. Its text can be kept, and read by `read_snapshot`.

    Attributes:
        sequence: Number of the last commit it includes.
        time_ns: When it was the current one, in nanoseconds since the epoch.
        incarnation: Of the lake: a recovery begins another one, with numbers of its own. 0 for a
            catalog that no lake has claimed.

    Example:
        >>> str(LakeSnapshot(42, 1767225600000000000, incarnation=1))
        '42.1@2026-01-01T00:00:00Z'
    """

    sequence: int
    time_ns: int
    incarnation: int = 0

    def __str__(self) -> str:
        life = f".{self.incarnation}" if self.incarnation else ""
        return f"{self.sequence}{life}@{isoformat(self.time_ns)}"


_SEALED = 1 << 62
_HALF, _ROUNDS = 31, 4


def seal(sequence: int, key: str) -> int:
    """A number that stands for a sequence and tells nothing of it to who does not know the key.

    Args:
        sequence: Below 2**62.
        key: A secret; each makes another permutation of all numbers.

    Example:
        >>> sealed = seal(42, "secret")
        >>> sealed >= 2**62, unseal(sealed, "secret"), unseal(42, "secret")
        (True, 42, 42)
    """
    left, right = divmod(sequence, 1 << _HALF)
    for turn in range(_ROUNDS):
        left, right = right, left ^ _mixed(right, turn, key)
    return _SEALED | left << _HALF | right


def unseal(number: int, key: str) -> int:
    """The sequence that `seal` made a number of; any smaller number is a sequence as it stands."""
    if number < _SEALED:
        return number
    left, right = divmod(number - _SEALED, 1 << _HALF)
    for turn in reversed(range(_ROUNDS)):
        left, right = right ^ _mixed(left, turn, key), left
    return left << _HALF | right


def _mixed(half: int, turn: int, key: str) -> int:
    digest = blake2s(f"{turn}.{half}".encode(), key=blake2s(key.encode()).digest()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def read_snapshot(value: LakeSnapshot | TimeLike, *, now_ns: int) -> LakeSnapshot | int:
    """Read what a person wrote as a state of the past.

    Args:
        value: A snapshot, the text of one, or a time.
        now_ns: What `now` means, in nanoseconds since the epoch.

    Returns:
        The snapshot, or nanoseconds since the epoch if it is a time.

    Raises:
        InvalidTimeError: It is neither.

    Example:
        >>> read_snapshot("42.1@2026-01-01T00:00:00Z", now_ns=0)
        LakeSnapshot(sequence=42, time_ns=1767225600000000000, incarnation=1)
        >>> read_snapshot("now-1s", now_ns=3 * 10**9)
        2000000000
    """
    if isinstance(value, LakeSnapshot):
        return value
    if isinstance(value, str) and (match := _TEXT.fullmatch(value.strip())):
        sequence, incarnation, time = match.groups()
        time_ns = to_nanoseconds(time, now_ns=now_ns)
        return LakeSnapshot(int(sequence), time_ns, int(incarnation or 0))
    try:
        return to_nanoseconds(value, now_ns=now_ns)
    except InvalidTimeError as error:
        raise InvalidTimeError(
            f"{error}; or give a snapshot, such as '42.1@2026-01-01T00:00:00Z'", value=value
        ) from None
