"""What one test sees: a namespace, scores that Prometheus scrapes, operators that look at it."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.cluster import SharedCluster
from support.kubectl import Kubectl, eventually
from support.operator import OperatorProcess
from support.scores import Scores


@dataclass
class World:
    """What one test sees."""

    namespace: str
    kubectl: Kubectl
    scores: Scores
    cluster: SharedCluster
    kubeconfig: Path
    folder: Path
    operators: list[OperatorProcess] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    def operator(self, *arguments: str, fault: str = "") -> OperatorProcess:
        """Start an operator for this namespace, with only the shipped rights."""
        started = OperatorProcess(
            self.kubeconfig,
            [self.namespace],
            self.folder / f"operator-{next(self._numbers)}.log",
            fault=fault,
            arguments=arguments,
        )
        self.operators.append(started)
        return started

    def trigger(self, name: str = "fraud", **spec: Any) -> dict[str, Any]:
        """Build a trigger: every second, score of its own name, θ 0.2."""
        annotations = spec.pop("annotations", {})
        template = spec.pop("podTemplate", {})
        body = {
            "apiVersion": "drifttrigger.dev/v1alpha1",
            "kind": "DriftTrigger",
            "metadata": {"name": name, "namespace": self.namespace, "annotations": annotations},
            "spec": {
                "prometheus": {"address": self.cluster.prometheus_url},
                "query": f'max(model_drift_score{{model="{self.model(name)}"}})',
                "threshold": 0.2,
                "interval": "1s",
                "jobTemplate": {"spec": {"template": pod_template(**template)}},
            },
        }
        body["spec"].update(spec)
        return body

    def model(self, name: str) -> str:
        """The label of a trigger's score; unique over all tests."""
        return f"{self.namespace}-{name}"

    def apply(self, body: dict[str, Any]) -> None:
        """kubectl apply."""
        self.kubectl("apply", "--filename=-", stdin=body)

    def set(self, name: str, *values: object) -> None:
        """Set the scores of a trigger."""
        self.scores.set(self.model(name), *values)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Get one object."""
        return self.kubectl.get(kind, name, "--namespace", self.namespace)

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Get all objects of a kind."""
        return self.kubectl.get(kind, "--namespace", self.namespace)["items"]

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        """Get a condition of a trigger; empty when it has none."""
        conditions = self.get("drifttrigger", name).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def wait(self, question: Any, *, within_seconds: float = 20.0, what: str = "it") -> None:
        """Wait for something; shows the operator's log when it does not come."""
        try:
            eventually(question, within_seconds=within_seconds, what=what)
        except AssertionError as error:
            logs = "\n".join(o.log.read_text()[-4000:] for o in self.operators)
            raise AssertionError(f"{error}\n{self.all('drifttrigger')}\n{logs}") from None

    def wait_reason(self, name: str, kind: str, *reasons: str, within_seconds: float = 20) -> None:
        """Wait until a condition has one of the reasons."""
        self.wait(
            lambda: self.condition(name, kind).get("reason") in reasons,
            within_seconds=within_seconds,
            what=f"{kind} {reasons} of {name}",
        )

    def wait_jobs(self, number: int, *, within_seconds: float = 20.0) -> list[dict[str, Any]]:
        """Wait until there are this many Jobs."""
        self.wait(
            lambda: len(self.all("job")) >= number,
            within_seconds=within_seconds,
            what=f"{number} Jobs",
        )
        jobs = self.all("job")
        assert len(jobs) == number
        return jobs

    def created_jobs(self) -> list[str]:
        """Names of all Jobs ever created in this namespace, from the API server's audit log."""
        return [
            event["objectRef"]["name"]
            for event in self.cluster.audit_events()
            if event["verb"] == "create"
            and event["objectRef"].get("resource") == "jobs"
            and event["objectRef"].get("namespace") == self.namespace
            and event.get("stage") == "ResponseComplete"
            and event["responseStatus"]["code"] == 201
            and "dryRun" not in event["requestURI"]
        ]

    def status_writes(self, name: str) -> int:
        """Count the writes to a trigger's status, from the audit log."""
        return sum(
            event["verb"] in ("patch", "update")
            and event["objectRef"].get("resource") == "drifttriggers"
            and event["objectRef"].get("name") == name
            and event["objectRef"].get("namespace") == self.namespace
            and event.get("stage") == "ResponseComplete"
            for event in self.cluster.audit_events()
        )


def pod_template(**annotations: str) -> dict[str, Any]:
    """Build a pod template; annotations tell the fake node what becomes of the pod."""
    return {
        "metadata": {
            "annotations": {f"local.drifttrigger.dev/{k}": v for k, v in annotations.items()}
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "retrain", "image": "registry.example/retrain:1"}],
        },
    }
