"""The page of metrics: what it says of each trigger, as Prometheus reads it."""

import asyncio

from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from prometheus_client.parser import text_string_to_metric_families

from drifttrigger.api.reasons import ConditionType, Outcome, Reason
from drifttrigger.api.v1alpha1 import Condition, DriftTriggerStatus, Episode
from drifttrigger.core.observation import Observation
from drifttrigger.runtime import serve
from drifttrigger.runtime.metrics import Metrics, TriggerSeries
from drifttrigger.runtime.records import Record, first_record
from drifttrigger.runtime.views import Key, decode_trigger
from support.builders import START, UID, instant


def record(name: str, *, score: float | None = None, **spec: object) -> tuple[Key, Record]:
    given = {"prometheus": {"address": "http://p"}, "query": "q", "threshold": 0.2, **spec}
    view = decode_trigger(
        {
            "metadata": {
                "name": name,
                "namespace": "models",
                "uid": UID,
                "resourceVersion": "1",
                "generation": 1,
                "creationTimestamp": instant(0),
            },
            "spec": given,
        }
    )
    made = first_record(view, START)
    if score is not None:
        made.observation = Observation(tick=START, outcome=Outcome.SCORE, score=score)
    return view.key, made


def says(made: Record, **status: object) -> None:
    made.view = made.view.__class__(
        **{f: getattr(made.view, f) for f in made.view.__struct_fields__ if f != "status"},
        status=DriftTriggerStatus(**status),
    )


async def page(records: dict[Key, Record]) -> dict[str, dict[str, float]]:
    """Ask for a page; returns values by series and trigger."""
    app = serve.metrics_app(Metrics().registry, TriggerSeries(records.items).pieces)
    async with TestServer(app) as server, ClientSession() as session:
        response = await session.get(server.make_url("/metrics"))
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        text = await response.text()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert "drifttrigger_evaluations" in families
    names = ("score", "threshold", "drifted", "ready")
    assert all(families[f"drifttrigger_{name}"].type == "gauge" for name in names)
    return {
        name: {
            sample.labels["trigger"]: sample.value
            for sample in families[f"drifttrigger_{name}"].samples
            if sample.labels["namespace"] == "models"
        }
        for name in names
    }


async def test_every_trigger_of_this_replica_has_its_series() -> None:
    ready = Condition(
        type=ConditionType.READY, status="True", reason=Reason.EVALUATING, message="m"
    )
    records = dict(
        [
            record("fresh"),
            record("calm", score=0.1),
            record("drifted", score=1e-7, threshold=-5),
            record("unusable", threshold="x"),
            record("anothers", score=0.3),
        ]
    )
    says(records["models", "calm"], conditions=(ready,))
    says(records["models", "drifted"], episode=Episode(since=instant(0), number=1))
    records["models", "anothers"].is_owned = False
    assert await page(records) == {
        "score": {"calm": 0.1, "drifted": 1e-7},
        "threshold": {"fresh": 0.2, "calm": 0.2, "drifted": -5.0},
        "drifted": {"fresh": 0.0, "calm": 0.0, "drifted": 1.0, "unusable": 0.0},
        "ready": {"fresh": 0.0, "calm": 1.0, "drifted": 0.0, "unusable": 0.0},
    }


async def test_thousands_come_in_pieces() -> None:
    records = dict(record(f"t{n}", score=n / 1000) for n in range(1201))
    pieces = list(TriggerSeries(records.items).pieces())
    assert max(piece.count("\n") for piece in pieces) == 500
    found = await page(records)
    assert len(found["score"]) == len(found["ready"]) == 1201
    assert found["score"]["t1200"] == 1.2


async def test_a_head_has_no_body_and_leaves_the_connection_usable() -> None:
    app = serve.metrics_app(Metrics().registry, TriggerSeries(dict([record("t")]).items).pieces)
    async with TestServer(app) as server, ClientSession() as session:
        for _ in range(2):
            async with session.head(server.make_url("/metrics")) as response:
                assert response.status == 200
                assert await response.read() == b""
        async with session.get(server.make_url("/metrics")) as response:
            assert b"drifttrigger_threshold" in await response.read()


async def test_an_old_client_gets_the_whole_page() -> None:
    app = serve.metrics_app(Metrics().registry, TriggerSeries(dict([record("t")]).items).pieces)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"200 OK" in head
    assert body.splitlines()[-1].startswith(b"drifttrigger_ready{")
