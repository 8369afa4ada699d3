"""Input formats: bytes to Arrow. Only ingestion imports from here."""
