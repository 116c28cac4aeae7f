"""The outbox: events are rows in the project's own database, and a relay delivers them."""
