"""What the ingestion service does with a request: validation, hints, the response."""
