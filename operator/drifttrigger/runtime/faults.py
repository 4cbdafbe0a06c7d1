"""Fault points: places between two writes where tests stop or kill this process.

`DRIFTTRIGGER_FAULT=kill:intent-written` ends the process by SIGKILL the first time that it passes
that point, `stop:` suspends it by SIGSTOP, the first time too. Without the variable a point costs
one comparison.
"""

import os
import signal

_ACTION, _, _POINT = os.environ.get("DRIFTTRIGGER_FAULT", "").partition(":")
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
POINTS = ("intent-written", "retraining-created", "confirmed", "claimed", "job-created", "recorded")


_passed: set[str] = set()


def point(name: str) -> None:
    """Pass a fault point."""
    if name == _POINT and _ACTION in _SIGNALS and name not in _passed:
        _passed.add(name)
        os.kill(os.getpid(), _SIGNALS[_ACTION])
