"""Telemetry straight from the programs that have it: a writer, and a journal for what waits."""
