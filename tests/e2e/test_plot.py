"""`drifttrigger plot` as a person runs it, on a live trigger and a real Prometheus."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from drifttrigger.api.errors import UsageError
from drifttrigger.cli.main import cli
from support.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("backtest")]


def plot(world: World, *arguments: str) -> Result:
    flags = ["-n", world.namespace, "--kubeconfig", str(world.cluster.kubeconfig)]
    return CliRunner().invoke(cli, ["plot", *arguments, *flags])


def test_a_live_trigger_is_drawn_from_where_its_scores_begin(world: World, tmp_path: Path) -> None:
    world.apply(world.trigger())
    nothing = plot(world, "fraud", "--since", "1m")
    assert isinstance(nothing.exception, UsageError)
    assert "fraud has no score between" in str(nothing.exception)
    assert "\n" not in str(nothing.exception)
    world.set("fraud", 0.1)
    world.wait(lambda: "the last is 0.1 " in plot(world, "fraud").output, what="a score")
    world.set("fraud", 0.25)
    world.wait(lambda: "the last is 0.25 " in plot(world, "fraud").output, what="the new score")
    done = plot(world, "fraud")
    assert done.exit_code == 0, done.exception
    # Each second of some: thirty days of seconds are too many, but these are few.
    assert "only a score every" not in done.output
    assert "θ 0.2 ╌" in done.output
    assert "breach" in done.output
    picture = tmp_path / "fraud.png"
    done = plot(world, "fraud", "--since", "1m", "-o", str(picture))
    assert done.output.splitlines()[0] == f"Wrote {picture}"
    assert "ticks have no score" in done.output
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_trigger_that_is_not_there_is_one_line(world: World) -> None:
    done = plot(world, "nope")
    assert isinstance(done.exception, UsageError)
    assert f"there is no DriftTrigger nope in namespace {world.namespace}" in str(done.exception)
