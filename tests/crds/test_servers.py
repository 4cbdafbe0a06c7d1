"""What the API server accepts and refuses of a server and how it is reached, on a real one.

The block stands in three kinds, the same word for word (test_crds.py), so most cases try it in one:
each changes the smallest complete MetricsSource in one respect. Nothing is stored.
"""

from typing import Any

import pytest

from support.crds import (
    GONE,
    SMALLEST,
    SMALLEST_CLUSTER_SOURCE,
    SMALLEST_SOURCE,
    Edit,
    Rule,
    Server,
    cases,
    edited,
    field,
    messages_of,
    refusal_of,
    schema_of,
)

SECRET = {"secretKeyRef": {"name": "metrics.login", "key": ".pass-word_1"}}
BASIC = {"username": "team a", "passwordFrom": SECRET}
OAUTH2 = {
    "tokenURL": "https://login.example.org/token",
    "clientID": "a client",
    "clientSecretFrom": SECRET,
}
CA = {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}
# Every field of the block, each with a value that it can have.
FULL = {
    "address": "https://thanos.monitoring:9091/prefix",
    "timeout": "1m",
    "headers": [
        {"name": "X-Scope-OrgID", "value": "team-a"},
        {"name": "X-Key", "valueFrom": SECRET},
    ],
    "queryParameters": [
        {"name": "storeMatch[]", "value": "a"},
        {"name": "storeMatch[]", "value": ""},
    ],
    "auth": {"oauth2": {**OAUTH2, "scopes": ["metrics:read", "https://example.org/.default"]}},
    "tls": {
        "caFrom": CA,
        "clientCertificate": {"secretName": "mimir-client"},
        "serverName": "prometheus.internal",
        "insecureSkipVerify": False,
    },
    "batching": "Disabled",
}
WITH_BLOCK = {
    "drifttriggers": (SMALLEST, "spec.prometheus"),
    "metricssources": (SMALLEST_SOURCE, "spec"),
    "clustermetricssources": (SMALLEST_CLUSTER_SOURCE, "spec"),
}


def headers(*names: str) -> dict[str, Edit]:
    """Name one edit for each name of a header."""
    return {repr(name)[:60]: {"spec.headers": [{"name": name, "value": "a"}]} for name in names}


def header(**value: Any) -> Edit:
    """Edit the headers to one with this value."""
    return {"spec.headers": [{"name": "X-Scope-OrgID", **value}]}


def parameter(name: str, value: str = "a") -> Edit:
    """Edit the query parameters to one."""
    return {"spec.queryParameters": [{"name": name, "value": value}]}


def oauth2(**changes: Any) -> Edit:
    """Edit auth to OAuth2 with other values."""
    return {"spec.auth": {"oauth2": {**OAUTH2, **changes}}}


RULES = [
    Rule(
        "address must be an http:// or https:// URL with a host",
        field(
            "spec.address",
            "https://thanos.monitoring:9091/prefix",
            "http://[::1]:9090/",
            "http://10.0.0.1:65535",
            "https://mimir.example/user@tenant/prometheus",
        ),
        field(
            "spec.address",
            "ftp://prometheus:9090",
            "prometheus:9090",
            "//prometheus:9090",
            "http://:9090",
            "http://prometheus:http",
            "http://prometheus:65536",
            "http://prometheus:0",
            "http://prometheus:123456",
            "http://pro metheus",
            "http://prometheus/a b",
            " http://prometheus",
            "http:///api",
        ),
    ),
    Rule(
        "address must not hold a user or password",
        field("spec.address", "http://prometheus/at@sign"),
        field(
            "spec.address",
            "http://user:secret@prometheus:9090",
            "https://user@prometheus",
            "http://@prometheus",
        ),
    ),
    Rule(
        "address must not have a query or fragment",
        field("spec.address", "http://prometheus/%3Fa%23"),
        field(
            "spec.address",
            "http://prometheus?tenant=a",
            "http://prometheus/#top",
            "http://prometheus/prefix?",
        ),
    ),
    Rule(
        "timeout must be a duration of 1s to 2m",
        field("spec.timeout", "1s", "10s", "1m30s", "2m", "120s"),
        field("spec.timeout", "0s", "2m1s", "121s", "1h", "1500ms", "10"),
    ),
    Rule(
        "headers must not name a header twice",
        {
            "names that differ": {
                "spec.headers": [{"name": "X-A", "value": "a"}, {"name": "X-AB", "value": "a"}]
            }
        },
        {
            "the same name": {
                "spec.headers": [{"name": "X-A", "value": "a"}, {"name": "X-A", "value": "b"}]
            },
            "another case": {
                "spec.headers": [{"name": "X-A", "value": "a"}, {"name": "x-a", "value": "b"}]
            },
        },
    ),
    Rule(
        "a header must have exactly one of value and valueFrom",
        {"a value": header(value="team-a|team-b"), "a Secret": header(valueFrom=SECRET)},
        {
            "neither": header(),
            "both": header(value="team-a", valueFrom=SECRET),
            "an empty value beside": header(value="", valueFrom=SECRET),
        },
    ),
    Rule(
        "a header's name must be letters, digits",
        headers("x", "X-Scope-OrgID", "!#$%&'*+-.^_`|~09azAZ", "X" * 128),
        headers(
            *("X-Scope-OrgID:", "X Scope", " X", "X\n", "X\r\nY", "X\x00", "X\t"),
            *("X(Y)", 'X"', "X/Y", "[X]", "{X}", "X@Y", "X,Y", "X;Y", "X=Y", "X\\Y", "Tenänt"),
        ),
    ),
    Rule(
        "a header must not be Host, Accept-Encoding, Content-*",
        headers("X-Host", "Host-X", "Accept", "Contents", "Proxy", "TEA", "Trailers", "Cookie"),
        headers(
            *("Host", "host", "HOST", "Accept-Encoding", "Connection", "Keep-Alive", "TE", "te"),
            *("Trailer", "Transfer-Encoding", "tRANSFER-eNCODING", "Upgrade", "Content-Length"),
            *("content-type", "Content-", "Proxy-Authorization", "proxy-connection"),
        ),
    ),
    Rule(
        "a header must not be Authorization",
        headers("X-Authorization", "Authorization-Info"),
        headers("Authorization", "authorization", "AUTHORIZATION"),
    ),
    Rule(
        "a header's value must have no line breaks, tabs",
        {
            "none at all": header(value=""),
            "any other": header(value='team ä, "b"; {c}'),
            "4096 characters": header(value="a" * 4096),
        },
        {
            "a line break at the end": header(value="team-a\n"),
            "a header inside": header(value="a\r\nX-Admin: true"),
            "a tab": header(value="a\tb"),
            "a NUL": header(value="a\x00"),
            "a DEL": header(value="\x7f"),
            "a control character beyond ASCII": header(value="a\x85b"),
            "a separator of lines": header(value="a\u2028b"),
            "a mark that turns the text around": header(value="a\u202eb"),
        },
    ),
    Rule(
        "a query parameter must not be query, time",
        {name: parameter(name) for name in ("partial_response", "max_source_resolution", "Step")},
        {n: parameter(n) for n in ("query", "time", "timeout", "start", "end", "step")},
    ),
    Rule(
        "auth must have exactly one of basic, bearer and oauth2",
        field("spec.auth", {"basic": BASIC}, {"bearer": {"tokenFrom": SECRET}})
        | {"oauth2": oauth2()},
        {
            "none": {"spec.auth": {}},
            "two": {"spec.auth": {"basic": BASIC, "bearer": {"tokenFrom": SECRET}}},
            "three": {
                "spec.auth": {"basic": BASIC, "bearer": {"tokenFrom": SECRET}, "oauth2": OAUTH2}
            },
        },
    ),
    Rule(
        "username must have no colon",
        {n: {"spec.auth": {"basic": {**BASIC, "username": n}}} for n in ("123", "a@b.c", "Zoë")},
        {
            repr(n): {"spec.auth": {"basic": {**BASIC, "username": n}}}
            for n in ("a:b", ":", "a\n", "a\x7f")
        },
    ),
    Rule(
        "tokenURL must be an http:// or https:// URL with a host",
        {
            url: oauth2(tokenURL=url)
            for url in (
                "http://127.0.0.1:8080/token",
                "https://login.example.org/tenant@x/token?api-version=2",
            )
        },
        {
            url: oauth2(tokenURL=url)
            for url in (
                *("login.example.org/token", "ftp://login.example.org/token", "https:///token"),
                *(
                    "https://login.example.org:99999/",
                    "https://login example.org/",
                    "https://:443/",
                ),
            )
        },
    ),
    Rule(
        "tokenURL must not hold a user, a password or a fragment",
        {"an at sign in the path": oauth2(tokenURL="https://login.example.org/@tenant/token")},
        {
            url: oauth2(tokenURL=url)
            for url in (
                *("https://client:secret@login.example.org/token", "https://a@login.example.org/"),
                *("https://login.example.org/token#a", "https://login.example.org/token#"),
            )
        },
    ),
    Rule(
        "insecureSkipVerify and caFrom exclude each other",
        {
            "alone": {"spec.tls": {"caFrom": CA}},
            "beside false": {"spec.tls": {"caFrom": CA, "insecureSkipVerify": False}},
        },
        field("spec.tls", {"caFrom": CA, "insecureSkipVerify": True}),
    ),
    Rule(
        "insecureSkipVerify and serverName exclude each other",
        field(
            "spec.tls",
            {},
            {"serverName": "a.b"},
            {"insecureSkipVerify": True},
            {"insecureSkipVerify": True, "clientCertificate": {"secretName": "a"}},
        ),
        field("spec.tls", {"serverName": "a.b", "insecureSkipVerify": True}),
    ),
    Rule(
        "caFrom must have exactly one of configMapKeyRef and secretKeyRef",
        field("spec.tls.caFrom", CA, SECRET),
        {"neither": {"spec.tls.caFrom": {}}, "both": {"spec.tls.caFrom": {**CA, **SECRET}}},
    ),
    Rule(
        "tls is for an https:// address only",
        {
            "https": {"spec.tls": {"insecureSkipVerify": True}},
            "http without it": {"spec.address": "http://a:1", "spec.auth": {"basic": BASIC}},
        },
        {
            "over http": {"spec.address": "http://a:1", "spec.tls": {"caFrom": CA}},
            "an empty one over http": {"spec.address": "http://https:1", "spec.tls": {}},
        },
    ),
]
# What the schema says without a rule.
SCHEMA_REFUSES = {
    "no address": ({"spec.address": GONE}, "spec.address: Required value"),
    "a name with an underscore": ({"metadata.name": "a_b"}, "metadata.name"),
    "a name of 254 characters": ({"metadata.name": "a" * 254}, "metadata.name"),
    "17 headers": (
        {"spec.headers": [{"name": f"X-{n}", "value": "a"} for n in range(17)]},
        "must have at most 16 items",
    ),
    "a header without a name": ({"spec.headers": [{"value": "a"}]}, "name: Required value"),
    "a header's name of none": (headers("")["''"], "should be at least 1 chars long"),
    "a header's name of 129": (
        {"spec.headers": [{"name": "X" * 129, "value": "a"}]},
        "may not be more than 128",
    ),
    "a header's value of 4097": (header(value="a" * 4097), "may not be more than 4096"),
    "17 query parameters": (
        {"spec.queryParameters": [{"name": "a", "value": "a"}] * 17},
        "must have at most 16 items",
    ),
    "a parameter's name of 129": (parameter("a" * 129), "may not be more than 128"),
    "a parameter's value of 1025": (parameter("a", "a" * 1025), "may not be more than 1024"),
    "a parameter without a value": (
        {"spec.queryParameters": [{"name": "a"}]},
        "value: Required value",
    ),
    "basic without a password": (
        {"spec.auth": {"basic": {"username": "a"}}},
        "passwordFrom: Required value",
    ),
    "an empty username": (
        {"spec.auth": {"basic": {**BASIC, "username": ""}}},
        "should be at least 1 chars long",
    ),
    "a username of 257": (
        {"spec.auth": {"basic": {**BASIC, "username": "a" * 257}}},
        "may not be more than 256",
    ),
    "bearer without a Secret": (
        {"spec.auth": {"bearer": {"tokenFrom": {}}}},
        "secretKeyRef: Required value",
    ),
    "a clientID with a line break": (oauth2(clientID="a\n"), "clientID in body should match"),
    "a scope with a space": (oauth2(scopes=["a b"]), "scopes[0] in body should match"),
    "an empty scope": (oauth2(scopes=[""]), "should be at least 1 chars long"),
    "17 scopes": (oauth2(scopes=["a"] * 17), "must have at most 16 items"),
    "a serverName with a star": ({"spec.tls": {"serverName": "*.a"}}, "should match"),
    "an empty serverName": ({"spec.tls": {"serverName": ""}}, "should be at least 1 chars long"),
    "a serverName of 254": ({"spec.tls": {"serverName": "a" * 254}}, "may not be more than 253"),
    "a client certificate without a Secret": (
        {"spec.tls": {"clientCertificate": {}}},
        "secretName: Required value",
    ),
    "insecureSkipVerify in quotes": (
        {"spec.tls": {"insecureSkipVerify": "true"}},
        "must be of type boolean",
    ),
    "an unknown batching": ({"spec.batching": "Off"}, '"Auto", "Disabled"'),
}
REFS_REFUSED = {
    "no name": ({"key": "a"}, "name: Required value"),
    "no key": ({"name": "a"}, "key: Required value"),
    "an empty name": ({"name": "", "key": "a"}, "should be at least 1 chars long"),
    "an empty key": ({"name": "a", "key": ""}, "should be at least 1 chars long"),
    "a name in another namespace": ({"name": "kube-system/a", "key": "a"}, "name in body should"),
    "a name that is a path": ({"name": "..", "key": "a"}, "name in body should match"),
    "a name of 254": ({"name": "a" * 254, "key": "a"}, "may not be more than 253"),
    "a key that is a path": ({"name": "a", "key": "a/b"}, "key in body should match"),
    "a key of 254": ({"name": "a", "key": "a" * 254}, "may not be more than 253"),
}
UNKNOWN_FIELDS = {
    "spec.url": "https://prometheus:9090",
    "spec.allowedNamespaces": {},
    "spec.auth.digest": {},
    "spec.auth.basic.password": "secret",
    "spec.auth.basic.passwordFile": "/etc/password",
    "spec.auth.bearer.token": "secret",
    "spec.tls.ca": "PEM",
    "spec.tls.caFile": "/etc/ca.crt",
    "spec.tls.clientCertificate.namespace": "kube-system",
    "spec.tls.caFrom.secretKeyRef.namespace": "kube-system",
}


def source(edit: Edit) -> dict[str, Any]:
    return edited(edit, SMALLEST_SOURCE)


def test_every_rule_of_a_server_has_cases_of_both_kinds() -> None:
    for message in messages_of(schema_of("metricssources")):
        assert [r for r in RULES if r.says in message and r.accepts and r.refuses], message


@pytest.mark.e2e
@pytest.mark.parametrize("plural", WITH_BLOCK)
def test_a_full_block_is_kept_as_it_is_by_every_kind(server: Server, plural: str) -> None:
    smallest, path = WITH_BLOCK[plural]
    body = edited({f"{path}.{name}": value for name, value in FULL.items()}, smallest)
    spec = server.create(plural, body)["spec"]
    assert spec.get("prometheus", spec) == FULL


@pytest.mark.e2e
@pytest.mark.parametrize("plural", WITH_BLOCK)
def test_every_kind_refuses_a_credential_in_clear(server: Server, plural: str) -> None:
    smallest, path = WITH_BLOCK[plural]
    body = edited({f"{path}.headers": [{"name": "authorization", "value": "a"}]}, smallest)
    refusal = refusal_of(server.create, plural, body)
    assert f'"field":"{path}.headers[0].name"' in refusal
    assert "write auth with basic, bearer or oauth2" in refusal


@pytest.mark.e2e
@pytest.mark.parametrize("plural", ["metricssources", "clustermetricssources"])
def test_an_address_alone_is_a_complete_source(server: Server, plural: str) -> None:
    smallest, _ = WITH_BLOCK[plural]
    spec = server.create(plural, edited({}, smallest))["spec"]
    assert spec == {**smallest["spec"], "timeout": "10s", "batching": "Auto"}


@pytest.mark.e2e
def test_a_source_may_have_the_longest_name_there_is(server: Server) -> None:
    name = "a" * 251 + ".1"
    stored = server.create("metricssources", source({"metadata.name": name}))
    assert stored["metadata"]["name"] == name


@pytest.mark.e2e
@pytest.mark.parametrize(("edit", "says"), cases(RULES, "accepts"))
def test_a_rule_accepts(server: Server, edit: Edit, says: str) -> None:
    server.create("metricssources", source(edit))


@pytest.mark.e2e
@pytest.mark.parametrize(("edit", "says"), cases(RULES, "refuses"))
def test_a_rule_refuses_and_says_why(server: Server, edit: Edit, says: str) -> None:
    assert says in refusal_of(server.create, "metricssources", source(edit))


@pytest.mark.e2e
@pytest.mark.parametrize(("edit", "says"), SCHEMA_REFUSES.values(), ids=SCHEMA_REFUSES)
def test_the_schema_refuses(server: Server, edit: Edit, says: str) -> None:
    assert says in refusal_of(server.create, "metricssources", source(edit))


@pytest.mark.e2e
@pytest.mark.parametrize(("ref", "says"), REFS_REFUSED.values(), ids=REFS_REFUSED)
def test_a_reference_is_refused_with(server: Server, ref: Edit, says: str) -> None:
    secret = {"secretKeyRef": ref}
    places = {
        "spec.headers": [{"name": "X-Key", "valueFrom": secret}],
        "spec.auth": {"basic": {**BASIC, "passwordFrom": secret}},
        "spec.auth.bearer": {"tokenFrom": secret},
        "spec.auth.oauth2": {**OAUTH2, "clientSecretFrom": secret},
        "spec.tls": {"caFrom": secret},
        "spec.tls.caFrom": {"configMapKeyRef": ref},
    }
    for path, value in places.items():
        assert says in refusal_of(server.create, "metricssources", source({path: value})), path


@pytest.mark.e2e
@pytest.mark.parametrize("path", UNKNOWN_FIELDS)
def test_an_unknown_field_is_refused_by_name(server: Server, path: str) -> None:
    refusal = refusal_of(server.create, "metricssources", source({path: UNKNOWN_FIELDS[path]}))
    assert f'unknown field "{path}"' in refusal
