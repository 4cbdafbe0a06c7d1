"""Let SIGTERM and SIGHUP end a program the way Ctrl-C does, through its `finally` blocks.

Their default kills the process on the spot: children would go (the kernel sees to that), but the
temporary folder would stay until the next start. A program that has a handler of its own keeps it.
"""

import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

_clusters = 0


def guard() -> None:
    """Turn the signals into SystemExit from now on; each call needs one of `unguard`."""
    global _clusters
    _clusters += 1
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit)


def unguard() -> None:
    """Give the signals their default back when nobody else needs the guard."""
    global _clusters
    _clusters -= 1
    if _clusters or threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is _exit:
            signal.signal(number, signal.SIG_DFL)


def _exit(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
