"""What credentials cost: the same closed loop by nobody, with HTTP Basic, a JWT, and a personal token on every request.

    .venv/bin/python -m perf.auth_cost [--clients 32] [--seconds 12] [--rounds 3] [--images DIR]
        [--model NAME --data-dir DIR] [-- further options for glimt serve]

Starts `glimt serve` with ResNet50 (random weights) or a model of the registry, cache off, and makes an account. The
kinds take turns; each is compared with the mean of nobody's rates right before and after it. An account's answers are
written into its history as well: with `-- --history-days 0` they are not. Linux only.
"""

import argparse
import base64
import statistics

import httpx2

from perf.clients import PATIENT, answered, per_second
from perf.closed_loop import closed_loop
from perf.serving import command_line, served
from service.tuning.pictures import Distinct

EMAIL, PASSWORD = "cost@example.org", "what does it cost"


def authorizations(port: int) -> dict[str, str]:
    """The Authorization header of each kind, for an account made now, or by an earlier run in the same folder."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        client.post("/user/", json={"name": "Cost", "email": EMAIL, "password": PASSWORD})
        login = client.post("/login", data={"username": EMAIL, "password": PASSWORD}).raise_for_status()
        bearer = f"Bearer {login.json()['access_token']}"
        made = client.post("/api/tokens", json={"name": "cost", "days": 1}, headers={"authorization": bearer})
        token = made.raise_for_status().json()["token"]
    basic = base64.b64encode(f"{EMAIL}:{PASSWORD}".encode()).decode()
    return {"HTTP Basic": f"Basic {basic}", "JWT": bearer, "personal token": f"Bearer {token}"}


def rate(port: int, clients: int, pictures: Distinct, seconds: float, authorization: str = "") -> float:
    """Pictures per second. Ends the program when any request failed."""
    asked = closed_loop(port, clients, pictures, seconds, PATIENT._replace(authorization=authorization))
    if len(answered(asked)) != len(asked):
        raise SystemExit(f"Not all was answered: {sorted({one.outcome for one in asked})}")
    return per_second(asked, clients)


def measure(options: argparse.Namespace, pictures: Distinct, port: int) -> None:
    """All rounds, and the median ratio of each kind."""
    kinds = authorizations(port)
    ratios: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        before = rate(port, options.clients, pictures, options.seconds)
        for kind, authorization in kinds.items():
            found = rate(port, options.clients, pictures, options.seconds, authorization)
            after = rate(port, options.clients, pictures, options.seconds)
            ratios[kind].append(found / statistics.mean((before, after)))
            print(f"{kind:<15} {found:6.2f} pictures/s, nobody {before:.2f} / {after:.2f}", flush=True)
            before = after
    for kind, values in ratios.items():
        print(f"{kind:<15} median ratio {statistics.median(values):.3f} of {[round(v, 3) for v in sorted(values)]}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print."""
    options = parse()
    with served(options) as (pictures, port):
        measure(options, pictures, port)


if __name__ == "__main__":
    main()
