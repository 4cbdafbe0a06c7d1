"""What kopf tells us belongs to the event loop, never to a thread."""

import inspect

from drifttrigger.api.servers import SourceKind
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.kube import KubernetesApi
from drifttrigger.clients.transport import Transport
from drifttrigger.runtime.execution import Execution
from drifttrigger.runtime.feed import Feed
from drifttrigger.runtime.settings import Settings
from drifttrigger.runtime.sources import Sources


def test_no_handler_runs_in_a_thread() -> None:
    """kopf runs plain functions in threads, where two would touch one record at once."""
    sources = object.__new__(Sources)
    sources.watched = tuple(SourceKind)
    feed = Feed(
        KubernetesApi(object.__new__(Transport)),
        SystemClock(),
        Settings(),
        detection=None,
        execution=object.__new__(Execution),
        sources=sources,
    )
    handlers = feed._registry()._watching.get_all_handlers()
    assert len(handlers) == 5
    assert all(inspect.iscoroutinefunction(handler.fn) for handler in handlers)
