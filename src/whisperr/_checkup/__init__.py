"""Finds out why nothing arrives, for `whisperr doctor` and `manage.py whisperr_check`."""
