"""What ends a run early, with a sentence that says why."""


class BenchError(Exception):
    """The run can't go on; the message is for people."""
