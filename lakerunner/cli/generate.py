"""`lakerunner generate`."""

import time
from typing import Annotated, Any

import typer

from lakerunner.cli.options import StorageOptions, read_storage_options
from lakerunner.cli.progress import ProgressDisplay
from lakerunner.cli.screen import answers, size
from lakerunner.generate import ROOT, Incident, TelemetryConfig, generate_objects
from lakerunner.model.progress import ProgressEvent
from lakerunner.model.signal import Signal
from lakerunner.model.times import NANOS, to_nanoseconds
from lakerunner.store.base import ObjectStore
from lakerunner.store.opening import open_store

Target = Annotated[
    str,
    typer.Argument(
        metavar="DIR|URL",
        help="Where the objects go; their keys begin with otel-raw/.",
        show_default=False,
    ),
]
Rate = Annotated[float, typer.Option(help="Records per second, over all services.")]
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
SignalOption = Annotated[Signal, typer.Option(help="Kind of telemetry; only logs so far.")]
PerObject = Annotated[int, typer.Option(min=1, help="Records in each object.")]
Packing = Annotated[
    str, typer.Option("--compression", metavar="gzip|zstd|none", help="gz means gzip.")
]
Trouble = Annotated[
    bool,
    typer.Option("--incident/--no-incident", help="Let the payment service fail for a while."),
]
KeyPart = "Part of the keys."


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
    signal: SignalOption = Signal.LOGS,
    records_per_object: PerObject = 5000,
    compression: Packing = "gzip",
    incident: Trouble = True,
    storage_option: StorageOptions = None,
) -> None:
    """Generate realistic telemetry of a shop, as a collector would write it to a bucket.

    Eight services on twenty pods, sharing traces; in the middle of it payments fail for a while.
    """
    begin = f"now-{round(max(duration, 0) * NANOS)}ns" if start is None else start
    settings: dict[str, Any] = {
        "seed": seed,
        "signal": signal,
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
        f"{config.records:,} records in {config.objects:,} objects ({size(stored)}) under "
        f"{store.url}/{ROOT}/{organization}/{collector}/ in {seconds:.2f} s",
        markup=False,
    )


def put_objects(store: ObjectStore, config: TelemetryConfig, title: str) -> int:
    """Generate objects into a store, with progress shown.

    Returns:
        Bytes put.
    """
    stored = rows = 0
    with ProgressDisplay(title) as progress:
        for done, (key, data) in enumerate(generate_objects(config), start=1):
            store.put(key, data)
            stored += len(data)
            rows = min(done * config.records_per_object, config.records)
            progress(ProgressEvent("write", done, config.objects, rows, stored))
    return stored
