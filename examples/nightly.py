"""A nightly batch job: read the day's order files, sort and count them, compress the result. It knows no monitor.

    python examples/nightly.py [FOLDER]

Each `*.csv` in FOLDER (without one: three files made for the purpose) is read with a few tries, since the share that
they lie on is slow in the morning. A child adds up the amounts, `sort` and `gzip` write the archive, and another child
draws a chart, and is killed when it takes too long. Exit codes: 0 all files done, 3 some had to be left out,
2 nothing to do, 1 the job itself broke.
"""

import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRIES = 3
CHART_SECONDS = 0.4
DONE, NOTHING_TO_DO, INCOMPLETE = 0, 2, 3

log = logging.getLogger("nightly")


class ShareNotReady(Exception):
    """The file is there but cannot be read yet."""


def main(argv: list[str]) -> int:
    """Do the job and return the exit code."""
    logging.basicConfig(format="%(levelname)-7s %(message)s", level=logging.INFO, stream=sys.stdout)
    if argv[1:2] == ["--add-up"]:
        print(sum(int(row.split(",")[1].strip()) for row in sys.stdin))
        return DONE
    if argv[1:2] == ["--draw-chart"]:
        time.sleep(60)  # the plotter in the basement does not answer
        return DONE
    if argv[1:]:
        return work_through(Path(argv[1]))
    with tempfile.TemporaryDirectory(prefix="nightly-") as folder:
        make_example_files(Path(folder))
        return work_through(Path(folder))


def work_through(folder: Path) -> int:
    """Do all files of a folder and return the exit code."""
    files = sorted(folder.glob("*.csv"))
    if not files:
        log.warning("no order files in %s", folder.name)
        return NOTHING_TO_DO
    done = [path for path in files if process(path)]
    archive(done, folder / "orders.gz")
    draw_chart()
    log.info("%d of %d files done", len(done), len(files))
    return DONE if len(done) == len(files) else INCOMPLETE


def process(path: Path) -> bool:
    """Add up one file; False if it has to be left out."""
    try:
        total = add_up(path.name, read_with_tries(path))
    except subprocess.CalledProcessError as error:
        log.error("%s left out: its child ended with %d", path.name, error.returncode)
        return False
    log.info("%s: %d", path.name, total)
    return True


def read_with_tries(path: Path) -> str:
    """Read a file, trying again while the share is not ready."""
    for number in range(1, TRIES):
        try:
            return read(path)
        except ShareNotReady as error:
            log.warning("%s, try %d of %d", error, number + 1, TRIES)
    return read(path)


def read(path: Path) -> str:
    """Read a file. A `.lock` beside it means that somebody still writes; here that is over at the second look."""
    lock = path.with_suffix(".lock")
    if lock.exists():
        lock.unlink()
        raise ShareNotReady(f"{path.name} is still being written")
    return path.read_text(encoding="utf-8")


def add_up(name: str, rows: str) -> int:
    """Let a child add up the amounts, so that a broken file cannot break the job."""
    command = [sys.executable, __file__, "--add-up", name]
    return int(subprocess.run(command, input=rows, capture_output=True, text=True, check=True).stdout)


def archive(files: list[Path], target: Path) -> None:
    """Write all rows, sorted and compressed, with the tools of the system."""
    with target.open("wb") as output:
        rows = subprocess.run(["sort", *map(str, files)], stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["gzip", "-c"], input=rows, stdout=output, check=True)


def draw_chart() -> None:
    """Let a child draw a chart; the day's orders are done also without one."""
    try:
        subprocess.run([sys.executable, __file__, "--draw-chart"], timeout=CHART_SECONDS, check=True)
    except subprocess.TimeoutExpired:
        log.warning("no chart today: it took too long")


def make_example_files(folder: Path) -> None:
    """Make three files: a good one, one that is still being written, and one with a broken amount."""
    (folder / "berlin.csv").write_text("ada,12\ngrace,30\n", encoding="utf-8")
    (folder / "lagos.csv").write_text("alan,7\nedsger,5\n", encoding="utf-8")
    (folder / "lagos.lock").touch()
    (folder / "quito.csv").write_text("barbara,8\ndonald,eleven\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
