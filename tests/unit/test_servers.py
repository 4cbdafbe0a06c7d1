"""Server blocks that no API server has checked: files, and objects of an older definition."""

from typing import Any

import msgspec
import pytest

from drifttrigger.api.errors import SpecError
from drifttrigger.api.servers import PrometheusServer, SourceKind, SourceRef
from drifttrigger.core.servers import NO_SOURCE, check_server, source_identity, source_name

REF = {"secretKeyRef": {"name": "s", "key": "k"}}
HTTPS = {"address": "https://p"}


def block(**fields: Any) -> PrometheusServer:
    return msgspec.convert({"address": "http://p", **fields}, PrometheusServer)


def oauth2(url: str) -> dict[str, Any]:
    return {"oauth2": {"tokenURL": url, "clientID": "c", "clientSecretFrom": REF}}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"address": "prometheus:9090"}, "x.address: must be an http:// or https:// URL"),
        ({"address": "http://"}, "x.address: must be an http:// or https:// URL"),
        ({"address": "http://[::1"}, "x.address: must be an http:// or https:// URL"),
        ({"address": "http://p:99999"}, "x.address: must be an http:// or https:// URL"),
        ({"address": "http://p q"}, "x.address: must be an http:// or https:// URL"),
        ({"address": "http://u:pw@p"}, "x.address: must not hold a user or password"),
        ({"address": "http://p?a=b"}, "x.address: must not have a query or fragment"),
        ({"address": "http://p?"}, "x.address: must not have a query or fragment"),
        ({"address": "http://p#f"}, "x.address: must not have a query or fragment"),
        ({"timeout": "0s"}, "x.timeout: must be between 1 and 120 seconds"),
        ({"timeout": "2m1s"}, "x.timeout: must be between 1 and 120 seconds"),
        ({"timeout": "soon"}, "x.timeout"),
        ({"headers": [{"name": "Host", "value": "a"}]}, "x.headers: Host is set by"),
        ({"headers": [{"name": "authorization", "value": "a"}]}, "authorization is set by"),
        ({"headers": [{"name": "Content-Length", "value": "1"}]}, "Content-Length is set by"),
        ({"headers": [{"name": "Proxy-Authorization", "value": "a"}]}, "is set by"),
        ({"headers": [{"name": "a b", "value": "a"}]}, "'a b' is no name of a header"),
        ({"headers": [{"name": "", "value": "a"}]}, "'' is no name of a header"),
        ({"headers": [{"name": "X", "value": "a\r\nY: b"}]}, "has unprintable characters"),
        ({"headers": [{"name": "X"}]}, "X needs exactly one of value and valueFrom"),
        ({"headers": [{"name": "X", "value": "a", "valueFrom": REF}]}, "X needs exactly one"),
        (
            {"headers": [{"name": "X", "value": "a"}, {"name": "x", "value": "b"}]},
            "X stands twice",
        ),
        *(
            ({"queryParameters": [{"name": name, "value": "1"}]}, f"{name} is set by the operator")
            for name in ("query", "time", "timeout", "start", "end", "step")
        ),
        ({"auth": {}}, "x.auth: needs exactly one of basic, bearer and oauth2"),
        (
            {"auth": {"bearer": {"tokenFrom": REF}, **oauth2("https://t")}},
            "x.auth: needs exactly one",
        ),
        ({"auth": oauth2("t.example/token")}, "x.auth.oauth2.tokenURL: must be an http"),
        ({"auth": oauth2("https://u:p@t")}, "x.auth.oauth2.tokenURL: must not hold a user"),
        ({"auth": oauth2("https://t#f")}, "x.auth.oauth2.tokenURL: must not have a query"),
        ({"tls": {}}, "x.tls: is for https addresses only"),
        ({**HTTPS, "tls": {"caFrom": {}}}, "x.tls.caFrom: needs exactly one of"),
        (
            {**HTTPS, "tls": {"caFrom": REF, "insecureSkipVerify": True}},
            "x.tls.insecureSkipVerify: excludes caFrom and serverName",
        ),
        (
            {**HTTPS, "tls": {"serverName": "n", "insecureSkipVerify": True}},
            "x.tls.insecureSkipVerify: excludes caFrom and serverName",
        ),
    ],
)
def test_what_can_not_be_used_is_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_server(block(**fields), field="x")
    assert words in str(caught.value)
    assert caught.value.field.startswith("x.")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"address": "https://p.monitoring:9091/prefix/"},
        {"address": "http://[::1]:9090"},
        {"timeout": "1s"},
        {"timeout": "2m"},
        {"headers": [{"name": "X-Scope-OrgID", "value": "a|b"}, {"name": "Y", "valueFrom": REF}]},
        {"queryParameters": [{"name": "dedup", "value": "1"}, {"name": "dedup", "value": "2"}]},
        {"auth": oauth2("https://login.example/token?tenant=a")},
        {**HTTPS, "tls": {"insecureSkipVerify": True, "clientCertificate": {"secretName": "s"}}},
        {**HTTPS, "tls": {"caFrom": REF, "serverName": "prometheus.internal"}},
    ],
    ids=str,
)
def test_what_can_be_used_has_its_timeout(fields: dict[str, Any]) -> None:
    assert 1 <= check_server(block(**fields), field="x").total_seconds() <= 120


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        pytest.param({}, {"timeout": "30s"}, True, id="a timeout"),
        pytest.param({}, {"auth": {"bearer": {"tokenFrom": REF}}}, True, id="credentials"),
        pytest.param({}, {"headers": [{"name": "X", "valueFrom": REF}]}, True, id="a secret"),
        pytest.param({}, {"batching": "Disabled"}, True, id="batching"),
        pytest.param({}, {"address": "http://q"}, False, id="the address"),
        pytest.param({}, {"headers": [{"name": "X", "value": "a"}]}, False, id="a tenant"),
        pytest.param({}, {"queryParameters": [{"name": "a", "value": "b"}]}, False, id="parameter"),
        pytest.param(
            {"headers": [{"name": "X", "value": "a"}, {"name": "Y", "value": "b"}]},
            {"headers": [{"name": "y", "value": "b"}, {"name": "x", "value": "a"}]},
            True,
            id="the order and case of headers",
        ),
    ],
)
def test_what_chooses_the_data_makes_another_source(
    one: dict[str, Any], other: dict[str, Any], is_same: bool
) -> None:
    assert (source_identity(block(**one)) == source_identity(block(**other))) is is_same


def test_a_reference_is_itself_whatever_it_leads_to() -> None:
    own = SourceRef(kind=SourceKind.METRICS_SOURCE, name="a")
    assert source_identity(own) != source_identity(SourceRef(name="a"))
    assert source_identity(own) != source_identity(SourceRef(name="b"))


def test_sources_have_names_for_people() -> None:
    assert source_name(block()) == "http://p"
    assert source_name(SourceRef(name="a")) == "ClusterMetricsSource/a"
    assert source_name(NO_SOURCE) == "ClusterMetricsSource (default)"
