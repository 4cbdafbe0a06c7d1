"""What can go wrong with the local control plane, each told in a sentence that says what to do.

```
DriftTriggerError
├── PermanentError
│   ├── BuildError        a binary can't be had: no Go, or the build failed
│   └── StartError        a process did not come up; carries the end of its log
└── UsageError
    ├── AlreadyRunning    the directory has a running cluster
    └── NotRunning        the directory has none
```
"""

from drifttrigger.api.errors import PermanentError, UsageError


class BuildError(PermanentError):
    """A binary is neither at hand nor can it be built."""


class StartError(PermanentError):
    """A process of the control plane did not come up, or ended before it was told to.

    Args:
        name: Which process, as in `kube-apiserver`.
        problem: What happened.
        log: The last lines that it wrote; empty when it wrote none.
    """

    def __init__(self, name: str, problem: str, *, log: str = "") -> None:
        super().__init__(f"{name} {problem}" + (f"; its last lines:\n{log}" if log else ""))
        self.name = name
        self.log = log


class AlreadyRunning(UsageError):  # noqa: N818 - the name is the meaning
    """A cluster runs from this directory already."""


class NotRunning(UsageError):  # noqa: N818 - the name is the meaning
    """No cluster runs from this directory."""
