"""Who takes which messages of a topic: objects of the lake, which only one can put."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from lakerunner.errors import ObjectExistsError
from lakerunner.fencing.identity import PREFIX
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from lakerunner.store import ObjectStore


class Claim(msgspec.Struct, frozen=True):
    """Messages of one partition that are taken together.

    Attributes:
        first: Offset of the first.
        last: Offset of the last.
    """

    first: int
    last: int


_CLAIM = msgspec.json.Decoder(Claim)


class Claims:
    """Who takes what of a topic: objects of the lake, which only one can put.

    Args:
        lake: The lake's store.
        cluster: Identity of the cluster.
        topic: Name of the topic.

    Example:
        >>> from lakerunner.store import open_store
        >>> claims = Claims(open_store("memory://doc/claims"), "cluster", "topic")
        >>> claims.put(0, Claim(0, 9)), claims.put(0, Claim(0, 99))
        (Claim(first=0, last=9), Claim(first=0, last=9))
    """

    def __init__(self, lake: ObjectStore, cluster: str, topic: str) -> None:
        self._lake = lake
        self._prefix = f"{PREFIX}kafka/{quote(cluster, safe='')}/{quote(topic, safe='')}/"

    def newest(self, partition: int) -> Claim | None:
        """The last claim of a partition."""
        keys = self._keys(partition)
        return self._read(keys[-1]) if keys else None

    def put(self, partition: int, claim: Claim) -> Claim | None:
        """Claim messages.

        Returns:
            What is to be taken: what was claimed from the same offset before, if it was; None if
            others have claimed some of it otherwise, or went on long ago.
        """
        key = self._key(partition, claim.first)
        try:
            self._lake.put(key, msgspec.json.encode(claim), PutMode.CREATE)
        except ObjectExistsError:
            claim = self._read(key)
        keys = self._keys(partition)
        earlier = [each for each in keys if each < key]
        if keys[-1] > key or (earlier and self._read(earlier[-1]).last >= claim.first):
            self._lake.delete(key)
            return None
        self._lake.delete_many(earlier)
        return claim

    def _read(self, key: str) -> Claim:
        return _CLAIM.decode(self._lake.get(key).data)

    def _keys(self, partition: int) -> list[str]:
        return [one.key for one in self._lake.list(f"{self._prefix}{partition}/")]

    def _key(self, partition: int, first: int) -> str:
        return f"{self._prefix}{partition}/{first:020}"
