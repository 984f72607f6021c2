"""`./run bench [NAME...]`: measure, and keep the raw results."""

import importlib
import sys
import time
from datetime import UTC, datetime
from functools import partial

from benchmarks import figures
from fixtures.errors import DrillError, Parser

BENCHMARKS = {"rto": 7, "fleet": 3, "start": 3, "integrity": 5, "restore": 3}
"""Name of a module with a function `run(bench)` -> how many times its figures are taken."""

say = partial(print, flush=True)


def main(argv):
    """Returns the exit status: 0 where every goal that was measured is reached."""
    parser = Parser(prog="./run bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--repeat", type=int, help="how many times each figure is taken")
    parser.add_argument("--quick", action="store_true", help="small sizes; no results are written")
    parser.add_argument("--table", action="store_true", help="only make that of performance.md")
    given = parser.parse_args(argv)
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {', '.join(unknown)}: {', '.join(BENCHMARKS)}")
    if given.repeat is not None and given.repeat < 1:
        parser.error(f"--repeat={given.repeat}: it is taken once at least")
    if given.table:
        page = figures.fill_page(figures.PAGE.read_text("utf-8"), figures.read())
        figures.PAGE.write_text(page, encoding="utf-8")
        return 0
    missed = 0
    for name in given.names or BENCHMARKS:
        bench = figures.Bench(name, given.repeat or BENCHMARKS[name], say, given.quick)
        try:
            _measure(bench)
        except DrillError as error:
            print(f"bench {name}: {error}", file=sys.stderr)
            return 1
        missed += sum(figure.met is False for figure in bench.figures)
    return 1 if missed else 0


def _measure(bench):
    begun, clock = datetime.now(UTC), time.monotonic()
    try:
        importlib.import_module(f"benchmarks.{bench.name}").run(bench)
    except KeyboardInterrupt:
        # What was measured by then is whole: a figure is kept with all of its rounds.
        if bench.figures and not bench.quick:
            figures.write(bench, begun, time.monotonic() - clock)
        raise
    if not bench.quick:
        say(f"raw results: {figures.write(bench, begun, time.monotonic() - clock)}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
