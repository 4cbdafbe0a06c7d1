"""Every error that drifttrigger raises on purpose, in one tree.

```
DriftTriggerError
├── TransientError        the same call may succeed later (429, 5xx, connection lost)
│   ├── UnknownOutcome    a write got no answer: it may have happened, read before retrying
│   └── MissingRight      a right is missing that somebody may grant (403 "User … cannot …")
├── ConflictError         the object changed since it was read (409 Conflict)
│   ├── AlreadyExists     the name is taken (409 AlreadyExists)
│   └── NamespaceGone     the namespace is being terminated: nothing can be created in it
├── ForbiddenError        the API server refuses us (401, 403)
│   └── QuotaExceeded     a ResourceQuota is used up: an edit or time may cure it
├── NotFoundError         the object is not there (404)
├── CredentialError       a Secret or ConfigMap that a source names can't be used
├── PermanentError        only an edit can cure it (400, 422)
│   └── SpecError         a field of an object, or of a file, is wrong
└── UsageError            a person asked for something that can't be done; says what to do
```

The runtime decides by the class alone: transient errors are retried with backoff, conflicts are
decided again on what the API server has now, permanent ones become a condition.
"""


class DriftTriggerError(Exception):
    """Base of all errors raised on purpose."""


class TransientError(DriftTriggerError):
    """The same call may succeed later.

    Args:
        message: What happened, in the server's words where it spoke.
        retry_after_seconds: The server's own wish, when it named one.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class UnknownOutcome(TransientError):  # noqa: N818 - the name is the meaning
    """A write was sent and no answer came: it may or may not have happened."""


class MissingRight(TransientError):  # noqa: N818 - the name is the meaning
    """We lack a right; it may come, as right after the server's start or when somebody grants it.

    Args:
        message: What the API server said.
        user: Who the API server takes us for; empty when it did not say.
    """

    def __init__(self, message: str, *, user: str = "") -> None:
        super().__init__(message)
        self.user = user


class ConflictError(DriftTriggerError):
    """The object is not what it was when the decision was made."""


class AlreadyExists(ConflictError):  # noqa: N818 - Kubernetes' own word
    """An object of that name exists."""


class NamespaceGone(ConflictError):  # noqa: N818 - the name is the meaning
    """The namespace is being terminated or does not exist."""


class ForbiddenError(DriftTriggerError):
    """The API server refuses the request for who we are."""


class QuotaExceeded(ForbiddenError):  # noqa: N818 - Kubernetes' own word
    """A ResourceQuota of the namespace has no room."""


class NotFoundError(DriftTriggerError):
    """The object does not exist."""


class CredentialError(DriftTriggerError):
    """What a source needs to be asked can't be had; the message says why, and no secret."""


class PermanentError(DriftTriggerError):
    """The request is wrong in itself."""


class SpecError(PermanentError):
    """A field of a user's object can't be used.

    Args:
        field: Path of the field, as in `spec.schedule`.
        problem: What is wrong with it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class UsageError(DriftTriggerError):
    """What a person asked for can't be done; the message says what to do."""
