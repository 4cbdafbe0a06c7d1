"""The rows of `conformance/answers.yaml`: what a server says, and the one name of it."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from drifttrigger.api.reasons import Outcome
from drifttrigger.core.observation import MESSAGE_LENGTH, Observation

_FILE = Path(__file__).parent.parent / "conformance" / "answers.yaml"


@dataclass(frozen=True)
class Row:
    """One answer and its name; see the head of the file."""

    says: str
    outcome: Outcome
    body: bytes
    status: int
    headers: dict[str, str]
    spec: dict[str, Any]
    expected: dict[str, Any] = field(default_factory=dict)

    def check(self, seen: Observation) -> None:
        """Hold an observation against the row."""
        assert seen.outcome is self.outcome, seen
        score = self.expected.get("score")
        assert repr(seen.score) == repr(score)
        assert self.expected.get("message", "") in seen.message
        assert seen.needs_edit == self.expected.get("needs_edit", False)
        assert seen.retry_after_seconds == self.expected.get("retry_after_seconds")
        assert len(seen.message) <= MESSAGE_LENGTH
        if "value" in self.expected:
            assert seen.value == self.expected["value"]
        if "count" in self.expected:
            assert seen.series is not None
            assert seen.series.count == self.expected["count"]


def answers() -> list[Any]:
    """Return all rows as parameters, each with its claim as id."""
    return [pytest.param(row, id=row.says) for row in _rows()]


@cache
def _rows() -> tuple[Row, ...]:
    rows = tuple(_row(dict(raw)) for raw in yaml.safe_load(_FILE.read_text()))
    assert len({row.says for row in rows}) == len(rows)
    return rows


def _row(raw: dict[str, Any]) -> Row:
    body = _body(raw)
    headers = {"Content-Type": "application/json"} | raw.pop("headers", {})
    known = {"score", "value", "message", "needs_edit", "retry_after_seconds", "count"}
    row = Row(
        says=raw.pop("says"),
        outcome=Outcome(raw.pop("outcome")),
        body=body,
        status=raw.pop("status", 200),
        headers=headers,
        spec=raw.pop("spec", {}),
        expected=raw,
    )
    assert set(raw) <= known, f"{row.says}: {set(raw) - known}"
    return row


def _body(raw: dict[str, Any]) -> bytes:
    warnings = raw.pop("warnings", None)
    if "body_repeat" in raw:
        text, count = raw.pop("body_repeat")
        return (text * count).encode()
    if "body" in raw:
        return str(raw.pop("body")).encode()
    values = raw.pop("many") if "many" in raw else [raw.pop("one")]
    labels = [f'{{"n":"{n}"}}' for n in range(len(values))] if len(values) > 1 else ["{}"]
    series = ",".join(
        f'{{"metric":{metric},"value":[1700000000,{value}]}}'
        for metric, value in zip(labels, values, strict=False)
    )
    extra = f',"warnings":{orjson.dumps(warnings).decode()}' if warnings else ""
    data = f'{{"resultType":"vector","result":[{series}]}}'
    return f'{{"status":"success","data":{data}{extra}}}'.encode()
