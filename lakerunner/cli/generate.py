"""`lakerunner generate`."""

import time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lakerunner.cli.options import StorageOptions, read_storage_options
from lakerunner.cli.screen import ProgressDisplay, answers, size
from lakerunner.errors import ConfigurationError
from lakerunner.model.signal import Signal
from lakerunner.printable import counted

if TYPE_CHECKING:
    from lakerunner.generate import TelemetryConfig
    from lakerunner.store.base import ObjectStore

Target = Annotated[
    str,
    typer.Argument(
        metavar="DIR|URL",
        help="Where the objects go; their keys begin with otel-raw/.",
        show_default=False,
    ),
]
Rate = Annotated[
    float, typer.Option(help="Log records per second, over all services; spans are as many.")
]
Duration = Annotated[float, typer.Option(help="Length of the interval in seconds.")]
Seed = Annotated[int, typer.Option(min=0, help="Equal seeds give equal records.")]
Start = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Start of the interval; by default it ends now.", show_default=False
    ),
]
Services = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,…", help="Services that send; all if not given.", show_default=False
    ),
]
Signals = Annotated[
    str,
    typer.Option(
        "--signals", "--signal", metavar="logs,traces,metrics", help="Kinds of telemetry."
    ),
]
Series = Annotated[int, typer.Option(min=0, help="Metric series, about.")]
Interval = Annotated[
    float, typer.Option(min=1, help="Seconds between two points of a metric series.")
]
TemporalityOption = Annotated[
    str, typer.Option("--temporality", metavar="cumulative|delta", help="Of counts in metrics.")
]
PerObject = Annotated[int, typer.Option(min=1, help="Records in each object.")]
Packing = Annotated[
    str, typer.Option("--compression", metavar="gzip|zstd|none", help="gz means gzip.")
]
Trouble = Annotated[
    bool,
    typer.Option("--incident/--no-incident", help="Let the payment service fail for a while."),
]
KeyPart = "Part of the keys."

_SIGNALS = {str(signal): signal for signal in Signal} | {"traces": Signal.SPANS}
_NOUNS = {Signal.LOGS: "log record", Signal.SPANS: "span", Signal.METRICS: "metric point"}


def generate(  # noqa: PLR0913 - the options of a command are its arguments
    target: Target,
    *,
    rate: Rate = 1000.0,
    duration: Duration = 60.0,
    seed: Seed = 0,
    start: Start = None,
    organization: Annotated[str, typer.Option("--organization", "--org", help=KeyPart)] = "default",
    collector: Annotated[str, typer.Option(help=KeyPart)] = "collector-0",
    services: Services = None,
    signals: Signals = "logs",
    series: Series = 400,
    metrics_interval: Interval = 15.0,
    temporality: TemporalityOption = "cumulative",
    records_per_object: PerObject = 5000,
    compression: Packing = "gzip",
    incident: Trouble = True,
    storage_option: StorageOptions = None,
) -> None:
    """Generate realistic telemetry of a shop, as a collector would write it to a bucket.

    Eight services on twenty pods; a request has one trace id in logs, spans and the exemplars of
    metrics. In the middle of it payments fail for a while.
    """
    from lakerunner.generate import ROOT, Incident, TelemetryConfig
    from lakerunner.model.times import NANOS, to_nanoseconds
    from lakerunner.store.urls import open_store

    begin = f"now-{round(max(duration, 0) * NANOS)}ns" if start is None else start
    settings: dict[str, Any] = {
        "seed": seed,
        "signals": read_signals(signals),
        "series": series,
        "metrics_interval_s": metrics_interval,
        "temporality": temporality,
        "rate": rate,
        "start_ns": to_nanoseconds(begin, now_ns=time.time_ns()),
        "duration_s": duration,
        "records_per_object": records_per_object,
        "organization": organization,
        "collector": collector,
        "compression": "gzip" if compression == "gz" else compression,
        "incident": Incident() if incident else None,
    }
    if services is not None:
        settings["services"] = tuple(name.strip() for name in services.split(",") if name.strip())
    config = TelemetryConfig(**settings)
    store = open_store(target, read_storage_options(storage_option))
    begun = time.perf_counter()
    stored = put_objects(store, config, "generate")
    seconds = time.perf_counter() - begun
    answers().print(
        f"{stored.records} in {counted(stored.objects, 'object')} ({size(stored.bytes)}) under "
        f"{store.url}/{ROOT}/{organization}/{collector}/ in {seconds:.2f} s",
        markup=False,
    )


def read_signals(text: str) -> tuple[Signal, ...]:
    """The kinds of telemetry named in a list with commas; spans are also called traces.

    Raises:
        ConfigurationError: A name is unknown.

    Example:
        >>> read_signals("logs,traces")
        (<Signal.LOGS: 'logs'>, <Signal.SPANS: 'spans'>)
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in _SIGNALS]
    if unknown:
        raise ConfigurationError(
            f"no signal {', '.join(unknown)}; there are logs, traces (or spans) and metrics"
        )
    return tuple(_SIGNALS[name] for name in names)


class Stored(NamedTuple):
    """What was put into a store.

    Attributes:
        objects: How many objects.
        bytes: Their size.
        counts: Log records, spans and metric points in them.
    """

    objects: int
    bytes: int
    counts: dict[Signal, int]

    @property
    def records(self) -> str:
        """The counts in words."""
        parts = [counted(count, _NOUNS[signal]) for signal, count in self.counts.items()]
        *first, last = parts
        return f"{', '.join(first)} and {last}" if first else last


def put_objects(store: "ObjectStore", config: "TelemetryConfig", title: str) -> Stored:
    """Generate objects into a store, with progress shown."""
    from lakerunner.generate import telemetry_objects
    from lakerunner.model.report import ProgressEvent

    stored = done = 0
    counts = dict.fromkeys(config.kinds, 0)
    # How many spans and points there will be is only known when they are there.
    total = config.objects if config.kinds == (Signal.LOGS,) else None
    with ProgressDisplay(title) as progress:
        for each in telemetry_objects(config):
            store.put(each.key, each.data)
            done += 1
            stored += len(each.data)
            counts[each.signal] += each.records
            progress(ProgressEvent("write", done, total, sum(counts.values()), stored))
    return Stored(done, stored, counts)
