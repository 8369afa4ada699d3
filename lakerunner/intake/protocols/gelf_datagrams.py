"""GELF in datagrams: compressed, and in chunks where a message is longer than one datagram.

https://go2docs.graylog.org/current/getting_in_log_data/gelf.html#GELFviaUDP
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from lakerunner.errors import CorruptObjectError

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK = b"\x1e\x0f"
_HEAD_BYTES, _ID = 12, slice(2, 10)
_MOST_CHUNKS = 128
_SECONDS = 5.0
_MOST_WAITING = 10_000
_ZIPPED = (b"\x1f\x8b", b"\x78")


class Chunks:
    """Puts chunks together. For one thread.

    Args:
        most_bytes: How long a message may become.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._waiting: dict[bytes, tuple[float, dict[int, bytes]]] = {}
        self.dropped = 0

    def whole(self, datagrams: Sequence[bytes], now: float) -> list[bytes]:
        """The messages that are whole with these datagrams, decompressed.

        Args:
            datagrams: As they came.
            now: Seconds that never go back; what is not whole five seconds after its first chunk
                is dropped, and counted in `dropped`.
        """
        found = list[bytes]()
        for datagram in datagrams:  # one step a datagram, as each is compressed by itself
            message = self._put(datagram, now) if datagram[:2] == _CHUNK else datagram
            try:
                if message:
                    found.append(self._plain(message))
            except (zlib.error, CorruptObjectError):
                self.dropped += 1
        self._forget(now)
        return found

    def _put(self, datagram: bytes, now: float) -> bytes:
        if len(datagram) <= _HEAD_BYTES:
            self.dropped += 1
            return b""
        number, count = datagram[10], datagram[11]
        if not number < count <= _MOST_CHUNKS:
            self.dropped += 1
            return b""
        _, parts = self._waiting.setdefault(datagram[_ID], (now, {}))
        parts[number] = datagram[_HEAD_BYTES:]
        if len(parts) < count:
            return b""
        del self._waiting[datagram[_ID]]
        return b"".join(parts[place] for place in sorted(parts))

    def _plain(self, message: bytes) -> bytes:
        if not message.startswith(_ZIPPED):
            return message
        machine = zlib.decompressobj(zlib.MAX_WBITS | 32)
        plain = machine.decompress(message, self._most + 1)
        if not machine.eof or len(plain) > self._most:
            raise CorruptObjectError("a message is cut off, or inflates to more than it may")
        return plain

    def _forget(self, now: float) -> None:
        old = [key for key, (since, _) in self._waiting.items() if since + _SECONDS < now]
        old += list(self._waiting)[: max(0, len(self._waiting) - len(old) - _MOST_WAITING)]
        for key in dict.fromkeys(old):
            del self._waiting[key]
            self.dropped += 1
