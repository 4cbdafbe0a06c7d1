"""The image: what its Dockerfile says, done in a clean environment, since no engine is here."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from drifttrigger import __version__
from install.dockerfile import Instruction, instructions, stages
from install.rendering import MANIFESTS, ROOT, by_name, kustomize

DOCKERFILE = ROOT / "Dockerfile"
_PLACES = ("/opt/drifttrigger", "/wheels", "/src")


def test_hadolint_finds_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_base_is_one_argument_that_a_digest_may_be_given_to() -> None:
    said = instructions(DOCKERFILE)
    assert Instruction("ARG", "BASE=python:3.13-slim") in said
    bases = {i.text.partition(" AS ")[0] for i in said if i.name == "FROM"}
    assert bases == {"${BASE}"}


def test_the_user_is_a_number_so_that_the_kubelet_can_tell_that_it_is_not_root() -> None:
    (user,) = [i.text for i in stages(DOCKERFILE)[-1] if i.name == "USER"]
    number, _, group = user.partition(":")
    assert int(number) > 0
    assert int(group) > 0


@pytest.mark.e2e
@pytest.mark.xdist_group("install")
def test_its_ports_are_those_of_the_manifests(kubectl_program: Path) -> None:
    deployment = by_name(kustomize(kubectl_program, MANIFESTS))[
        "Deployment", "drifttrigger-system", "drifttrigger"
    ]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (exposed,) = [i.text.split() for i in stages(DOCKERFILE)[-1] if i.name == "EXPOSE"]
    assert {str(port["containerPort"]) for port in container["ports"]} == set(exposed)


class Built:
    """What the first stage makes, below a folder instead of the root.

    Args:
        root: The folder; it must not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        base = root / "base"
        venv.create(base, with_pip=True)
        # ENV is left out: it only keeps pip's cache out of the image, and a test is glad of it.
        self._environment = {**os.environ, "PATH": f"{base / 'bin'}:{os.environ['PATH']}"}
        self._environment.pop("VIRTUAL_ENV", None)
        self._at = root
        for instruction in stages(DOCKERFILE)[0]:
            self._do(instruction)

    @property
    def programs(self) -> Path:
        """Where the second stage finds its programs."""
        return self.root / "opt" / "drifttrigger" / "bin"

    def _do(self, instruction: Instruction) -> None:
        text = instruction.text
        for place in _PLACES:
            text = text.replace(place, f"{self.root}{place}")
        match instruction.name:
            case "WORKDIR":
                self._at = Path(text)
                self._at.mkdir(parents=True)
            case "COPY":
                self._copy(*text.split())
            case "RUN":
                self._run(text)
            case "FROM" | "ENV":
                pass
            case name:
                raise AssertionError(f"the test does not know {name}")

    def _copy(self, *names: str) -> None:
        *sources, target = names
        for name in sources:
            source, goal = ROOT / name, self._at / target
            goal = goal / source.name if target.endswith("/") else goal
            goal.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, goal, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, goal)

    def _run(self, command: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-ec", command],
            cwd=self._at,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("image") / "root")


@pytest.mark.e2e
@pytest.mark.xdist_group("install")
class TestBuilt:
    """The programs as the image has them."""

    def run(
        self, built: Built, *arguments: str, home: Path, within: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run what the image runs, with arguments, knowing nothing of this checkout."""
        (entry,) = [i.text for i in stages(DOCKERFILE)[-1] if i.name == "ENTRYPOINT"]
        (program,) = json.loads(entry)
        return subprocess.run(
            [built.programs / program, *arguments],
            cwd=home,
            env={"PATH": str(built.programs), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=within,
        )

    def test_it_is_this_version(self, built: Built, tmp_path: Path) -> None:
        done = self.run(built, "--version", home=tmp_path)
        assert done.returncode == 0
        assert __version__ in done.stdout

    def test_what_the_image_runs_starts_and_says_what_it_misses(
        self, built: Built, tmp_path: Path
    ) -> None:
        (command,) = [i.text for i in stages(DOCKERFILE)[-1] if i.name == "CMD"]
        done = self.run(built, *json.loads(command), home=tmp_path)
        assert done.returncode == 1
        assert "no cluster to talk to" in done.stderr
        assert "Traceback" not in done.stderr

    def test_the_analysis_libraries_are_there(self, built: Built, tmp_path: Path) -> None:
        trigger = MANIFESTS / "samples" / "fraud-detector.yaml"
        scores, picture = tmp_path / "scores.csv", tmp_path / "backtest.png"
        simulated = self.run(built, "simulate", "--format=csv", f"--output={scores}", home=tmp_path)
        assert simulated.returncode == 0, simulated.stderr
        arguments = ("-f", trigger, "--csv", scores, "--plot", picture)
        done = self.run(built, "backtest", *map(str, arguments), home=tmp_path)
        assert done.returncode == 0, done.stderr
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_nothing_is_in_it_that_installs_more(self, built: Built) -> None:
        names = {program.name for program in built.programs.iterdir()}
        assert "drifttrigger" in names
        assert "kubectl-drifttrigger" in names
        assert not {name for name in names if name.startswith(("pip", "uv", "wheel"))}
