"""Become another program that dies with its parent, even when the parent is killed by -9.

Run as a script: `python -I -S launch.py PARENT_PID PROGRAM ARGUMENTS…`. The kernel's parent-death
signal survives exec, so that nothing of ours stays between the parent and the program. A script of
its own, because code between fork and exec in a process with threads may deadlock.
"""

import ctypes
import os
import signal
import sys

# From linux/prctl.h. Other systems have no such call: there, only a normal end stops the program.
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Arm the signal, make sure that the parent was not faster, and become the program."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the signal was armed: then nobody would ever send it.
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
