"""Which files a physical scan was made of, read from its serialised form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.compute.wire import read_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakerunner.compute.wire import Field

# Field numbers in `datafusion.proto`: ParquetScanExecNode, FileScanExecConf, FileGroup and
# PartitionedFile.
_CONFIG, _GROUPS, _FILES = 1, 1, 1
_PATH, _SIZE = 1, 2


def scanned_files(plan: bytes) -> Mapping[str, int]:
    """Paths and sizes, in bytes, of the files of one serialised scan.

    Nothing at all where the bytes are not what this version of DataFusion makes of a scan of
    Parquet files: whoever asks must look for the files in another way then.

    Example:
        >>> scanned_files(b"not a plan")
        {}
    """
    try:
        (node,) = read_fields(plan)
        return {
            _only(file, _PATH).data.decode(): int(_only(file, _SIZE).value)
            for config in _inside(node, _CONFIG)
            for group in _inside(config, _GROUPS)
            for file in _inside(group, _FILES)
        }
    except ValueError:
        return {}


def _inside(field: Field, number: int) -> Iterator[Field]:
    return (one for one in read_fields(field.data) if one.number == number)


def _only(field: Field, number: int) -> Field:
    (found,) = _inside(field, number)
    return found
