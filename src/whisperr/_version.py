"""The version of the package: its one source. The build and the wire both read it here."""

__version__ = "0.1.0"
