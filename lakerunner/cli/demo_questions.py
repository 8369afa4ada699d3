"""The five questions of the demo: each leads to the next, as they do when something is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
from rich.text import Text

from lakerunner.cli.output import described, show_table
from lakerunner.query.writing import cells

if TYPE_CHECKING:
    from rich.console import Console

    from lakerunner.lake import Lake

BY_SERVICE = """
SELECT resource_service_name AS service, count(*) AS records,
       count(*) FILTER (WHERE level = 'ERROR') AS errors,
       round(100.0 * count(*) FILTER (WHERE level = 'ERROR') / count(*), 2) AS percent
FROM logs GROUP BY 1 ORDER BY errors DESC, service"""

OVER_TIME = """
SELECT date_bin(interval '15 seconds', timestamp) AS at, count(*) AS records,
       100.0 * count(*) FILTER (WHERE level = 'ERROR') / count(*) AS percent
FROM logs WHERE resource_service_name = 'payment' AND trace_id IS NOT NULL
GROUP BY 1 ORDER BY 1"""

SLOWEST = """
SELECT timestamp, attr_http_route AS route, attr_http_response_status_code AS status,
       attr_duration_ms AS duration_ms, trace_id
FROM logs
WHERE resource_service_name = 'frontend' AND attr_http_response_status_code >= 500
  AND timestamp >= timestamp '{since}' AND timestamp < timestamp '{since}' + interval '1 minute'
ORDER BY attr_duration_ms DESC LIMIT 5"""

ONE_REQUEST = """
SELECT timestamp, resource_service_name AS service, level, body
FROM logs
WHERE trace_id = '{trace_id}'
  AND timestamp BETWEEN timestamp '{at}' - interval '1 minute' AND timestamp '{at}'
ORDER BY timestamp"""

ONE_MINUTE = """
WITH work AS (
  SELECT resource_service_name AS service, min(timestamp) AS begun, count(*) AS spans,
         count(*) FILTER (WHERE status_code = 'ERROR') AS failed, max(duration_ns) / 1e6 AS ms
  FROM spans WHERE trace_id = '{trace_id}' GROUP BY 1),
said AS (
  SELECT resource_service_name AS service, count(*) AS lines
  FROM logs WHERE trace_id = '{trace_id}' GROUP BY 1),
load AS (
  SELECT resource_service_name AS service, round(sum(count) / 60.0, 1) AS requests_per_s
  FROM metrics
  WHERE metric_name IN ('http.server.request.duration', 'rpc.server.duration')
    AND timestamp BETWEEN timestamp '{at}' - interval '1 minute' AND timestamp '{at}'
  GROUP BY 1)
SELECT work.service, spans, failed, ms AS longest_ms, lines AS log_lines, requests_per_s
FROM work LEFT JOIN said ON said.service = work.service
          LEFT JOIN load ON load.service = work.service
ORDER BY begun"""

_PLOT_HEIGHT, _PLOT_WIDTH, _TICKS = 13, 92, 8
_RISE = 4.0
"""Percentage points above the median that count as trouble."""


def ask_all(lake: Lake, console: Console) -> None:
    """Ask all five and print the answers."""
    console.print("\n[bold]3. Five questions[/]")
    show_table(_ask(lake, console, "Which services log errors?", BY_SERVICE), console)

    rates = _ask(lake, console, "Payment fails: since when?", OVER_TIME)
    console.print(plot(rates, console.width))
    since = onset(rates)
    if since is None:
        console.print("No incident is to be seen.")
        return
    console.print(f"Errors of the payment service rise at [bold]{since}[/].")

    asked = "Which requests failed slowest in the first minute of it?"
    slowest = _ask(lake, console, asked, SLOWEST.format(since=since))
    show_table(slowest, console)
    if not slowest.num_rows:
        return

    worst = slowest.slice(0, 1)
    (at,) = cells(worst["timestamp"].combine_chunks())
    trace_id = worst["trace_id"][0].as_py()
    asked = "Where did the first of them spend its time, and how busy was everybody in that minute?"
    show_table(_ask(lake, console, asked, ONE_MINUTE.format(trace_id=trace_id, at=at)), console)

    asked = "What happened to it, across all services?"
    show_table(_ask(lake, console, asked, ONE_REQUEST.format(trace_id=trace_id, at=at)), console)


def _ask(lake: Lake, console: Console, question: str, sql: str) -> Any:
    console.print(f"\n[bold cyan]{question}[/]")
    console.print(Text(sql.strip(), style="dim"))
    result = lake.sql(sql)
    table = result.to_arrow()
    console.print(Text(described(result.stats), style="dim"))
    return table


def onset(rates: Any) -> str | None:
    """When the error rate first has clearly risen, as RFC 3339; None if it never has."""
    middle = pc.quantile(rates["percent"], 0.5)[0].as_py()
    high = rates.filter(pc.greater(rates["percent"], middle + _RISE))
    return cells(high["at"].slice(0, 1).combine_chunks())[0] if high.num_rows else None


def plot(rates: Any, width: int) -> Text:
    """Percent of errors over time, as bars."""
    import plotext

    count = rates.num_rows
    labels = pc.utf8_slice_codeunits(pc.strftime(rates["at"], "%H:%M:%S"), 0, 8).to_pylist()
    places = list(range(0, count, max(count // _TICKS, 1)))
    figure = plotext.figure
    figure.clear()  # plotext keeps one figure for the whole process
    figure.theme("colorless")
    figure.draw(figure.bar(list(range(count)), rates["percent"].to_pylist(), width=0.8))
    figure.plot_size(min(width, _PLOT_WIDTH), _PLOT_HEIGHT)
    figure.title("errors of the payment service, % of its records")
    highest = max(pc.max(rates["percent"]).as_py(), 1)
    figure.ruler("y").lim(0, 10 * -(-highest // 10))
    figure.ruler("x").ticks(places, [labels[place] for place in places])
    drawn = Text.from_ansi(str(figure.build()))
    figure.clear()
    return drawn
