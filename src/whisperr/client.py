"""A module of whisperr 0.2; importing it says what to write instead."""

raise ImportError(
    "whisperr.client was a module of whisperr 0.2: write `from whisperr import Whisperr`, and the "
    "same for SDK_NAME"
)
