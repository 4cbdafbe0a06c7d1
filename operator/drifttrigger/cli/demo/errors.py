"""What the demo says when the story did not happen."""

from drifttrigger.api.errors import DriftTriggerError


class NotObserved(DriftTriggerError):  # noqa: N818 - the name is the meaning
    """Something that the demo promises was not seen in time."""
