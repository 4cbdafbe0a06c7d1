"""What the API server's own policies let whom do, on a real API server, without a webhook."""

import copy
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from install.rendering import ACCOUNT, EXECUTION_ACCOUNT
from support.crds import API_VERSION, SMALLEST, sample, schema_of
from support.kubectl import Kubectl, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("install")]

TEAM = "admission-team"
NOW = "drifttrigger.dev/trigger-now"
GITOPS = "system:serviceaccount:argocd:argocd-application-controller"
FLUX = "system:serviceaccount:flux-system:team"
DRIFT = "drifttrigger.dev"

# Each person, with their rights in the team's namespace: verbs, group, resource, name.
PEOPLE: dict[str, list[tuple[list[str], str, str, str]]] = {
    "author": [],
    FLUX: [],
    "starter": [(["create"], "batch", "jobs", "")],
    "user-of-robot": [
        (["create"], "batch", "jobs", ""),
        (["use"], "", "serviceaccounts", "robot"),
    ],
    "stand-in-of-robot": [
        (["create"], "batch", "jobs", ""),
        (["impersonate"], "", "serviceaccounts", "robot"),
    ],
    "keeper": [(["create"], "batch", "jobs", ""), (["get"], "", "secrets", "token")],
    "forger": [(["create"], "batch", "jobs", ""), (["create"], DRIFT, "retrainings", "")],
}
NO_JOBS = "may not create Jobs in namespace admission-team"
NO_ACCOUNT = "may not have Jobs run as service account robot in namespace admission-team"
NO_SECRET = "may not read each Secret that is named"

Edit = dict[str, Any]


def trigger(name: str = "fraud", *, pod: Edit | None = None, server: Edit | None = None) -> Edit:
    body = copy.deepcopy(SMALLEST)
    body["metadata"] = {"name": name, "namespace": TEAM}
    body["spec"]["prometheus"] = {"address": "https://thanos.monitoring:9091", **(server or {})}
    body["spec"]["jobTemplate"]["spec"]["template"]["spec"] |= pod or {}
    return body


def source(kind: str, spec: Edit) -> Edit:
    namespace = {"namespace": TEAM} if kind == "MetricsSource" else {}
    address = "https://thanos.monitoring:9091"
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": "thanos", **namespace},
        "spec": {"address": address, **spec},
    }


def retraining() -> Edit:
    return {
        "apiVersion": API_VERSION,
        "kind": "Retraining",
        "metadata": {"name": "fraud-abcde-1", "namespace": TEAM},
        "spec": sample(schema_of("retrainings")["properties"]["spec"]),
    }


REF = {"secretKeyRef": {"name": "token", "key": "k"}}
CREDENTIALS: dict[str, Edit] = {
    "a header": {"headers": [{"name": "X-Key", "valueFrom": REF}]},
    "a password": {"auth": {"basic": {"username": "u", "passwordFrom": REF}}},
    "a token": {"auth": {"bearer": {"tokenFrom": REF}}},
    "a client's secret": {
        "auth": {
            "oauth2": {
                "tokenURL": "https://login.example/token",
                "clientID": "c",
                "clientSecretFrom": REF,
            }
        }
    },
    "an authority": {"tls": {"caFrom": REF}},
    "a client certificate": {"tls": {"clientCertificate": {"secretName": "token"}}},
}


@pytest.fixture(scope="module")
def team(applied: Kubectl) -> Iterator[Kubectl]:
    """A namespace whose people have the rights of the table, beside all rights on triggers."""
    applied("create", "namespace", TEAM)
    everything = [
        (["*"], DRIFT, "drifttriggers", ""),
        (["*"], DRIFT, "metricssources", ""),
    ]
    items: list[Edit] = []
    for number, (user, rights) in enumerate(PEOPLE.items()):
        items += _role(f"person-{number}", user, [*everything, *rights])
    items += _bound_to("cluster-admin", "gitops", GITOPS)
    items += _bound_to("drifttrigger-edit-and-view", "cluster-author", "cluster-author")
    items.append(_cluster_role("drifttrigger-edit-and-view"))
    applied("apply", "--filename=-", stdin={"apiVersion": "v1", "kind": "List", "items": items})
    applied("create", "rolebinding", "editor", "--clusterrole=edit", "--user=editor", f"-n={TEAM}")
    eventually(
        lambda: "yes" in applied.run("auth", "can-i", "create", DT, "--as=editor", OF_TEAM).stdout,
        what="the aggregated role",
    )
    yield applied
    applied("delete", "namespace", TEAM, "--wait=false")


DT, OF_TEAM = f"drifttriggers.{DRIFT}", f"--namespace={TEAM}"


def _rule(verbs: list[str], group: str, resource: str, name: str) -> Edit:
    names = {"resourceNames": [name]} if name else {}
    return {"apiGroups": [group], "resources": [resource], "verbs": verbs, **names}


def _role(name: str, user: str, rights: list[tuple[list[str], str, str, str]]) -> list[Edit]:
    metadata = {"name": name, "namespace": TEAM}
    api = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{api}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [_rule(*right) for right in rights],
        },
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": name},
            "subjects": [{"kind": "User", "name": user, "apiGroup": api}],
        },
    ]


def _cluster_role(name: str) -> Edit:
    rule = _rule(["*"], DRIFT, "clustermetricssources", "")
    api = "rbac.authorization.k8s.io/v1"
    return {
        "apiVersion": api,
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [rule],
    }


def _bound_to(role: str, name: str, user: str) -> list[Edit]:
    api = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": user, "apiGroup": api}],
        }
    ]


def tries(kubectl: Kubectl, user: str, body: Edit) -> "subprocess.CompletedProcess[str]":
    """Create an object as somebody, without storing it."""
    dry = ("create", "--dry-run=server", "--filename=-", f"--as={user}")
    return kubectl.run(*dry, stdin=body)


def check(done: "subprocess.CompletedProcess[str]", refusal: str) -> None:
    """Hold an answer against what was expected; an empty refusal expects success."""
    if refusal:
        assert done.returncode != 0, done.stdout
        assert refusal in done.stderr
    else:
        assert done.returncode == 0, done.stderr


def test_the_policies_have_no_type_errors(applied: Kubectl) -> None:
    for policy in applied.get("validatingadmissionpolicies")["items"]:
        assert policy["status"]["typeChecking"] == {}, policy["metadata"]["name"]


@pytest.mark.parametrize(
    ("user", "refusal"),
    [
        ("author", f"author {NO_JOBS}, and so may not have a DriftTrigger create them"),
        (FLUX, f"{FLUX} {NO_JOBS}"),
        ("starter", ""),
        ("editor", ""),
        (GITOPS, ""),
    ],
)
def test_who_may_create_jobs_may_create_triggers(team: Kubectl, user: str, refusal: str) -> None:
    check(tries(team, user, trigger()), refusal)


@pytest.mark.parametrize("field", ["serviceAccountName", "serviceAccount"])
@pytest.mark.parametrize(
    ("user", "refusal"),
    [
        ("starter", NO_ACCOUNT),
        ("user-of-robot", ""),
        ("stand-in-of-robot", ""),
        ("editor", ""),
        (GITOPS, ""),
    ],
)
def test_a_template_names_service_accounts_that_its_author_may_use(
    team: Kubectl, user: str, field: str, refusal: str
) -> None:
    check(tries(team, user, trigger(pod={field: "robot"})), refusal)


def test_both_service_accounts_of_a_template_count(team: Kubectl) -> None:
    pod = {"serviceAccountName": "robot", "serviceAccount": "other"}
    refusal = "service account robot and other in namespace"
    check(tries(team, "user-of-robot", trigger(pod=pod)), refusal)


def test_a_service_account_that_is_no_text_is_refused(team: Kubectl) -> None:
    done = tries(team, "starter", trigger(pod={"serviceAccount": 5}))
    assert "drifttrigger-jobs" in done.stderr


@pytest.mark.parametrize("place", CREDENTIALS)
@pytest.mark.parametrize(("user", "refusal"), [("starter", NO_SECRET), ("keeper", "")])
def test_a_trigger_names_secrets_that_its_author_may_read(
    team: Kubectl, user: str, place: str, refusal: str
) -> None:
    check(tries(team, user, trigger(server=CREDENTIALS[place])), refusal)


@pytest.mark.parametrize("place", CREDENTIALS)
def test_a_source_names_secrets_that_its_author_may_read(team: Kubectl, place: str) -> None:
    body = source("MetricsSource", CREDENTIALS[place])
    check(tries(team, "author", body), f"{NO_SECRET} (token) in namespace {TEAM}")
    check(tries(team, "keeper", body), "")


def test_as_many_secrets_as_the_schema_allows_are_asked_for_one_by_one(team: Kubectl) -> None:
    every = {
        "headers": [{"name": f"X-{n}", "valueFrom": REF} for n in range(16)],
        **CREDENTIALS["a token"],
        "tls": {"caFrom": REF, "clientCertificate": {"secretName": "token"}},
    }
    check(tries(team, "keeper", source("MetricsSource", every)), "")
    every["tls"]["clientCertificate"]["secretName"] = "other"
    check(tries(team, "keeper", source("MetricsSource", every)), NO_SECRET)


def test_the_secrets_of_a_cluster_source_are_those_of_the_operators_namespace(
    team: Kubectl,
) -> None:
    body = source("ClusterMetricsSource", CREDENTIALS["a token"])
    check(tries(team, "cluster-author", body), f"{NO_SECRET} (token) in namespace drifttrigger-sys")
    check(tries(team, "cluster-author", source("ClusterMetricsSource", {})), "")
    check(tries(team, GITOPS, body), "")


@pytest.mark.parametrize(
    ("user", "refusal"),
    [
        ("forger", "forger may not create Retrainings in namespace admission-team"),
        (EXECUTION_ACCOUNT, "cannot create resource"),
        (ACCOUNT, ""),
    ],
)
def test_only_detection_records_decisions(team: Kubectl, user: str, refusal: str) -> None:
    check(tries(team, user, retraining()), refusal)


class TestStored:
    """A trigger that lies there already, made by somebody who may."""

    @pytest.fixture
    def stored(self, team: Kubectl) -> Iterator[Kubectl]:
        body = trigger()
        body["metadata"]["annotations"] = {NOW: "2026-01-01T00:00:00Z"}
        team("apply", "--server-side", "--filename=-", stdin=body)
        yield team
        team("delete", DT, "fraud", OF_TEAM, "--ignore-not-found")

    def patch(self, kubectl: Kubectl, user: str, patch: Edit) -> Any:
        text = f"--patch={json.dumps(patch)}"
        return kubectl.run("patch", DT, "fraud", OF_TEAM, "--type=merge", text, f"--as={user}")

    @pytest.mark.parametrize(
        "metadata",
        [
            pytest.param({"labels": {"team": "a"}}, id="a label"),
            pytest.param({"annotations": {"drifttrigger.dev/hold": "forever"}}, id="a hold"),
            pytest.param({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, id="tracking"),
            pytest.param({"annotations": {NOW: "2026-01-01T00:00:00Z"}}, id="the same request"),
        ],
    )
    def test_what_asks_for_nothing_needs_no_right_to_jobs(
        self, stored: Kubectl, metadata: Edit
    ) -> None:
        check(self.patch(stored, "author", {"metadata": metadata}), "")
        check(self.patch(stored, FLUX, {"metadata": metadata}), "")

    @pytest.mark.parametrize(
        "patch",
        [
            pytest.param({"spec": {"threshold": 0.9}}, id="another spec"),
            pytest.param({"metadata": {"annotations": {NOW: "2026-02-01T00:00:00Z"}}}, id="a run"),
        ],
    )
    def test_what_asks_for_a_job_needs_the_right_to_jobs(
        self, stored: Kubectl, patch: Edit
    ) -> None:
        check(self.patch(stored, "author", patch), NO_JOBS)
        check(self.patch(stored, "starter", patch), "")

    def test_an_edit_of_anothers_spec_needs_the_right_to_its_secrets(self, stored: Kubectl) -> None:
        elsewhere = {"spec": {"prometheus": CREDENTIALS["a token"]}}
        check(self.patch(stored, "keeper", elsewhere), "")
        moved = {"spec": {"prometheus": {"address": "http://collector.example:9090"}}}
        check(self.patch(stored, "starter", moved), NO_SECRET)
