"""The shape of the package: imports point one way, importing does nothing, every file says its one idea."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import halfmax

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "halfmax"
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = [PACKAGE, *(ROOT / name for name in ("tests", "benchmarks", "tools"))]
FILES = [*(path for folder in FOLDERS for path in sorted(folder.rglob("*.py")) if path.stat().st_size), ROOT / "dev.py"]

# The rooms in the order of the data's way: a file may import from its own room and from those before it.
ORDER = [
    *("errors", "registry", "state", "cluster", "data", "labels", "features", "split", "models", "config", "metrics"),
    *(
        "label_metrics",
        "panel",
        "background",
        "uncertainty",
        "card",
        "model_folder",
        "predictor",
        "resume",
        "compare",
        "evaluate",
        "distribute",
        "between_screens",
        "ablation",
        "report",
        "run",
        "screening",
        "ablation_kinds",
        "tune",
        "adapters",
        "comparison",
        "explain",
        "patients",
    ),
    *("federated", "serve", "client", "terminal", "cli_data", "cli_pilot", "cli_explain", "cli_tune", "cli_screen"),
    *("cli_compare", "cli_serve", "cli", "testing", "__main__", "__init__"),
]
HEAVY = {"torch", "rdkit", "lightgbm", "xgboost", "sklearn", "matplotlib"}
# pickle.Unpickler is not here: the one reader of foreign pickles subclasses it with a closed list of types.
UNSAFE = {
    *(f"pickle.{name}" for name in ("load", "loads", "dump", "dumps", "Pickler")),
    *(f"joblib.{name}" for name in ("load", "dump")),
    *(f"torch.{name}" for name in ("load", "save")),
    "pd.read_pickle",
    "pandas.read_pickle",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(dotted: str) -> str:
    """Return the room of a module name such as halfmax.data.dataset."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def running_code(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, leaving out what only the type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from running_code(child)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and module of every import of halfmax in a file, those inside functions included."""
    for node in running_code(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} uses a relative import; name the module in full"
            if node.module == "halfmax":  # what __init__ itself defines is there before everything else
                names = [alias.name for alias in node.names if alias.name not in vars(halfmax)]
                yield from ((node.lineno, f"halfmax.{name}") for name in names if name != "__version__")
            elif (node.module or "").startswith("halfmax."):
                yield node.lineno, node.module or ""
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "halfmax")


def test_every_room_has_a_place_in_the_order() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert not rooms - set(ORDER), f"give {sorted(rooms - set(ORDER))} a place in ORDER"


def test_imports_point_one_way() -> None:
    wrong = []
    for path in MODULES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for line, module in imported(path):
            if room_of(module) not in ORDER[: ORDER.index(own) + 1]:
                wrong.append(f"{name_of(path)}:{line} imports {module}")
    assert not wrong, "these imports point backwards:\n" + "\n".join(wrong)


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    names = {"halfmax." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in MODULES}
    graph = {name: {module for _, module in imported(path) if module in names} for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, "a circle of imports: " + " → ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for module in sorted(graph[name]):
                visit(module, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_importing_halfmax_imports_nothing_heavy() -> None:
    code = "import sys, halfmax; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(told.stdout.split())
    assert "halfmax" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", halfmax.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(halfmax, name) is not None


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_first_line_says_the_one_idea(path: Path) -> None:
    first = ast.get_docstring(tree_of(path))
    assert first, "has no docstring"
    lines = path.read_text(encoding="utf-8").splitlines()
    start = lines[1] if lines[0].startswith("#!") else lines[0]
    assert start.startswith(('"""', 'r"""')), "its docstring does not stand on the first line"
    assert len(first.splitlines()[0].split()) >= 2


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_grows_past_400_lines(path: Path) -> None:
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= 400, f"has {n_lines} lines: does it hold more than one idea?"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_pickled(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in UNSAFE, f"line {node.lineno} calls {ast.unparse(node.func)}"
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert given.get("allow_pickle", "False") == "False", f"line {node.lineno} allows pickles"
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "joblib", "dill", "cloudpickle"):
            assert {alias.name for alias in node.names} <= {"Unpickler", "UnpicklingError"}, f"line {node.lineno}"
