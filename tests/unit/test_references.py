"""Which source a trigger means, and whether it may use it."""

from typing import Any

import pytest

from drifttrigger.api.errors import TransientError
from drifttrigger.api.reasons import Outcome
from drifttrigger.api.servers import (
    LabelRequirement,
    LabelSelector,
    PrometheusServer,
    SourceKind,
    SourceRef,
)
from drifttrigger.core.observation import Answer
from drifttrigger.sources.references import References, decode_source, selects
from support.clock import FakeClock
from support.vault import Vault

CLUSTER, NAMESPACED = SourceKind.CLUSTER_METRICS_SOURCE, SourceKind.METRICS_SOURCE
ALL: dict[str, Any] = {"selector": {}}


class Ground:
    """References over objects in memory."""

    def __init__(self, *watched: SourceKind) -> None:
        self.vault, self.clock = Vault(), FakeClock()
        self.references = References(
            self.vault,  # type: ignore[arg-type] # only reads
            self.clock,
            namespace="drifttrigger-system",
            default="default",
            watched=frozenset(watched),
        )

    def shared(self, name: str = "default", *, allowed: Any = None, **spec: Any) -> None:
        spec = {"address": f"http://{name}", **spec}
        if allowed is not None:
            spec["allowedNamespaces"] = allowed
        self.vault.put("ClusterMetricsSource", "", name, {"spec": spec})

    def own(self, name: str, namespace: str = "models") -> None:
        spec = {"address": f"http://{name}.{namespace}"}
        self.vault.put("MetricsSource", namespace, name, {"spec": spec})

    def namespace(self, name: str, **labels: str) -> None:
        self.vault.put("Namespace", "", name, {})
        self.vault._objects["Namespace", "", name]["metadata"]["labels"] = labels

    async def resolve(
        self, name: str = "", *, kind: SourceKind = CLUSTER, namespace: str = "models"
    ) -> tuple[str, str]:
        """Resolve to address and namespace of the Secrets, or to the outcome and its words."""
        found = await self.references.resolve(SourceRef(kind=kind, name=name), namespace)
        if isinstance(found, Answer):
            assert found.failure is not None
            return found.failure.value, found.message
        return found[0].address, found[1]


async def test_an_inline_server_is_itself() -> None:
    server = PrometheusServer(address="http://p")
    assert await Ground().references.resolve(server, "models") == (server, "models")


async def test_no_reference_means_the_clusters_default() -> None:
    ground = Ground()
    ground.shared("default", allowed=ALL)
    assert await ground.resolve() == ("http://default", "drifttrigger-system")


async def test_without_a_default_it_says_what_to_do() -> None:
    outcome, message = await Ground().resolve()
    assert outcome == Outcome.UNREACHABLE
    assert message == (
        "there is no ClusterMetricsSource default; "
        "name a source with sourceRef, or a server with prometheus"
    )


async def test_a_source_of_a_namespace_is_that_namespaces_own() -> None:
    ground = Ground()
    ground.own("platform")
    assert await ground.resolve("platform", kind=NAMESPACED) == (
        "http://platform.models",
        "models",
    )
    outcome, message = await ground.resolve("platform", kind=NAMESPACED, namespace="others")
    assert outcome == Outcome.UNREACHABLE
    assert message == "there is no MetricsSource platform in namespace others"


@pytest.mark.parametrize(
    ("allowed", "is_allowed"),
    [
        pytest.param(None, False, id="absent allows none"),
        pytest.param({}, False, id="empty allows none"),
        pytest.param({"names": ["others"]}, False, id="other names"),
        pytest.param({"names": ["others", "models"]}, True, id="by name"),
        pytest.param(ALL, True, id="an empty selector allows all"),
        pytest.param({"selector": {"matchLabels": {"team": "a"}}}, True, id="by label"),
        pytest.param({"selector": {"matchLabels": {"team": "b"}}}, False, id="another label"),
        pytest.param(
            {"names": ["models"], "selector": {"matchLabels": {"team": "b"}}}, True, id="either"
        ),
        pytest.param(
            {"selector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}},
            True,
            id="by expression",
        ),
    ],
)
async def test_a_clusters_source_is_for_whom_it_allows(allowed: Any, is_allowed: bool) -> None:
    ground = Ground()
    ground.shared("shared", allowed=allowed)
    ground.namespace("models", team="a")
    found = await ground.resolve("shared")
    if is_allowed:
        assert found == ("http://shared", "drifttrigger-system")
    else:
        assert found == (
            Outcome.UNAUTHORIZED,
            "ClusterMetricsSource shared does not allow namespace models; "
            "its allowedNamespaces has to name or select it",
        )


async def test_labels_that_can_not_be_read_select_nothing() -> None:
    ground = Ground()
    ground.shared("shared", allowed={"selector": {"matchLabels": {"team": "a"}}})
    assert (await ground.resolve("shared"))[0] == Outcome.UNAUTHORIZED


async def test_labels_are_read_again_after_a_minute() -> None:
    ground = Ground(CLUSTER)
    ground.shared("shared", allowed={"selector": {"matchLabels": {"team": "a"}}})
    ground.namespace("models", team="b")
    assert (await ground.resolve("shared"))[0] == Outcome.UNAUTHORIZED
    ground.namespace("models", team="a")
    assert (await ground.resolve("shared"))[0] == Outcome.UNAUTHORIZED
    ground.clock.move(60)
    assert (await ground.resolve("shared"))[0] == "http://shared"


@pytest.mark.parametrize(
    ("operator", "values", "labels", "is_selected"),
    [
        ("In", ("a", "b"), {"team": "b"}, True),
        ("In", ("a",), {"team": "c"}, False),
        ("In", ("a",), {}, False),
        ("NotIn", ("a",), {"team": "c"}, True),
        ("NotIn", ("a",), {}, True),
        ("NotIn", ("a",), {"team": "a"}, False),
        ("Exists", (), {"team": ""}, True),
        ("Exists", (), {}, False),
        ("DoesNotExist", (), {}, True),
        ("DoesNotExist", (), {"team": "a"}, False),
        ("Nonsense", (), {"team": "a"}, False),
    ],
)
def test_expressions_mean_what_they_mean_to_the_api_server(
    operator: str, values: tuple[str, ...], labels: dict[str, str], is_selected: bool
) -> None:
    requirement = LabelRequirement(key="team", operator=operator, values=values)
    assert selects(LabelSelector(match_expressions=(requirement,)), labels) is is_selected


def test_all_that_a_selector_says_must_hold() -> None:
    selector = LabelSelector(
        match_labels={"team": "a"},
        match_expressions=(LabelRequirement(key="tier", operator="Exists"),),
    )
    assert selects(selector, {"team": "a", "tier": "1"})
    assert not selects(selector, {"team": "a"})
    assert not selects(selector, {"tier": "1"})


# What is remembered.


async def test_a_source_applied_after_its_trigger_is_found_within_seconds() -> None:
    ground = Ground(NAMESPACED)
    assert (await ground.resolve("late", kind=NAMESPACED))[0] == Outcome.UNREACHABLE
    ground.own("late")
    reads = len(ground.vault.reads)
    assert (await ground.resolve("late", kind=NAMESPACED))[0] == Outcome.UNREACHABLE
    assert len(ground.vault.reads) == reads, "not asked again at once"
    ground.clock.move(5)
    assert (await ground.resolve("late", kind=NAMESPACED))[0] == "http://late.models"


async def test_the_watch_makes_a_source_known_at_once() -> None:
    ground = Ground(NAMESPACED)
    await ground.resolve("late", kind=NAMESPACED)
    body = {
        "metadata": {"name": "late", "namespace": "models", "uid": "u", "resourceVersion": "9"},
        "spec": {"address": "http://late"},
    }
    ground.references.take(decode_source(NAMESPACED, body))
    assert (await ground.resolve("late", kind=NAMESPACED))[0] == "http://late"


async def test_a_kind_that_is_not_watched_is_read_every_minute() -> None:
    ground = Ground()
    ground.shared("shared", allowed=ALL)
    for _ in range(3):
        await ground.resolve("shared")
    assert len(ground.vault.reads) == 1
    ground.shared("shared", allowed=ALL, address="http://moved")
    ground.clock.move(60)
    assert (await ground.resolve("shared"))[0] == "http://moved"


async def test_a_source_that_can_not_be_read_says_why() -> None:
    ground = Ground()
    ground.vault.fail(TransientError("503 down"))
    message = "ClusterMetricsSource shared can't be read now: 503 down"
    assert await ground.resolve("shared") == (Outcome.UNREACHABLE, message)
    ground.vault.fail(None)
    ground.shared("shared", allowed=ALL)
    assert (await ground.resolve("shared"))[0] == "http://shared"


async def test_a_missing_right_is_named() -> None:
    ground = Ground()
    ground.vault.refuse()
    outcome, message = await ground.resolve("shared")
    assert outcome == Outcome.UNREACHABLE
    assert "ClusterMetricsSource shared can't be read: 403" in message


# Decoding.


def decoded(spec: object, *, status: object = None, kind: SourceKind = NAMESPACED) -> Any:
    metadata = {"name": "s", "namespace": "models", "uid": "u", "resourceVersion": "1"}
    return decode_source(kind, {"metadata": metadata, "spec": spec, "status": status})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (None, "address"),
        ({"address": 5}, "address"),
        ({"address": "ftp://p"}, "spec.address: must be an http:// or https:// URL"),
        ({"address": "http://p", "timeout": "1h"}, "spec.timeout: must be between 1 and 120"),
        ({"address": "http://p", "tls": {}}, "spec.tls: is for https addresses only"),
    ],
    ids=["nothing", "a number", "another scheme", "an hour", "TLS over http"],
)
async def test_a_source_that_can_not_be_used_says_why(spec: object, words: str) -> None:
    view = decoded(spec)
    assert view.server is None
    assert words in view.problem
    ground = Ground(NAMESPACED)
    ground.references.take(view)
    outcome, message = await ground.resolve("s", kind=NAMESPACED)
    assert outcome == Outcome.UNREACHABLE
    assert message.startswith("MetricsSource s can't be used: ")


def test_a_status_broken_by_hand_is_no_problem() -> None:
    view = decoded({"address": "http://p"}, status={"triggers": "many"})
    assert view.server is not None
    assert view.status.triggers == 0


def test_equal_blocks_are_equal_wherever_they_stand() -> None:
    own = decoded({"address": "http://p"}).server
    shared = decoded({"address": "http://p", "allowedNamespaces": ALL}, kind=CLUSTER).server
    assert own == shared == PrometheusServer(address="http://p")


@pytest.mark.parametrize(
    ("ref", "namespace", "uses"),
    [
        (SourceRef(kind=NAMESPACED, name="s"), "models", True),
        (SourceRef(kind=NAMESPACED, name="s"), "others", False),
        (SourceRef(kind=NAMESPACED, name="t"), "models", False),
        (SourceRef(name="s"), "models", False),
        (PrometheusServer(address="http://p"), "models", False),
    ],
    ids=["its own", "of another namespace", "another name", "another kind", "inline"],
)
def test_who_uses_a_source(ref: object, namespace: str, uses: bool) -> None:
    view = decoded({"address": "http://p"})
    assert Ground().references.uses(ref, namespace, view) is uses
