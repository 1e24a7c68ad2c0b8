"""Imports go one way. The rooms and who may enter them, proved on the code itself."""

import ast
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[1] / "service"
FOUNDATION = {"cores", "counting", "errors", "files", "memory", "settings", "wilson"}
MAY_IMPORT = {
    "__main__": {"cli"},
    "errors": set(),
    "cores": set(),
    "counting": set(),
    "files": set(),
    "wilson": set(),
    "settings": {"cores"},
    "observe": {"settings"},
    "memory": set(),
    "metrics": {"inference"},
    "server": FOUNDATION | {"connections", "protocol"},
    "protocol": FOUNDATION | {"exchange", "framing", "http"},
    "framing": {"errors", "writing"},
    "exchange": {"errors", "http"},
    "writing": {"connections"},
    "connections": set(),
    "terminal": set(),
    "inference": FOUNDATION,
    "models": FOUNDATION | {"inference"},
    "store": FOUNDATION,
    "bulk": FOUNDATION | {"inference", "store"},
    "accounts": FOUNDATION | {"store"},
    "http": FOUNDATION | {"accounts", "bulk", "inference", "models", "store", "training", "metrics"},
    "doctor": FOUNDATION | {"inference", "models"},
    "options": {"errors", "settings", "terminal"},
    "data_folder": {"errors"},
    "credentials": {"accounts", "data_folder", "errors"},
    "tuning": FOUNDATION | {"credentials"},
    "remote_job": {"credentials", "errors"},
    "classify": FOUNDATION
    | {"bulk", "construction", "credentials", "http", "inference", "models", "remote_job", "terminal"},
    "quantization": FOUNDATION | {"classify", "construction", "data_folder", "inference", "models"},
    "construction": FOUNDATION | {"accounts", "bulk", "http", "inference", "models", "store"},
    "app": FOUNDATION
    | {"accounts", "bulk", "construction", "http", "inference", "metrics", "models", "store", "training"},
    "training": FOUNDATION | {"bulk", "construction", "inference", "models", "store"},
    "cli_train": FOUNDATION | {"construction", "data_folder", "inference", "models", "options", "store", "training"},
    "model_versions": FOUNDATION | {"data_folder", "http", "models", "own_service", "terminal"},
    "cli_models": {"model_versions", "options", "terminal"},
    "own_service": {"credentials", "data_folder", "errors", "settings"},
    "users": FOUNDATION
    | {"accounts", "app", "credentials", "data_folder", "observe", "own_service", "store"}
    | {"terminal"},
    "cli_users": {"options", "terminal", "users"},
    "cli": FOUNDATION
    | {
        "app",
        "classify",
        "cli_train",
        "cli_models",
        "cli_users",
        "credentials",
        "data_folder",
        "doctor",
        "models",
        "observe",
        "options",
    }
    | {"quantization", "server", "store", "tuning"},
}
RUNTIMES = {
    "tensorflow": {"inference/engines/freezing.py"},
    "keras": {
        "inference/engines/preparing.py",
        "models/architectures.py",
        "training/augmentation.py",
        "training/explaining.py",
        "training/fitting.py",
    },
    "openvino": {
        "inference/engines/converting.py",
        "inference/engines/openvino.py",
        "inference/engines/quantizing.py",
    },
    "nncf": {"inference/engines/quantizing.py"},
}
STANDARD_LIBRARY_ONLY = [f"inference/{name}.py" for name in ("batcher", "halving", "lanes", "overload")]
FILES = sorted(SERVICE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every module a file imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(name: str) -> str:
    """`service.store.feedback.FeedbackRow` -> `store`."""
    return name.split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SERVICE)))
def test_imports_go_one_way(path: Path) -> None:
    """A room imports only itself and what it may."""
    own = path.relative_to(SERVICE).parts[0].removesuffix(".py")
    rooms = {room(name) for name in imported(path) if name.startswith("service.")} - {own, "__version__"}
    assert rooms <= MAY_IMPORT.get(own, set()), f"{path.name} reaches into {rooms - MAY_IMPORT.get(own, set())}"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_only_one_place_imports_a_runtime(runtime: str) -> None:
    """TensorFlow and Keras stay behind the engine and the architectures."""
    importers = {
        str(path.relative_to(SERVICE)) for path in FILES if any(n.split(".")[0] == runtime for n in imported(path))
    }
    assert importers <= RUNTIMES[runtime]


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ONLY)
def test_the_batcher_is_standard_library_only(name: str) -> None:
    """It knows nothing of arrays, pictures or HTTP."""
    import sys

    foreign = {n.split(".")[0] for n in imported(SERVICE / name)} - set(sys.stdlib_module_names) - {"service"}
    assert foreign == set()
