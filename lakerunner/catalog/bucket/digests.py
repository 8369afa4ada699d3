"""Digests of what can be claimed once, and finding them in sorted arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakerunner.catalog.ledger import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def segment_digest(segment_id: str) -> bytes:
    """The 16 bytes that stand for the id of a segment."""
    return digest(b"segment", segment_id)


def commit_digest(commit_id: str) -> bytes:
    """The 16 bytes that stand for the id of a commit."""
    return digest(b"commit", commit_id)


def split(digests: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    r"""The two halves of each digest, as numbers.

    Example:
        >>> split([bytes(7) + b"\1" + bytes(8)])
        (array([1], dtype=uint64), array([0], dtype=uint64))
    """
    pairs = np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


_FEW = 16
"""So many times as many rows as digests that are asked for make these few."""


class DigestIndex:
    """Where digests stand among the rows of a part. Immutable; no digest occurs twice.

    Args:
        high: First half of each row's digest.
        low: Second half.
        in_order: The rows are sorted by digest already; otherwise they are, at first use.
    """

    def __init__(
        self, high: NDArray[np.uint64], low: NDArray[np.uint64], *, in_order: bool = False
    ) -> None:
        self._high, self._low = high, low
        self._sorted = (np.arange(len(high)), high, low) if in_order else None

    def find(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The row of each digest, or -1."""
        found = np.full(len(high), -1, dtype=np.int64)
        if not len(self._high) or not len(high):
            return found
        if self._sorted is None and len(high) * _FEW < len(self._high):
            return self._find_few(high, low)
        order, sorted_high, sorted_low = self._sorted or self._sort()
        at = np.searchsorted(sorted_high, high)
        left = np.arange(len(high))
        while len(left):
            left = left[at[left] < len(sorted_high)]
            left = left[sorted_high[at[left]] == high[left]]
            same = sorted_low[at[left]] == low[left]
            found[left[same]] = order[at[left[same]]]
            left = left[~same]
            at[left] += 1  # two digests that share their first half: look at the next row
        return found

    def _find_few(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int64]:
        # To sort a million rows takes a second; to look each of them up among a few does not.
        asked = np.sort(high)
        at = np.searchsorted(asked, self._high)
        at[at == len(asked)] = 0
        rows = np.flatnonzero(asked[at] == self._high)
        found = DigestIndex(self._high[rows], self._low[rows]).find(high, low)
        return np.where(found >= 0, rows[found] if len(rows) else -1, -1)

    def _sort(self) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64]]:
        # Two threads may both come here; they store the same.
        order = np.lexsort((self._low, self._high))
        self._sorted = (order, self._high[order], self._low[order])
        return self._sorted
