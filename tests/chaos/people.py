"""What people and models do in a storm: scores go up and down, triggers are edited and replaced."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from chaos.ground import TRIGGERS, Ground, pod_template
from drifttrigger.core.times import format_instant
from support.faults import seeded

HIGH, LOW = 0.9, 0.05
_POLL_SECONDS = 0.1
_TRIES = 5


@dataclass(frozen=True)
class Kind:
    """One trigger of the storm, the same in every namespace.

    Args:
        name: Its name.
        spec: What differs from the others.
        job: What becomes of its pods.
        job_spec: What its Jobs have beside the pod template.
    """

    name: str
    spec: dict[str, Any] = field(default_factory=dict)
    job: dict[str, str] = field(default_factory=dict)
    job_spec: dict[str, Any] = field(default_factory=dict)

    def body(self, namespace: str, address: str) -> dict[str, Any]:
        """Build it."""
        spec = {
            "prometheus": {"address": address, "timeout": "2s"},
            "query": f'max(model_drift_score{{model="{namespace}-{self.name}"}})',
            "threshold": 0.2,
            "interval": "1s",
            "cooldown": "0s",
            "maxAttempts": 0,
            "jobTemplate": {"spec": {"template": pod_template(**self.job), **self.job_spec}},
        }
        return {
            "apiVersion": "drifttrigger.dev/v1alpha1",
            "kind": "DriftTrigger",
            "metadata": {"name": self.name, "namespace": namespace},
            "spec": spec | self.spec,
        }


KINDS = (
    Kind("plain"),
    Kind("debounced", {"cooldown": "1s", "breaches": {"required": 2, "window": 3}}),
    Kind("expiring", {"cooldown": "2s"}, job_spec={"ttlSecondsAfterFinished": 0}),
    Kind("owned", {"deletionPolicy": "Delete", "cooldown": "1s"}, {"duration": "2s"}),
    Kind("failing", {"cooldown": "1s"}, {"outcome": "fail"}, {"backoffLimit": 0}),
    Kind("slow", {}, {"duration": "5s"}),
    Kind("allowing", {"concurrencyPolicy": "Allow", "cooldown": "2s"}, {"duration": "3s"}),
)
ALLOWING = frozenset({"allowing"})


class People(threading.Thread):
    """Moves scores and edits triggers until told to stop.

    Args:
        ground: Where.
        address: Metrics server that the triggers name.
        kinds: The triggers.
        seed: Repeats what is done; not when the API server is there to hear it.
    """

    def __init__(self, ground: Ground, address: str, kinds: tuple[Kind, ...], seed: str) -> None:
        super().__init__(daemon=True, name="people")
        self._ground = ground
        self._address = address
        self._kinds = {kind.name: kind for kind in kinds}
        self._keys = [(space, kind.name) for space in ground.namespaces for kind in kinds]
        self._random = seeded(f"{seed}/people")
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._over = threading.Event()
        self.done: Counter[str] = Counter()

    def begin(self) -> None:
        """Create the triggers."""
        for key in self._keys:
            self.score(key, LOW)
            self._create(key)

    def run(self) -> None:
        """Disturb."""
        started = time.monotonic()
        flips = {key: started + self._random.uniform(0, 3) for key in self._keys}
        is_high = dict.fromkeys(self._keys, False)
        edit_at = started + 3
        while not self._over.wait(_POLL_SECONDS):
            now = time.monotonic()
            for key in (key for key in self._keys if flips[key] <= now):
                is_high[key] = not is_high[key]
                self.score(key, HIGH if is_high[key] else LOW)
                flips[key] = now + self._random.uniform(*((2, 8) if is_high[key] else (2, 6)))
            if now >= edit_at:
                edit_at = now + self._random.uniform(1, 4)
                self._attempt(self._something())
            due = [item for item in self._later if item[0] <= now]
            self._later = [item for item in self._later if item[0] > now]
            for _, action in due:
                self._attempt(action)

    def stop(self) -> None:
        """Stop disturbing; what was taken away for a while comes back, and all scores are low."""
        self._over.set()
        self.join()
        for key in self._keys:
            self.score(key, LOW)
        for _, action in self._later:
            action()
        for key in self._keys:
            self._restore(key)

    def all_scores(self, value: float) -> None:
        """Set every score."""
        for key in self._keys:
            self.score(key, value)

    def score(self, key: tuple[str, str], value: float) -> None:
        """Set one score."""
        self._ground.scores.set("-".join(key), value)

    def _something(self) -> Callable[[], None]:
        key = self._random.choice(self._keys)
        actions: tuple[tuple[str, Callable[[], None]], ...] = (
            ("threshold edited", lambda: self._edit(key, _threshold(self._random.random()))),
            ("template edited", lambda: self._edit(key, _image(self._random.random()))),
            ("suspended", lambda: self._for_a_while(key, _suspend(asleep=True), _suspend())),
            ("held", lambda: self._for_a_while(key, _hold("forever a freeze"), _hold(None))),
            ("asked for by hand", lambda: self._edit(key, _trigger_now())),
            ("deleted", lambda: self._remove(key, self._random.uniform(0.5, 4))),
            ("replaced at once", lambda: self._remove(key, 0)),
        )
        name, action = self._random.choice(actions)
        self.done[name] += 1
        return action

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError:
            self.done["not heard"] += 1
            self._later.append((time.monotonic() + 1, action))

    def _for_a_while(
        self,
        key: tuple[str, str],
        edit: Callable[[dict[str, Any]], None],
        undo: Callable[[dict[str, Any]], None],
    ) -> None:
        self._edit(key, edit)
        until = time.monotonic() + self._random.uniform(1, 4)
        self._later.append((until, lambda: self._edit(key, undo)))

    def _remove(self, key: tuple[str, str], seconds: float) -> None:
        self._ground.api.send("DELETE", f"{TRIGGERS.format(key[0])}/{key[1]}")
        if seconds:
            self._later.append((time.monotonic() + seconds, lambda: self._create(key)))
        else:
            self._create(key)

    def _create(self, key: tuple[str, str]) -> None:
        body = self._kinds[key[1]].body(key[0], self._address)
        answer = self._ground.api.send("POST", TRIGGERS.format(key[0]), body=body)
        if answer.status not in (201, 409):
            raise ConnectionError(answer.body.decode(errors="replace"))

    def _edit(self, key: tuple[str, str], change: Callable[[dict[str, Any]], None]) -> None:
        path = f"{TRIGGERS.format(key[0])}/{key[1]}"
        for _ in range(_TRIES):
            answer = self._ground.api.get(path)
            if answer.status != 200:
                return
            body = json.loads(answer.body)
            change(body)
            if self._ground.api.send("PUT", path, body=body).status != 409:
                return

    def _restore(self, key: tuple[str, str]) -> None:
        def change(body: dict[str, Any]) -> None:
            _suspend()(body)
            _hold(None)(body)

        self._create(key)
        self._edit(key, change)


def _threshold(draw: float) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        body["spec"]["threshold"] = round(0.15 + draw / 10, 4)

    return change


def _image(draw: float) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        pod = body["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        pod["containers"][0]["image"] = f"registry.example/retrain:{int(draw * 1000)}"

    return change


def _suspend(*, asleep: bool = False) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        body["spec"]["suspend"] = asleep

    return change


def _hold(text: str | None) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        annotations = body["metadata"].setdefault("annotations", {})
        annotations.pop("drifttrigger.dev/hold", None)
        if text is not None:
            annotations["drifttrigger.dev/hold"] = text

    return change


def _trigger_now() -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        annotations = body["metadata"].setdefault("annotations", {})
        annotations["drifttrigger.dev/trigger-now"] = format_instant(datetime.now(UTC))

    return change
