"""The version of the package. The build and the `User-Agent` header read it here."""

__version__ = "1.0.0"
