"""What keeps deletions and commits from missing each other; see decision 024.

`Fence` is what workers use: it knows that lake and catalog belong together, and how to delete.
"""

from __future__ import annotations

from lakerunner.fencing.fence import Fence

__all__ = ["Fence"]
