"""Child processes that end with the process that started them, and with nothing else that it does.

The kernel sends the signal (PR_SET_PDEATHSIG), so that no crash leaves an orphan behind. It is set in a small
process that then becomes the program: code between fork and exec is unsafe in a process with threads. And
they are in a session of their own, so that Ctrl-C reaches only the parent, which ends them in order.
"""

from __future__ import annotations

import os
import signal
import sys

_BECOME = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, int(sys.argv[2]), 0, 0, 0)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.setsid()
os.execv(sys.argv[3], sys.argv[3:])
"""


def ending_with_parent(*command: str, by: signal.Signals = signal.SIGKILL) -> tuple[str, ...]:
    """The command line that runs ``command`` (its program as a path) as a child of the calling process."""
    return (sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), str(int(by)), *command)
