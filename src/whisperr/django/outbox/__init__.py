"""The outbox: events are rows of the project's own database, and a relay delivers them."""
