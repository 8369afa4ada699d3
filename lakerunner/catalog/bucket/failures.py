"""What goes wrong inside: a checkpoint that is of no use, and a store that fails."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakerunner.errors import (
    CatalogError,
    CatalogUnavailableError,
    ObjectDeniedError,
    StoreError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class DamagedCheckpointError(CatalogError):
    """A manifest or one of its parts is missing or broken; an older checkpoint may do."""


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn errors of the store into those that the contract of a catalog names.

    Raises:
        CatalogUnavailableError: The store is not reached, or refuses the credential.
        CatalogError: The store fails in another way.
    """
    try:
        yield
    except (StoreUnavailableError, ObjectDeniedError) as error:
        raise CatalogUnavailableError(
            f"the catalog in {url} cannot be reached: {error}", **{**error.context, "url": url}
        ) from error
    except StoreError as error:
        raise CatalogError(
            f"the catalog in {url}: {error}", **{**error.context, "url": url}
        ) from error
