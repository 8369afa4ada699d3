"""PromQL: from text to series, the way Prometheus 3 reads and evaluates it."""
