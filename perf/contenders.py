"""The servers that compare.py puts beside each other: how each is installed, started, watched and ended.

Every process that a server starts, however far it goes, carries a mark in its environment. By it the whole family is
found: its memory is added up, and at the end all of it is killed. Linux only.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "perf/peers"
MARK = "GLIMT_COMPARE"
START_S = 180
STOP_S = 15
SAMPLE_S = 2.0
"""Reading the memory of twenty processes of Ray takes tens of milliseconds of the machine that is measured."""
PEER_COMMANDS = {
    "litserve": "python -m perf.peers.litserve_server {port}",
    "bentoml": "bentoml serve perf.peers.bentoml_server:Classifier --host 127.0.0.1 --port {port}",
    "rayserve": "python -m perf.peers.rayserve_server {port}",
    "mosec": "python -m perf.peers.mosec_server --address 127.0.0.1 --port {port} --timeout 120000 --log-level warning",
    "fastapi": "python -m perf.peers.fastapi_server {port}",
}
GLIMT = "-m service serve --port {port} --cache-entries 0 --log-level warning --data-dir"
RESNET50 = ("--model", "resnet50", "--weights", "random")


class NotRunning(Exception):
    """A server cannot be installed or started; the reason is the message."""


@dataclass(frozen=True)
class Contender:
    """`peer`: another's server, on TensorFlow. `float32`: it must answer as the others do."""

    name: str
    command: tuple[str, ...]
    peer: bool
    float32: bool = True
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def environment_name(self) -> str:
        """A peer's folder below --environments: the name without its shape."""
        return self.name.partition(":")[0]


def contenders(environments: Path, data: Path, work: Path, int8: str | None) -> list[Contender]:
    """Glimt's variants and the peers. `work` holds the frozen graph and what the servers count."""
    serve = (sys.executable, *GLIMT.split(), str(data))
    found = [
        Contender(f"glimt-{engine}", (*serve, *RESNET50, "--engine", engine), peer=False)
        for engine in ("tensorflow", "openvino")
    ]
    if int8:
        command = (*serve, "--engine", "openvino", "--model", int8)
        found.append(Contender("glimt-int8", command, peer=False, float32=False))
    for name, text in PEER_COMMANDS.items():
        program, *arguments = text.split()
        command = (str(environments.absolute() / name / "bin" / program), *arguments)
        found.append(Contender(name, command, peer=True, environment=peer_environment(work)))
    return found


def chosen(known: list[Contender], names: list[str]) -> list[Contender]:
    """Those named; a peer also as NAME:2x1, which gives it two processes with a model and one thread to each, or as
    NAME:plain, without what Glimt found out about decoding and sessions.

    Raises NotRunning when one is not known.
    """
    by_name = {contender.name: contender for contender in known}
    found = []
    for name in names:
        plain, _, shape = name.partition(":")
        contender, (workers, by, threads) = by_name.get(plain), shape.partition("x")
        known_shape = shape == "plain" or (by and (workers + threads).isdigit())
        if contender is None or (shape and not (contender.peer and known_shape)):
            raise NotRunning(f"{name} is not known. Known: {', '.join(by_name)}, peers also as NAME:2x1 or NAME:plain.")
        settings = {"PEER_WORKERS": workers, "PEER_THREADS": threads} if by else {}
        if shape == "plain":
            settings = {"PEER_PLAIN": "1"}
        found.append(replace(contender, name=name, environment=contender.environment | settings))
    return found


def peer_environment(work: Path) -> dict[str, str]:
    """What perf/peers/resnet.py reads, and nobody calling home."""
    return {
        "PYTHONPATH": str(ROOT),
        "PEER_GRAPH": str(work / "resnet50.pb"),
        "PEER_COMPUTED": str(work / "computed"),
        "BENTOML_HOME": str(work / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_TMPDIR": str(work),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PATH": os.environ["PATH"],
        "HOME": str(work),
    }


def install(name: str, environments: Path) -> None:
    """A virtual environment with exactly perf/peers/NAME.txt, unless it is there. Raises NotRunning."""
    folder, wanted = environments / name, PEERS / f"{name}.txt"
    done = folder / "installed.txt"
    with suppress(OSError):
        if done.read_bytes() == wanted.read_bytes():
            return
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not uv:
        raise NotRunning("uv is not installed. Way out: pip install uv")
    _run([uv, "venv", "--allow-existing", "--python", sys.executable, str(folder)])
    _run([uv, "pip", "sync", "--python", str(folder / "bin/python"), str(wanted)])
    shutil.copyfile(wanted, done)


def _run(command: list[str]) -> None:
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise NotRunning(f"{' '.join(command[:3])}: {finished.stderr.strip()[-300:]}")


@dataclass
class Running:
    """A started server. `peak_mb` is the most memory of the whole family so far (PSS, 10^6 bytes)."""

    port: int
    mark: str
    peak_mb: float = 0.0


@contextmanager
def running(contender: Contender, log: Path, answers: Callable[[int], bool]) -> Iterator[Running]:
    """The server from when `answers(port)` is true until the block ends. Raises NotRunning with its last words."""
    server = Running(_free_port(), mark=uuid.uuid4().hex)
    command = [part.format(port=server.port) for part in contender.command]
    environment = (contender.environment or dict(os.environ)) | {MARK: server.mark}
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(server, over))
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise NotRunning(str(error)) from error
    watch.start()
    try:
        until = time.monotonic() + START_S
        while not answers(server.port):
            if process.poll() is not None or time.monotonic() > until:
                why = "ended" if process.poll() is not None else f"did not answer in {START_S} s"
                raise NotRunning(f"{why}: {' '.join(log.read_text(errors='replace').split())[-300:]}")
            time.sleep(0.5)
        yield server
    finally:
        over.set()
        watch.join()
        _end(process, server.mark)


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """Ask the first process to stop, then kill whoever of its family is left."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    while left := family(mark):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
        time.sleep(0.1)


def family(mark: str) -> list[int]:
    """Live processes that carry the mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is another's
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def proportional_mb(pid: int) -> float:
    """Its own memory and its share of what it shares (PSS), in 10^6 bytes; 0 when it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _watch(server: Running, over: threading.Event) -> None:
    while not over.wait(SAMPLE_S):
        server.peak_mb = max(server.peak_mb, sum(map(proportional_mb, family(server.mark))))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
