"""What is removed goes, whichever way and by whomever; the policies keep nobody from it.

Last of all files: the garbage collector learns of new kinds every 30 s, and by now it has.
"""

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from support.crds import API_VERSION, SMALLEST, sample, schema_of
from support.kubectl import Kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("install")]

TRIGGERS = "drifttriggers.drifttrigger.dev"
RETRAININGS = "retrainings.drifttrigger.dev"
TIMEOUT = "--timeout=45s"


@pytest.fixture
def namespace(applied: Kubectl) -> Iterator[str]:
    """A namespace with a trigger, its record, and an author who may not create Jobs."""
    name = f"removal-{uuid.uuid4().hex[:8]}"
    of_it = f"--namespace={name}"
    applied("create", "namespace", name)
    applied("create", "role", "author", "--verb=*", f"--resource={TRIGGERS}", of_it)
    applied("create", "rolebinding", "author", "--role=author", "--user=author", of_it)
    trigger = copy.deepcopy(SMALLEST)
    trigger["metadata"] = {"name": "fraud", "namespace": name}
    applied("create", "--filename=-", stdin=trigger)
    uid = applied.get(TRIGGERS, "fraud", of_it)["metadata"]["uid"]
    applied("create", "--filename=-", stdin=record(name, uid))
    yield name
    applied("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def record(namespace: str, owner_uid: str) -> dict[str, Any]:
    owner = {"apiVersion": API_VERSION, "kind": "DriftTrigger", "name": "fraud", "uid": owner_uid}
    return {
        "apiVersion": API_VERSION,
        "kind": "Retraining",
        "metadata": {
            "name": "fraud-abcde-1",
            "namespace": namespace,
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": sample(schema_of("retrainings")["properties"]["spec"]),
    }


@pytest.mark.parametrize(
    ("cascade", "left"),
    [("foreground", []), ("background", []), ("orphan", ["fraud-abcde-1"])],
    ids=["foreground", "background", "orphan"],
)
def test_an_author_without_job_rights_may_delete_a_trigger(
    applied: Kubectl, namespace: str, cascade: str, left: list[str]
) -> None:
    of_it = f"--namespace={namespace}"
    applied("delete", TRIGGERS, "fraud", of_it, f"--cascade={cascade}", TIMEOUT, "--as=author")
    if not left:
        applied("wait", "--for=delete", RETRAININGS, "--all", of_it, TIMEOUT)
    assert [r["metadata"]["name"] for r in applied.get(RETRAININGS, of_it)["items"]] == left


def test_a_namespace_goes_with_all_that_lies_in_it(applied: Kubectl, namespace: str) -> None:
    applied("delete", "namespace", namespace, TIMEOUT)
    assert "NotFound" in applied.run("get", "namespace", namespace).stderr
