"""Commands as far as they need no cluster: flags, words, tables."""

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drifttrigger.api.v1alpha1 import LastManual
from drifttrigger.cli.connection import Connection
from drifttrigger.cli.get import get
from drifttrigger.cli.hold import hold
from drifttrigger.cli.main import cli
from drifttrigger.cli.printing import Rows, aligned, as_document, print_table, printable, tone_of
from drifttrigger.cli.trigger import is_answer, request_time
from drifttrigger.core.times import format_precise
from support.builders import tick

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: a
contexts:
- {name: a, context: {cluster: c, user: u, namespace: models}}
- {name: b, context: {cluster: c, user: u}}
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
"""


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    return path


async def namespace_of(connection: Connection) -> str:
    async with connection.open() as cluster:
        return cluster.namespace


@pytest.mark.parametrize(
    ("flags", "namespace"),
    [
        pytest.param({}, "models", id="of the current context"),
        pytest.param({"context": "b"}, "default", id="of a context without one"),
        pytest.param({"namespace": "x"}, "x", id="as given"),
    ],
)
def test_the_namespace_is_chosen_as_kubectl_chooses_it(
    kubeconfig: Path, flags: dict[str, Any], namespace: str
) -> None:
    connection = Connection(kubeconfig=str(kubeconfig), **flags)
    assert asyncio.run(namespace_of(connection)) == namespace


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "drifttrigger", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "there is no kubeconfig", id="no file"),
        pytest.param("{", "the kubeconfig can't be read", id="no YAML"),
        pytest.param("[]", "no cluster to talk to", id="a list"),
        pytest.param("", "no cluster to talk to", id="empty"),
        pytest.param(KUBECONFIG, "the API server can't be reached", id="nobody there"),
    ],
)
def test_without_a_cluster_one_line_says_what_to_do(
    tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    done = run("get", "--kubeconfig", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--as-group", "x"], "--as-group needs --as", id="a group alone"),
        pytest.param(["fraud", "-A"], "leave out -A", id="a name everywhere"),
        pytest.param(["-o", "csv"], "'csv' is not one of", id="an unknown form"),
    ],
)
def test_wrong_flags_of_get_are_refused(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(get, arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def held(*arguments: str) -> Result:
    return CliRunner().invoke(hold, ["fraud", *arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param([], "Missing option '--reason'", id="no reason"),
        pytest.param(["--reason", " "], "say why", id="an empty reason"),
        pytest.param(["--reason", "x", "--for", "2x"], "is no duration", id="no duration"),
        pytest.param(["--reason", "x", "--for", "0s"], "longer than 0s", id="no time at all"),
        pytest.param(["--reason", "x", "--until", "noon"], "Invalid", id="no time"),
        pytest.param(
            ["--reason", "x", "--until", "2020-01-01T00:00:00Z"], "has passed", id="the past"
        ),
        pytest.param(
            ["--reason", "x", "--for", "1h", "--until", "2999-01-01T00:00:00Z"],
            "not both",
            id="two ends",
        ),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused_before_anything_is_asked(
    arguments: list[str], words: str
) -> None:
    result = held(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_request_is_newer_than_the_one_answered_last() -> None:
    ahead = LastManual(time=format_precise(tick(1)), result="Refused: x")
    assert request_time(None, now=tick(0)) == tick(0)
    assert request_time(ahead, now=tick(0)) == tick(1) + timedelta(milliseconds=1)
    assert request_time(ahead, now=tick(2)) == tick(2)


def test_a_request_has_no_more_digits_than_status_keeps() -> None:
    assert request_time(None, now=tick(0) + timedelta(microseconds=1999)).microsecond == 1000


def test_an_answer_is_known_by_its_time_or_by_the_time_in_its_words() -> None:
    asked = tick(3)
    near = LastManual(time=format_precise(asked), result="Accepted: fraud-1")
    far = LastManual(time=format_precise(tick(0)), result=f"Refused: {format_precise(asked)} is …")
    other = LastManual(time=format_precise(tick(0)), result="Accepted: fraud-0")
    assert is_answer(near, asked)
    assert is_answer(far, asked)
    assert not is_answer(other, asked)


def test_tables_are_aligned_as_kubectl_aligns_them() -> None:
    table = Rows(("NAME", "SCORE"), (("fraud-detector", "0.2"), ("a", "")))
    assert aligned(table) == ["NAME             SCORE", "fraud-detector   0.2", "a"]


def test_wide_characters_do_not_tear_a_table() -> None:
    table = Rows(("NAME", "X"), (("漢字", "1"), ("a", "2")))
    assert aligned(table) == ["NAME   X", "漢字   1", "a      2"]


def test_nothing_from_a_cluster_reaches_the_terminal_as_a_command() -> None:
    assert printable("a\x1b[31m\n\x9b\u202eb") == "a\\x1b[31m\\n\\x9b\\u202eb"


@pytest.mark.parametrize(
    ("header", "cell", "tone"),
    [
        ("DRIFTED", "True", "bad"),
        ("DRIFTED", "False", "good"),
        ("READY", "True", "good"),
        ("READY", "Unknown", "warn"),
        ("SUCCEEDED", "False", "bad"),
        ("REASON", "True", "plain"),
    ],
)
def test_conditions_are_coloured_by_what_is_good(header: str, cell: str, tone: str) -> None:
    assert tone_of(header, cell) == tone


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_colours_unless_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_color: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "40"}.items():
        monkeypatch.setenv(name, value)
    print_table(Rows(("NAME", "READY"), (("x" * 60, "False"),)))
    shown = capsys.readouterr().out
    assert "x" * 60 in shown
    assert ("\x1b[1;31m" in shown) is not no_color


def test_a_pipe_gets_no_codes(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(Rows(("NAME", "READY"), (("a", "False"),)))
    assert capsys.readouterr().out == "NAME   READY\na      False\n"


def test_documents_keep_letters_and_order() -> None:
    assert as_document({"b": "θ", "a": 1}, "yaml") == "b: θ\na: 1"
    assert as_document({"b": "θ"}, "json") == '{\n  "b": "θ"\n}'


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_own_script(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert f"_DRIFTTRIGGER_COMPLETE={shell}_complete" in result.stdout


def test_completion_of_names_is_silent_without_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("_DRIFTTRIGGER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "drifttrigger describe ")
    monkeypatch.setenv("COMP_CWORD", "2")
    result = CliRunner().invoke(cli, prog_name="drifttrigger")
    assert (result.exit_code, result.output.strip()) == (0, "")


def test_commands_for_people_import_no_analysis_library() -> None:
    heavy = ["pandas", "numpy", "matplotlib", "prometheus_api_client", "kopf"]
    modules = "get, describe, trigger, hold, completion"
    code = f"import sys; from drifttrigger.cli import {modules}; "
    code += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
