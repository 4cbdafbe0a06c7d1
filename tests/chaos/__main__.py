"""`make chaos`: a storm, then the mass events, each judged.

    SEED=7          repeats a storm's plan: faults by kind of request, load, disturbances
    FAULTS=200      how many faults are injected at least; 0 leaves the storm out
    CROSSING=1000   triggers that cross in one tick; 0 leaves it out
    LOST=2000       triggers under which Prometheus is lost; 0 leaves it out

Exit status 0 when the law and all limits hold, 1 when one does not.
"""

import os
import secrets
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from chaos import mass, storm
from chaos.mass import MassReport
from chaos.storm import Report


def main() -> int:
    """Run, print, judge."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"logs are kept in {folder} if something breaks", flush=True)
    good = [_storm(folder), _crossing(folder), _outage(folder)]
    if not all(good):
        return 1
    shutil.rmtree(folder)
    return 0


def _storm(folder: Path) -> bool:
    faults = int(os.environ.get("FAULTS", "200"))
    if not faults:
        return True
    seed = os.environ.get("SEED") or str(secrets.randbelow(10**6))
    print(f"\nstorm: at least {faults} faults, SEED={seed}", flush=True)
    options = storm.Options(seed=seed, faults=faults)
    report = storm.run(options, _made(folder / "storm"), say=_say)
    _print(report)
    return report.holds


def _crossing(folder: Path) -> bool:
    number = int(os.environ.get("CROSSING", "1000"))
    if not number:
        return True
    print(f"\n{number} triggers cross in one tick", flush=True)
    report = mass.crossing(_made(folder / "crossing"), number=number, watch_seconds=130, say=_say)
    return _print_mass(report)


def _outage(folder: Path) -> bool:
    number = int(os.environ.get("LOST", "2000"))
    if not number:
        return True
    print(f"\nPrometheus is lost under {number} triggers", flush=True)
    report = mass.outage(_made(folder / "outage"), number=number, interval="20s", say=_say)
    return _print_mass(report)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _print_mass(report: MassReport) -> bool:
    for line in report.lines:
        print(f"  {line}")
    for line in report.breaks:
        print(f"BROKEN: {line}")
    print("the limits hold" if not report.breaks else "THE LIMITS DO NOT HOLD", flush=True)
    return not report.breaks


def _say(line: str) -> None:
    print(line, flush=True)


def _print(report: Report) -> None:
    numbers, injected = report.verdict.numbers, report.faults
    print(f"\n{injected.total()} faults injected in {report.seconds:.0f} s")
    print("  " + ", ".join(f"{what} {n}" for what, n in injected.most_common()))
    print("  at " + ", ".join(f"{what} {n}" for what, n in report.requests.most_common()))
    print("done: " + ", ".join(f"{what} {n}" for what, n in report.done.most_common()))
    for line, number in Counter(report.ended).most_common():
        print(f"  {number} operators ended by themselves and were started again, {line}")
    count, dropped = numbers["decisions"], numbers["dropped with their trigger"]
    kept = count - dropped - numbers["superseded"] - numbers["gone with their trigger"]
    running = numbers["Retrainings"] - numbers["superseded"] - numbers["gone with their trigger"]
    print("from the audit log: " + ", ".join(f"{what} {n}" for what, n in sorted(numbers.items())))
    print(f"decisions {kept} = Retrainings {running} = Jobs {numbers['Jobs']}")
    for line in report.verdict.breaks:
        print(f"BROKEN: {line}")
    print(f"{'the law holds' if report.holds else 'THE LAW BREAKS'}; SEED={report.options.seed}")


if __name__ == "__main__":
    sys.exit(main())
