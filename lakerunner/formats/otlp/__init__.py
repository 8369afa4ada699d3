"""The OpenTelemetry protocol: messages to tables, column by column."""
