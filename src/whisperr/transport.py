"""A module of whisperr 0.2; importing it says what to write instead."""

raise ImportError(
    "whisperr.transport was a module of whisperr 0.2: a transport of your own has the methods of "
    "whisperr.protocols.Transport; tests use whisperr.testing.capture() or MemoryTransport"
)
