"""What a query has to say about itself besides its answer, in Prometheus' words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.query.promql.lexer import position
from lakerunner.query.promql.syntax import quote

if TYPE_CHECKING:
    from lakerunner.query.promql.syntax import Place

_QUANTILE_HELP = (
    "(see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
)


class Annotations:
    """Warnings and infos of one evaluation, each once, in the order they came up.

    Args:
        text: The query, for positions.

    Attributes:
        warnings: Each begins with `PromQL warning: `.
        infos: Each begins with `PromQL info: `.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.warnings: dict[str, None] = {}
        self.infos: dict[str, None] = {}

    def warn(self, message: str, place: Place) -> None:
        """Note that the answer may not be what was meant."""
        self.warnings[f"PromQL warning: {message} {self._where(place)}"] = None

    def inform(self, message: str, place: Place) -> None:
        """Note something that may be as it was meant."""
        self.infos[f"PromQL info: {message} {self._where(place)}"] = None

    def _where(self, place: Place) -> str:
        line, column = position(self._text, place.start)
        return f"({line}:{column})"

    def mixed_floats_histograms(self, metric: str, place: Place) -> None:
        """A range holds both kinds of samples, and the function takes only one of them."""
        message = "encountered a mix of histograms and floats for metric name"
        self.warn(f"{message} {quote(metric)}", place)

    def mixed_in_aggregation(self, place: Place) -> None:
        """A group holds both kinds of samples."""
        self.warn("encountered a mix of histograms and floats for aggregation", place)

    def invalid_quantile(self, value: float, place: Place) -> None:
        """A quantile lies outside [0, 1]."""
        text = go_number(value)
        self.warn(f"quantile value should be between 0 and 1, got {text}", place)

    def invalid_ratio(self, value: float, capped: float, place: Place) -> None:
        """A ratio lies outside [-1, 1]."""
        given, taken = go_number(value), go_number(capped)
        message = f"ratio value should be between -1 and 1, got {given}, capping to {taken}"
        self.warn(message, place)

    def bad_bucket_label(self, label: str, value: str, metric: str, place: Place) -> None:
        """A classic bucket has no usable bound."""
        message = f"bucket label {quote(label)} is missing or has a malformed value of "
        self.warn(f"{message}{quote(value)} for metric name {quote(metric)}", place)

    def not_a_counter(self, metric: str, place: Place) -> None:
        """A native histogram is a gauge where a counter is meant."""
        self.warn(f"this native histogram metric is not a counter: {quote(metric)}", place)

    def not_a_gauge(self, metric: str, place: Place) -> None:
        """A native histogram is a counter where a gauge is meant."""
        self.warn(f"this native histogram metric is not a gauge: {quote(metric)}", place)

    def mixed_exponential_custom(self, metric: str, place: Place) -> None:
        """Histograms of two kinds of buckets cannot be combined."""
        message = "vector contains a mix of histograms with exponential and custom buckets schemas "
        self.warn(f"{message}for metric name {quote(metric)}", place)

    def mixed_classic_native(self, metric: str, place: Place) -> None:
        """A histogram is there in both forms."""
        message = "vector contains a mix of classic and native histograms for metric name"
        self.warn(f"{message} {quote(metric)}", place)

    def incompatible_buckets(self, op: str, place: Place) -> None:
        """Histograms of two kinds of buckets stand on both sides of an operator."""
        self.warn(f"incompatible bucket layout encountered for binary operator {op}", place)

    def reset_collision(self, during: str, place: Place) -> None:
        """Histograms that were reset and such that were not are combined."""
        self.warn(f"conflicting counter resets during histogram {during}", place)

    def sort_ineffective(self, place: Place) -> None:
        """Sorting has no effect on ranges."""
        message = "is ineffective for range queries since results are always ordered by labels"
        self.warn(f"sort {message}", place)

    def maybe_no_counter(self, metric: str, place: Place) -> None:
        """The name of a metric does not say that it is a counter."""
        message = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:"
        self.inform(f"{message} {quote(metric)}", place)

    def forced_monotonic(self, metric: str, place: Place) -> None:
        """Classic buckets did not grow with their bounds."""
        message = (
            f"input to histogram_quantile needed to be fixed for monotonicity {_QUANTILE_HELP}"
        )
        self.inform(f"{message} for metric name {quote(metric)}", place)

    def incompatible_types(self, left: str, op: str, right: str, place: Place) -> None:
        """An operator has no meaning for these two kinds of samples."""
        message = f"incompatible sample types encountered for binary operator {quote(op)}"
        self.inform(f"{message}: {left} {op} {right}", place)

    def ignored_in_aggregation(self, op: str, place: Place) -> None:
        """An aggregation passed over histograms."""
        self.inform(f"ignored histogram in {op} aggregation", place)

    def ignored_in_range(self, metric: str, place: Place) -> None:
        """A function over a range passed over histograms."""
        message = "ignored histograms in a range containing both floats and histograms for "
        self.inform(f"{message}metric name {quote(metric)}", place)

    def mismatched_bounds(self, during: str, place: Place) -> None:
        """Custom buckets with different bounds were brought to their common ones."""
        self.inform(f"mismatched custom buckets were reconciled during {during}", place)

    def quantile_of_nan(self, metric: str, place: Place) -> None:
        """The quantile falls among observations that are NaN."""
        message = "input to histogram_quantile has NaN observations, result is NaN for metric name"
        self.inform(f"{message} {quote(metric)}", place)

    def quantile_skewed(self, metric: str, place: Place) -> None:
        """Observations that are NaN count as the largest."""
        message = (
            "input to histogram_quantile has NaN observations, result is skewed higher for metric "
            "name"
        )
        self.inform(f"{message} {quote(metric)}", place)

    def fraction_of_nan(self, metric: str, place: Place) -> None:
        """Observations that are NaN lie in no interval."""
        message = (
            "input to histogram_fraction has NaN observations, which are excluded from all "
            "fractions for metric name"
        )
        self.inform(f"{message} {quote(metric)}", place)


def go_number(value: float) -> str:
    """A number as Go's `%g` prints it.

    Example:
        >>> go_number(1.5), go_number(1e21), go_number(float("inf"))
        ('1.5', '1e+21', '+Inf')
    """
    if value != value:  # noqa: PLR0124 - the only number that differs from itself
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    return text.removesuffix(".0")
