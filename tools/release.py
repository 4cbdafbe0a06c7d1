"""Try a release without making one: check what must agree, build what would ship, say what is next.

    .venv/bin/python tools/release.py

The version is in one place, `operator/drifttrigger/__init__.py`; the chart, the images and the
samples repeat it, and this holds them against it. Everything is built into a temporary folder. It
never tags, pushes or uploads.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from drifttrigger import __version__

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")
REVISION = re.compile(r"^\s*(?:targetRevision: |ref: \{tag: )(?P<tag>[^\s}]+)", re.MULTILINE)


def problems(root: Path, *, version: str) -> Iterator[str]:
    """Find what stands in the way of a release; each says what to do.

    Args:
        root: The checkout.
        version: The version of the package.
    """
    if NUMBER.fullmatch(version) is None:
        yield f"version {version} is none that can be released: set it in drifttrigger/__init__.py"
    yield from _disagreeing(root, version)
    yield from _changelog(root / "CHANGELOG.md", version)
    yield from _repository(root, version)


def _disagreeing(root: Path, version: str) -> Iterator[str]:
    chart = root / "charts" / "drifttrigger" / "Chart.yaml"
    body = yaml.safe_load(chart.read_text())
    images = root / "manifests" / "operator" / "kustomization.yaml"
    places = [
        (chart, "version", body["version"], version),
        (chart, "appVersion", body["appVersion"], version),
        *(
            (images, f"newTag of {image['name']}", image.get("newTag"), version)
            for image in yaml.safe_load(images.read_text())["images"]
        ),
        *(
            (sample, "revision", found["tag"], f"v{version}")
            for sample in sorted((root / "manifests" / "samples" / "gitops").rglob("*.yaml"))
            for found in REVISION.finditer(sample.read_text())
        ),
    ]
    for path, name, found, wanted in places:
        if found != wanted:
            yield f"{path.relative_to(root)}: {name} is {found}, not {wanted}: change it"


def _changelog(path: Path, version: str) -> Iterator[str]:
    sections = re.split(r"^## ", path.read_text(), flags=re.MULTILINE)[1:]
    found = [text for text in sections if re.match(rf"\[?{re.escape(version)}\b", text)]
    if not found:
        yield f"{path.name} has no section {version}: rename Unreleased to `{version} - <date>`"
    elif not re.search(r"^- ", found[0], re.MULTILINE):
        yield f"{path.name}: section {version} says nothing: write what changed for its users"


def _repository(root: Path, version: str) -> Iterator[str]:
    changed = _git(root, "status", "--porcelain").splitlines()
    if changed:
        yield f"{len(changed)} files are not committed ({changed[0][3:]}, …): commit them first"
    if _git(root, "tag", "--list", f"v{version}"):
        yield f"tag v{version} is there already: raise the version in drifttrigger/__init__.py"


def build(folder: Path) -> None:
    """Build the wheel, the source archive, install.yaml and the chart.

    Raises:
        subprocess.CalledProcessError: One of them can't be built.
    """
    _run(sys.executable, "-m", "hatchling", "build", "--directory", str(folder))
    _run(sys.executable, "tools/dist.py", "--into", str(folder))


def wanted(version: str) -> set[str]:
    """Name the files that a release consists of."""
    return {
        f"drifttrigger-{version}-py3-none-any.whl",
        f"drifttrigger-{version}.tar.gz",
        f"drifttrigger-{version}.tgz",
        "install.yaml",
    }


def _run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["/usr/bin/env", "git", "-C", str(root), *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.rstrip()


def main() -> int:
    """Check and build; exit status 1 where something stands in the way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.parse_args()
    try:
        found = list(problems(ROOT, version=__version__))
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder))
            built = sorted(path for path in Path(folder).iterdir() if path.is_file())
            missing = wanted(__version__) - {path.name for path in built}
            found += [f"{name} was not built: see pyproject.toml" for name in sorted(missing)]
            for path in built:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                sys.stdout.write(f"{digest}  {path.stat().st_size:>9,}  {path.name}\n")
        commit = _git(ROOT, "rev-parse", "--short", "HEAD")
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip() or "said nothing").splitlines()[-1]
        sys.stderr.write(f"error: {' '.join(error.cmd[1:4])}: {last}\n")
        return 1
    for problem in found:
        sys.stderr.write(f"problem: {problem}\n")
    if found:
        return 1
    sys.stdout.write(f"would tag v{__version__} at {commit}: git tag -a v{__version__} {commit}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
