"""`make bench`: every target, measured and judged.

    ARGS="--triggers 100,1000"   smaller; --help tells the rest

Exit status 0 when every target that was judged is met, 1 when one is not, 2 when the run broke off.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.options import parse
from bench.report import print_table, write_json, write_plot
from bench.run import run
from bench.targets import Verdict, rows
from drifttrigger.api.errors import DriftTriggerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, judge."""
    options = parse(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        result = run(options, folder, say=_say)
    except (BenchError, DriftTriggerError, OSError) as error:
        print(f"error: {error}; logs are in {folder}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        print("interrupted; nothing runs any more", file=sys.stderr)
        return 130
    judged = rows(result, options)
    print_table(judged, number=options.largest, interval_seconds=options.interval_seconds)
    write_json(options.output / "results.json", result, judged, options)
    write_plot(options.output / "cost.png", result)
    print(f"all of it is in {options.output}")
    if any(row.verdict is Verdict.FAIL for row in judged):
        print(f"not every target is met; logs are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
