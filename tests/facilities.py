"""Marks that skip a test where the system lacks what it needs, with the reason."""

from __future__ import annotations

import _thread
import os
import signal
import sys

import pytest

from whisperr._platform import WINDOWS, get_user_id

# Programs that tests start see the system as it is.
IS_HIDING = "tests.without_posix" in sys.modules

IS_ROOT = get_user_id() == 0

needs_links = pytest.mark.skipif(WINDOWS, reason="links need a privilege here")
needs_modes = pytest.mark.skipif(get_user_id() is None, reason="files have no modes or owners here")
needs_open_files_to_move = pytest.mark.skipif(
    WINDOWS, reason="a file that is open can neither be moved nor deleted here"
)
needs_pwrite = pytest.mark.skipif(
    not hasattr(os, "pwrite"), reason="counts calls of os.write, and headers need more here"
)
needs_own_signals = pytest.mark.skipif(
    not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1 on this system"
)
needs_signals = pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="programs are ended by signals"
)
needs_signal_masks = pytest.mark.skipif(
    not hasattr(signal, "pthread_sigmask"), reason="threads take no signals here"
)
needs_shell = pytest.mark.skipif(
    WINDOWS, reason="needs the shell of POSIX, or its pipes and devices"
)
needs_terminal = pytest.mark.skipif(WINDOWS, reason="the console of Windows is asked what it obeys")
needs_timer = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer here")
needs_real_locks = pytest.mark.skipif(
    IS_HIDING, reason="the program that it starts locks files as this system does"
)


def send_signal_to_us(number: signal.Signals) -> None:
    """Do what another process does that sends this one a signal. Any thread may call it."""
    if WINDOWS:  # where no process can, and a handler runs in the main thread as well
        _thread.interrupt_main(signal.Signals(number))
    else:
        os.kill(os.getpid(), number)
