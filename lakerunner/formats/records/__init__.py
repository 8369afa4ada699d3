"""Formats that hold records of named fields: JSON, CSV, logfmt, text lines and Parquet.

A reader turns payloads into `Records`, a table of the columns as they were written; `adopt` then
finds out what the columns mean.
"""
