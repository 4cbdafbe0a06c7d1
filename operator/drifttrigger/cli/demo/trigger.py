"""The DriftTrigger of the demo, as a user would write it but for its pace."""

from typing import Any

from drifttrigger.api.v1alpha1 import API_VERSION
from drifttrigger.cli.demo.exporter import METRIC, MODEL

NAMESPACE = "default"
NAME = MODEL
QUERY = f'{METRIC}{{model="{MODEL}"}}'
JOB_SECONDS = 6


def trigger(*, address: str, threshold: float) -> dict[str, Any]:
    """Give the trigger's manifest.

    Args:
        address: Of Prometheus.
        threshold: θ.
    """
    container = {
        "name": "retrain",
        "image": "registry.example/fraud-retrain:12",
        "args": ["--because-of-score", "$(DRIFT_SCORE)"],
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "DriftTrigger",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "prometheus": {"address": address},
            "query": QUERY,
            "threshold": threshold,
            "interval": "1s",
            "model": {"name": MODEL, "owner": "risk"},
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,
                    "template": {
                        # Only the simulated kubelet reads it: how long the training takes.
                        "metadata": {
                            "annotations": {"local.drifttrigger.dev/duration": f"{JOB_SECONDS}s"}
                        },
                        "spec": {"restartPolicy": "Never", "containers": [container]},
                    },
                }
            },
        },
    }
