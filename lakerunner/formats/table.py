"""The table of all input formats: their names, file suffixes and content types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.formats.otlp.protobuf import OtlpProtobuf

if TYPE_CHECKING:
    from lakerunner.formats.base import Format


FORMATS: dict[str, Format] = {known.name: known for known in (OtlpProtobuf(),)}
"""Every input format by name, in the order in which content is tried against them."""

BY_SUFFIX: dict[str, tuple[str, ...]] = {
    s: ("otlp-protobuf",) for s in ("binpb", "pb", "proto", "otlp")
}
BY_CONTENT_TYPE: dict[str, tuple[str, ...]] = {}
