"""Reference system A's load test at each of its numbers of users, and the table of RESULTS out of Locust's own CSV.

    GLIMT_DEMO_ACCOUNT=1 .venv/bin/glimt serve --preprocess keras --data-dir DIR      # beside it
    .venv/bin/python -m perf.reference_a --out DIR [--url http://127.0.0.1:8000] [--users 10 25 50 100]
        [--seconds 60] [-- further options for Locust, as --email, --images, --processes]

One run of Locust for each number, because its CSV sums a run up; it counts from when all users are there. DIR gets
Locust's files, `10_stats.csv` and so on, and table.md. Nothing is hidden: refusals (503 with Retry-After) and tokens
that ended are no failures for Locust, so they have columns of their own.
"""

import argparse
import csv
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[1]
PREDICT = "A: /model/predict"
PUBLISHED = {
    10: ("3.3", "230", "0 %"),
    25: ("6.4", "830", "0 %"),
    50: ("5.3", "1700", "1 %"),
    100: ("7.5", "2200", "17 %"),
}
"""Reference A's own report, users -> requests/s, median in milliseconds, failed; about a third were predictions."""
NAMES = (
    "users", "requests/s", "median, p95 ms", "predictions/s", "median, p95 ms", "refused", "signed out", "failed",
    "A: requests/s", "median ms", "failed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Level:
    """One run. `predictions_per_s` counts the answered ones; `all_ms` and `predict_ms` are median and p95."""

    users: int
    requests_per_s: float
    all_ms: tuple[float, float]
    predictions_per_s: float
    predict_ms: tuple[float, float]
    refused: int
    signed_out: int
    failed: int
    requests: int

    @classmethod
    def read(cls, path: Path, users: int) -> Self:
        """Out of Locust's `..._stats.csv`. Raises FileNotFoundError, and KeyError when there is no prediction."""
        with path.open(newline="") as file:
            rows = {row["Name"]: row for row in csv.DictReader(file)}
        every, predict = rows["Aggregated"], rows[PREDICT]
        answered = 1 - int(predict["Failure Count"]) / max(1, int(predict["Request Count"]))
        return cls(
            users=users,
            requests_per_s=float(every["Requests/s"]),
            all_ms=(float(every["50%"]), float(every["95%"])),
            predictions_per_s=float(predict["Requests/s"]) * answered,
            predict_ms=(float(predict["50%"]), float(predict["95%"])),
            refused=sum(int(row["Request Count"]) for name, row in rows.items() if name.endswith(" refused")),
            signed_out=sum(int(row["Request Count"]) for name, row in rows.items() if name.endswith(" signed out")),
            failed=int(every["Failure Count"]),
            requests=int(every["Request Count"]),
        )

    def cells(self) -> list[str]:
        """Its line of the table, A's published figures at the end."""
        return [
            str(self.users),
            f"{self.requests_per_s:.1f}",
            "{:.0f}, {:.0f}".format(*self.all_ms),
            f"{self.predictions_per_s:.1f}",
            "{:.0f}, {:.0f}".format(*self.predict_ms),
            str(self.refused),
            str(self.signed_out),
            f"{self.failed} of {self.requests}",
            *PUBLISHED.get(self.users, ("-", "-", "-")),
        ]


def table(levels: Iterable[Level]) -> str:
    """Markdown."""
    rows = [NAMES, ["---"] * len(NAMES), *(level.cells() for level in levels)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def run(users: int, options: argparse.Namespace) -> Level:
    """Locust at this number of users. Raises SystemExit when it left no figures."""
    prefix = options.out / str(users)
    ours = ["-f", "perf/locustfile.py", "--headless", "--only-summary", "--reset-stats", "--loglevel", "WARNING"]
    load = ["-H", options.url, "-u", str(users), "-r", str(users), "-t", f"{options.seconds}s", "--csv", str(prefix)]
    command = [sys.executable, "-m", "locust", *ours, *load, *options.locust, "ReferenceA"]
    print(f"{users} users, {options.seconds} s", flush=True)
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)  # 1 is: there were failures
    try:
        return Level.read(Path(f"{prefix}_stats.csv"), users)
    except (FileNotFoundError, KeyError) as error:
        raise SystemExit(f"Locust measured no prediction at {options.url}; what it says is above.") from error


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=lambda text: Path(text).absolute(), required=True)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--users", type=int, nargs="+", default=list(PUBLISHED))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("locust", nargs="*", help="further options for Locust, after --")
    return parser.parse_args(arguments)


def main() -> None:
    """Run every level, write and print the table."""
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    text = table([run(users, options) for users in options.users])
    (options.out / "table.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
