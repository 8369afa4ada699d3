"""What stands around the records of every export request: resources, scopes and their lengths."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakerunner.generate.wire import contiguous, key_values, nested, tag, varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.generate.shop import Resource

SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"

_SCHEMA = nested(3, SCHEMA_URL.encode())

Run = tuple[int, int, list[bytes]]
"""Number of a request, position of a resource, and bytes of records of it."""


class Frames:
    """Puts records into `ResourceLogs`, `ResourceSpans` or `ResourceMetrics`, and these together.

    The three have the same field numbers, so the same frames do for all.
    """

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._resources = [nested(1, key_values(1, each.attributes)) for each in resources]
        self._scopes = [_scope(each) for each in resources]

    def requests(
        self, request: npt.NDArray[Any], resource: npt.NDArray[Any], records: Any
    ) -> Iterator[bytes]:
        """One export request after the other.

        Args:
            request: Number of the request of each record.
            resource: Position of its resource. Records are ordered by request and resource.
            records: The record as a field of the message around it.
        """
        resources = len(self._resources)
        runs = cut(request.astype(np.int64) * resources + resource, records)
        return self.assemble((*divmod(key, resources), [data]) for key, data in runs)

    def assemble(self, runs: Iterable[Run]) -> Iterator[bytes]:
        """One export request for each number, of runs ordered by number and resource."""
        for _, of_request in groupby(runs, key=lambda run: run[0]):
            parts: list[bytes] = []
            for resource, of_resource in groupby(of_request, key=lambda run: run[1]):
                parts += self._frame(resource, [part for run in of_resource for part in run[2]])
            yield b"".join(parts)

    def _frame(self, resource: int, records: list[bytes]) -> list[bytes]:
        head, scope = self._resources[resource], self._scopes[resource]
        size = len(scope) + sum(map(len, records))
        inner = tag(2, 2) + varint(size)
        whole = len(head) + len(inner) + size + len(_SCHEMA)
        return [tag(1, 2) + varint(whole), head, inner, scope, *records, _SCHEMA]


def cut(keys: npt.NDArray[Any], pieces: Any) -> Iterator[tuple[int, bytes]]:
    """Each run of equal keys, with the bytes of its pieces."""
    if not len(keys):
        return
    offsets, data = contiguous(pieces)
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    ends = offsets[np.append(firsts[1:], len(keys))]
    for key, start, end in zip(keys[firsts], offsets[firsts], ends, strict=True):
        yield int(key), data[start:end]


def _scope(resource: Resource) -> bytes:
    service = resource.service
    name = f"opentelemetry.{service.language}.{service.logger}"
    return nested(1, nested(1, name.encode()) + nested(2, service.version.encode()))
