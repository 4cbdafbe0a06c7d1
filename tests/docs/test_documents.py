"""What the documents say is true: links lead somewhere, YAML is accepted, commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from drifttrigger.cli.manifests import parse
from support.cluster import SharedCluster
from support.crds import install_crds
from support.kubectl import Kubectl

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")], key=lambda path: path.as_posix()
)
SAMPLES = sorted(REPOSITORY.glob("manifests/samples/*.yaml"))


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        pattern = rf"^```{language}\n(.*?)^```$"
        text = document.read_text()
        found += [
            (name_of(document), m[1]) for m in re.finditer(pattern, text, re.MULTILINE | re.DOTALL)
        ]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_that_exist(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text())
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []


def test_make_targets_that_documents_name_exist() -> None:
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    )
    named = {
        target
        for document in DOCUMENTS
        for target in re.findall(
            r"(?:^\$ |`)make ([a-z][a-z0-9-]*)", document.read_text(), re.MULTILINE
        )
    }
    assert named - targets == set()


def test_commands_that_documents_name_exist() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "drifttrigger", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    commands = set(re.findall(r"^  ([a-z]+)  ", done.stdout, re.MULTILINE))
    named = {
        command
        for document in DOCUMENTS
        for command in re.findall(
            r"(?:^\$ |`)drifttrigger ([a-z]+)", document.read_text(), re.MULTILINE
        )
    }
    assert named
    assert named - commands == set()


@pytest.mark.e2e
@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(t, id=f"{d} {n}") for n, (d, t) in enumerate(blocks("yaml"))),
        *(pytest.param(path.read_text(), id=name_of(path)) for path in SAMPLES),
    ],
)
def test_yaml_in_documents_is_accepted_by_a_real_api_server(
    cluster: SharedCluster, text: str
) -> None:
    install_crds(cluster.kubeconfig)
    kubectl = Kubectl(cluster.kubectl, cluster.kubeconfig)
    for body in parse(text):
        if not isinstance(body, dict) or "kind" not in body:
            continue
        kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", stdin=body)
