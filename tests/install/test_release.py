"""What a release must agree on is held together; the table of versions is what the tests run."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drifttrigger import __version__
from drifttrigger.local import catalog
from install.rendering import ROOT

PLACES = [
    "charts/drifttrigger/Chart.yaml",
    "manifests/operator/kustomization.yaml",
    "manifests/samples/gitops/argocd/application.yaml",
    "manifests/samples/gitops/flux/drifttrigger.yaml",
]
GIT = ("/usr/bin/env", "git", "-C")
Problems = Callable[[], list[str]]


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run([*GIT, folder, *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed checkout that is ready for a release."""
    for place in PLACES:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / place, tmp_path / place)
    (tmp_path / "CHANGELOG.md").write_text(f"# Changes\n\n## {__version__} - today\n- A thing.\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=All")
    return tmp_path


@pytest.fixture
def problems(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Problems:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import release  # a tool, not a package

    return lambda: list(release.problems(checkout, version=__version__))


def test_nothing_stands_in_the_way_of_a_checkout_that_agrees(problems: Problems) -> None:
    assert problems() == []


@pytest.mark.parametrize("place", PLACES)
def test_another_version_anywhere_is_named_with_its_file(
    checkout: Path, problems: Problems, place: str
) -> None:
    path = checkout / place
    path.write_text(path.read_text().replace(__version__, "9.9.9"))
    git(checkout, "commit", "--all", "--quiet", "--message=Other")
    found = problems()
    assert found
    assert all(said.startswith(f"{place}: ") and "9.9.9" in said for said in found)


@pytest.mark.parametrize(
    ("changelog", "says"),
    [
        ("# Changes\n\n## Unreleased\n- A thing.\n", "no section"),
        (f"# Changes\n\n## {__version__}\n\n## 0.0.9\n- Older.\n", "says nothing"),
    ],
    ids=["not renamed", "empty"],
)
def test_a_changelog_without_the_release_is_a_problem(
    checkout: Path, problems: Problems, changelog: str, says: str
) -> None:
    (checkout / "CHANGELOG.md").write_text(changelog)
    git(checkout, "commit", "--all", "--quiet", "--message=Changelog")
    [said] = problems()
    assert says in said


def test_uncommitted_files_and_a_tag_that_is_there_are_problems(
    checkout: Path, problems: Problems
) -> None:
    (checkout / "new.txt").write_text("new")
    git(checkout, "tag", f"v{__version__}")
    uncommitted, tagged = problems()
    assert "1 files are not committed (new.txt" in uncommitted
    assert f"tag v{__version__} is there already" in tagged


def test_the_table_of_versions_is_what_the_tests_run() -> None:
    page = (ROOT / "docs" / "reference" / "compatibility.md").read_text()
    table = dict(re.findall(r"^\| ([\w ]+) \| ([^|]+) \|", page, re.MULTILINE))
    assert table["Kubernetes"] == table["kubectl"] == catalog.KUBERNETES
    assert table["etcd"] == catalog.ETCD
    assert table["Prometheus"] == catalog.PROMETHEUS
    assert table["Helm"] == catalog.HELM


@pytest.mark.e2e
@pytest.mark.xdist_group("install")
def test_a_dry_run_builds_what_a_release_consists_of_and_tags_nothing() -> None:
    tags = subprocess.check_output([*GIT, ROOT, "tag"])
    command = [sys.executable, ROOT / "tools" / "release.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    for name in ("-py3-none-any.whl", ".tar.gz", ".tgz", "install.yaml"):
        line = rf"^[0-9a-f]{{64}}  +[\d,]+  \S*{re.escape(name)}$"
        assert re.search(line, done.stdout, re.MULTILINE)
    ready = done.returncode == 0 and f"would tag v{__version__}" in done.stdout
    assert ready or (done.returncode == 1 and "problem: " in done.stderr)
    assert "error: " not in done.stderr
    assert subprocess.check_output([*GIT, ROOT, "tag"]) == tags
