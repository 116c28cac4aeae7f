"""Migrations of the tables of the outbox."""
