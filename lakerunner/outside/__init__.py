"""The same lake for engines of others: which files, what columns, and what is not to be seen."""

from __future__ import annotations
