"""Segments as files: which rows go into one, in which order, and how it is written and read."""
