"""The seam between execution and whatever does the training."""

from datetime import datetime
from typing import Protocol

import msgspec

from drifttrigger.api.reasons import Reason
from drifttrigger.api.v1alpha1 import RetrainingSpec, Target


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A started target as the API server has it now.

    Attributes:
        target: Its identity.
        owner_uid: UID of its controller; empty when it has none.
        is_being_deleted: A deletionTimestamp is set.
        reason: Running, JobPending, JobSuspended, Completed or JobFailed.
        message: A sentence in the target's own words.
        ended_at: When it ended; None while it has not.
        look_again_at: When the reason may change without an event.
    """

    target: Target
    owner_uid: str
    is_being_deleted: bool
    reason: Reason
    message: str
    ended_at: datetime | None = None
    look_again_at: datetime | None = None


class Launcher(Protocol):
    """Starts one kind of target under the Retraining's own name.

    Methods raise `api.errors`, as the API server's refusal was.
    """

    async def find(self, namespace: str, name: str, *, now: datetime) -> Running | None:
        """Read the target live, None when there is none."""

    async def start(
        self, spec: RetrainingSpec, *, name: str, namespace: str, uid: str, now: datetime
    ) -> Running:
        """Create the target, owned by the Retraining."""

    async def rehearse(self, spec: RetrainingSpec, *, name: str, namespace: str) -> None:
        """Let the API server judge the target without creating it."""

    async def settle(self, spec: RetrainingSpec, running: Running, namespace: str) -> None:
        """Allow clean-up once the outcome is recorded."""

    async def discard(self, running: Running, namespace: str) -> None:
        """Delete a stray target, by uid."""
