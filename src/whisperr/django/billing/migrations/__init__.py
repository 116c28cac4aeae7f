"""Migrations of the table of the states of subscriptions."""
