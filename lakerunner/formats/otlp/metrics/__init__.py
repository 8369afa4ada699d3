"""OTLP metrics: data points of five kinds to one table of metric rows."""
