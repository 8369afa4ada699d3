"""Topics of Kafka as input: every message in the lake once, whoever crashes or is rebalanced away.

Messages of one partition that are taken together are claimed before they are: by an object of the
lake that only one consumer can put, and that says from which offset to which. Whoever comes after a
crash finds the newest claim and takes exactly its messages again, under the same name; the catalog
knows names, and takes each once. So it is the lake that says where to go on. Offsets are committed
to Kafka, too, for those who look at its lag; nothing depends on them.

A consumer that was stopped and does not know that others went on puts a claim behind the newest.
It sees that when it looks: the newest claim of a partition is never deleted.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from lakerunner.errors import (
    ConfigurationError,
    ErrorCode,
    MissingExtraError,
    StoreError,
    StoreUnavailableError,
)
from lakerunner.intake.handed import HandedStore, insist
from lakerunner.intake.kafka_claims import Claim, Claims
from lakerunner.intake.kafka_messages import KafkaSettings, payloads_of
from lakerunner.model.profile import check_organization
from lakerunner.model.report import IngestReport, ProgressEvent
from lakerunner.model.segment import Rejection, Source, SourceState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.intake.payloads import Payload
    from lakerunner.model.report import Progress
    from lakerunner.store import ObjectMeta, ObjectStore

_LOG = logging.getLogger("lakerunner.kafka")
_POLL_MESSAGES, _POLL_SECONDS, _CALL_SECONDS = 10_000, 0.2, 10.0


class _Gathered:
    """Messages of one partition that wait to be taken.

    Attributes:
        first: Offset from which they are taken.
        last: The last of them, if that is bound by a claim.
        messages: All of them.
        ends: Offset behind the last message that was seen.
        since: The poll from which on messages are its own; those of before were fetched elsewhere.
    """

    def __init__(self, first: int, last: int | None, since: int = 0) -> None:
        self.first, self.last = first, last
        self.messages: list[Any] = []
        self.ends = first
        self.since = since

    def is_complete(self) -> bool:
        return self.last is not None and self.ends > self.last


class _Place(NamedTuple):
    """A partition."""

    topic: str
    partition: int


class KafkaIntake:
    """Takes topics into a lake. Used by one thread, as a context.

    Args:
        take: Ingests objects for an organization: see `Ingestor.take`.
        lake: The lake's store.
        catalog: Knows what was taken, and what was set aside.
        organization: Whose the messages are that do not say it.
        settings: See `KafkaSettings`.

    Raises:
        ConfigurationError: A setting of librdkafka is wrong, or there is no such topic.
        MissingExtraError: `confluent-kafka` is not installed.
        StoreUnavailableError: No broker answers.
    """

    def __init__(
        self,
        take: Callable[[ObjectStore, Iterable[ObjectMeta], str], IngestReport],
        lake: ObjectStore,
        catalog: Catalog,
        organization: str,
        settings: KafkaSettings,
    ) -> None:
        try:
            import confluent_kafka  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingExtraError(
                "Kafka needs confluent-kafka; run: pip install 'lakerunner[kafka]'",
                missing="confluent_kafka",
            ) from error
        self._kafka = confluent_kafka
        self._take, self._catalog = take, catalog
        self._organization, self._settings = organization, settings
        self._gathered: dict[_Place, _Gathered] = {}
        self._bytes = self._polls = 0
        self._since: float | None = None
        self._came: float | None = None
        self._report = IngestReport()
        self._stop = threading.Event()
        try:
            self._consumer = self._kafka.Consumer(
                {
                    "max.poll.interval.ms": 30 * 60 * 1000,
                    "queued.max.messages.kbytes": 64 * 1024,
                    **settings.client,
                    "partition.assignment.strategy": "cooperative-sticky",
                    "bootstrap.servers": settings.brokers,
                    "group.id": settings.group,
                    "enable.auto.commit": False,
                    "auto.offset.reset": "earliest",
                    "enable.partition.eof": True,
                }
            )
            self._cluster = self._found(settings.topics)
        except (self._kafka.KafkaException, ValueError) as error:
            raise _problem(error, settings.brokers) from error
        self._claims = {topic: Claims(lake, self._cluster, topic) for topic in settings.topics}

    def _found(self, topics: Sequence[str]) -> str:
        """Identity of the cluster, once all topics are known to be there."""
        known = self._consumer.list_topics(timeout=_CALL_SECONDS)
        missing = [name for name in topics if name not in known.topics]
        for name in missing:
            if self._consumer.list_topics(name, timeout=_CALL_SECONDS).topics[name].error:
                raise ConfigurationError(f"{self._settings.brokers} has no topic {name!r}")
        return known.cluster_id or self._settings.brokers

    def run(
        self,
        stop: threading.Event | None = None,
        until_idle: float | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Take messages until stopped; what was gathered by then is committed.

        Args:
            stop: Ends it when set.
            until_idle: End as well when nothing came for so many seconds since this consumer was
                taken into its group.
            progress: Called after each commit.

        Raises:
            ConfigurationError: A topic was made anew under its old name.
            StoreUnavailableError: The cluster fails in a way that does not pass.
            CatalogError: A commit failed in a way that does not pass.
        """
        self._stop = stop or threading.Event()
        self._came = None
        try:
            self._consumer.subscribe(
                list(self._settings.topics),
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost,
            )
            while not self._stop.is_set():
                self._polls += 1
                messages = self._consumer.consume(_POLL_MESSAGES, _POLL_SECONDS)
                for message in messages:
                    self._gather(message)
                if any(message.error() is None for message in messages):
                    self._came = time.monotonic()
                if self._is_due():
                    self._commit(list(self._gathered))
                    if progress is not None:
                        total = self._report
                        progress(
                            ProgressEvent("ingest", total.rows, None, total.rows, total.bytes_read)
                        )
                if self._is_idle(until_idle):
                    break
            self._commit(list(self._gathered))
        except self._kafka.KafkaException as error:
            raise _problem(error, self._settings.brokers) from error
        return self._report

    def close(self) -> None:
        """Leave the group. What was gathered and not committed is left to others."""
        self._gathered.clear()
        self._consumer.close()

    # -- where to go on ----------------------------------------------------------------------------

    def _assigned(self, consumer: Any, partitions: Sequence[Any]) -> None:
        for each in partitions:
            place = _Place(each.topic, each.partition)
            each.offset = self._begin(place)
        consumer.incremental_assign(partitions)
        self._came = time.monotonic()

    def _begin(self, place: _Place) -> int:
        """From which offset a partition is taken; it is gathered from there."""
        claim = self._claims[place.topic].newest(place.partition)
        known = self._kafka.TopicPartition(place.topic, place.partition)
        low, high = self._consumer.get_watermark_offsets(known, timeout=_CALL_SECONDS)
        first, last = (low, None) if claim is None else (claim.first, claim.last)
        if claim is not None and claim.last >= high:
            raise ConfigurationError(
                f"{place.topic}: partition {place.partition} ends at offset {high:,}, but was "
                f"taken up to {claim.last:,}: was the topic made anew? Give it another name"
            )
        if claim is not None and claim.last + 1 < low:
            _LOG.warning(
                "%s: partition %d begins at offset %d: Kafka deleted those from %d on before they "
                "were taken",
                *(place.topic, place.partition, low, claim.last + 1),
            )
            first, last = low, None
        self._gathered[place] = _Gathered(first, last, self._polls)
        return first

    def _revoked(self, consumer: Any, partitions: Sequence[Any]) -> None:
        places = [_Place(each.topic, each.partition) for each in partitions]
        self._commit([place for place in places if place in self._gathered])
        self._let_go(places)
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Any, partitions: Sequence[Any]) -> None:
        """Others have them by now, and take the same messages."""
        self._let_go(_Place(each.topic, each.partition) for each in partitions)
        consumer.incremental_unassign(partitions)

    def _let_go(self, places: Iterable[_Place]) -> None:
        for place in places:
            self._gathered.pop(place, None)

    # -- gathering ---------------------------------------------------------------------------------

    def _gather(self, message: Any) -> None:
        place = _Place(message.topic(), message.partition())
        gathered = self._gathered.get(place)
        error = message.error()
        if error is not None and error.code() != self._kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001 - it is named so
            if error.retriable() and not error.fatal():
                _LOG.warning("%s: %s", place.topic, error.str())
                return
            raise _problem(self._kafka.KafkaException(error), self._settings.brokers)
        if gathered is None or not self._belongs(message, gathered):
            return
        if gathered.last is not None and message.offset() > gathered.last:
            # The claim of a consumer that is gone ends before this message.
            gathered.ends = gathered.last + 1
            self._commit([place])
            gathered = self._gathered.get(place)
            if gathered is None or not self._belongs(message, gathered):
                return
        if error is not None:
            return
        gathered.messages.append(message)
        gathered.ends = message.offset() + 1
        self._bytes += len(message)
        self._since = self._since or time.monotonic()

    def _belongs(self, message: Any, gathered: _Gathered) -> bool:
        return self._polls >= gathered.since and message.offset() >= gathered.ends

    def _is_idle(self, seconds: float | None) -> bool:
        """Whether nothing came for so long, since there is something that could come."""
        if seconds is None or self._came is None:
            return False
        return time.monotonic() - self._came > seconds

    def _is_due(self) -> bool:
        if any(gathered.is_complete() for gathered in self._gathered.values()):
            return True
        if self._since is None:
            return False
        age = time.monotonic() - self._since
        return self._bytes >= self._settings.flush_bytes or age >= self._settings.flush_seconds

    # -- committing --------------------------------------------------------------------------------

    def _commit(self, places: Sequence[_Place]) -> None:
        """Take what was gathered of some partitions, and say how far they are taken."""
        ready: dict[_Place, Claim] = {}
        for place in places:
            gathered = self._gathered[place]
            if gathered.last is not None and not gathered.is_complete():
                continue  # to be taken with what is still to come, or by who comes next
            if not gathered.messages and gathered.last is None:
                continue
            last = gathered.ends - 1 if gathered.last is None else gathered.last
            wanted = Claim(gathered.first, last)
            claim = self._claims[place.topic].put(place.partition, wanted)
            if claim == wanted:
                ready[place] = claim
            else:
                self._go_back(place)
        self._take_all({place: self._gathered[place].messages for place in ready}, ready)
        for place, claim in ready.items():
            self._gathered[place] = _Gathered(claim.last + 1, None)
        left = [message for each in self._gathered.values() for message in each.messages]
        self._bytes = sum(map(len, left))
        self._since = time.monotonic() if left else None
        if ready:
            offsets = [
                self._kafka.TopicPartition(*place, claim.last + 1) for place, claim in ready.items()
            ]
            try:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            except self._kafka.KafkaException as error:
                _LOG.warning("offsets were not committed to Kafka, and need not be: %s", error)

    def _go_back(self, place: _Place) -> None:
        """Somebody else has claimed other messages here: take these, or what comes behind."""
        self._polls += 1
        first = self._begin(place)
        self._polls -= 1
        self._consumer.seek(self._kafka.TopicPartition(*place, first))

    def _take_all(
        self, gathered: Mapping[_Place, Sequence[Any]], claims: Mapping[_Place, Claim]
    ) -> None:
        """Take messages, those of one organization and one kind as one object."""
        waiting: dict[tuple[str, str], dict[str, list[tuple[int, Payload]]]] = {}
        times: dict[str, int] = {}
        for place, messages in gathered.items():
            together = f"{claims[place].first}-{claims[place].last}"
            for message in messages:
                organization = self._owner(message)
                if organization is None:
                    continue
                times[place.topic] = max(times.get(place.topic, 0), message.timestamp()[1])
                for number, payload in enumerate(payloads_of(message, self._settings)):
                    name = together if payload.kind else f"{message.offset()}.{number}"
                    # A catalog knows sources whosever they are: the name has to say it.
                    key = f"{place.partition}/{name}/{organization}/{payload.name.format('')}"
                    objects = waiting.setdefault((organization, place.topic), {})
                    objects.setdefault(key, []).append((message.offset(), payload))
        for (organization, topic), objects in waiting.items():
            time_ns = times[topic] * 1_000_000 or time.time_ns()
            self._take_objects(organization, topic, time_ns, objects)

    def _take_objects(
        self,
        organization: str,
        topic: str,
        time_ns: int,
        objects: Mapping[str, Sequence[tuple[int, Payload]]],
    ) -> None:
        """Take objects; of one that is refused as a whole, each message for itself."""
        store = HandedStore(self._url(topic), time_ns)
        metas = [
            store.put(key, b"".join(payload.data for _, payload in parts))
            for key, parts in objects.items()
        ]
        self._surely(partial(self._take, store, metas, organization))
        several = [meta for meta in metas if len(objects[meta.key]) > 1]
        sources = {Source(store.url, meta.key, meta.etag): meta.key for meta in several}
        states = self._catalog.sources(list(sources))
        alone: list[ObjectMeta] = []
        for source, key in sources.items():
            if states.get(source) is SourceState.REJECTED:
                partition, _, name = key.split("/", 2)
                alone += [
                    store.put(f"{partition}/{offset}.{number}/{name}", payload.data)
                    for number, (offset, payload) in enumerate(objects[key])
                ]
        if alone:
            self._surely(partial(self._take, store, alone, organization))

    def _surely(self, take: Callable[[], IngestReport]) -> None:
        def again(problem: str, pause: float) -> None:
            _LOG.warning("a commit is tried again: %s", problem)
            if self._stop.wait(pause):
                raise StoreError(f"stopped before it could be committed: {problem}")

        for report in insist(take, again):
            self._report += report

    # -- whose a message is ------------------------------------------------------------------------

    def _url(self, topic: str) -> str:
        return f"kafka://{quote(self._cluster, safe='')}/{quote(topic)}"

    def _owner(self, message: Any) -> str | None:
        """Whose a message is; None if its header names nobody there can be, which is reported."""
        wanted = self._settings.organization_header
        for name, value in message.headers() or () if wanted else ():
            if name != wanted or not value:
                continue
            try:
                return check_organization(value.decode(errors="replace"))
            except ConfigurationError as error:
                key = f"{message.partition()}/{message.offset()}"
                source = Source(self._url(message.topic()), key, "")
                _LOG.warning("%s was not taken: %s", source.url, error)
                reason = f"the header {wanted!r}: {error}"
                now = time.time_ns()
                rejection = Rejection(source, ErrorCode.UNKNOWN_OWNER, reason, now, rows=None)
                self._report += IngestReport(rejected=(rejection,))
                return None
        return self._organization


def _problem(error: Exception, brokers: str) -> ConfigurationError | StoreUnavailableError:
    """A failure of the client, in our words."""
    cause = error.args[0] if error.args else error
    text = cause.str() if hasattr(cause, "str") else str(cause)
    name = cause.name() if hasattr(cause, "name") else ""
    if name in {"_INVALID_ARG", "_CONFLICT", "_NOT_IMPLEMENTED"} or not name:
        return ConfigurationError(f"settings of the client of Kafka: {text}")
    if name in {"_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PART", "TOPIC_AUTHORIZATION_FAILED"}:
        return ConfigurationError(f"{brokers}: {text}")
    return StoreUnavailableError(f"Kafka at {brokers}: {text}")
