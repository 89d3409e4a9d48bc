"""The documentation is true: its examples run, its commands, settings and formats are those of the code."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from halfmax.config import RunConfig, load_config
from halfmax.data.synthetic import make_dataset
from halfmax.data.units import EXPRESSION_UNITS, RESPONSE_UNITS
from halfmax.features.omics import STEPS
from halfmax.models.base import MODELS
from halfmax.predictor import Predictor
from halfmax.registry import Registry

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    page: str
    line: int
    mark: str
    language: str
    code: str


def blocks() -> Iterator[Block]:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start("code"))
            name = path.relative_to(DOCS).as_posix()
            yield Block(name, line, found["mark"] or "", found["language"], found["code"])


BLOCKS = list(blocks())
TESTED = [block for block in BLOCKS if block.mark.startswith("tested")]
COMMANDS = [
    (block.page, line)
    for block in BLOCKS
    if block.language == "sh"
    for line in block.code.splitlines()
    if line.startswith("halfmax ")
]


@cache
def command_line() -> Any:
    """Return the click command behind `halfmax`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # typer 0.20 imports a name that click 8.5 will drop
        import typer.main

        from halfmax.cli import app

        return typer.main.get_command(app)


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards what the examples registered."""
    registry: Registry[type]
    for registry in (MODELS, STEPS):
        monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))


def rows_under(page: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table under a heading (or marker): name in backquotes to the other cells."""
    text = (DOCS / page).read_text(encoding="utf-8").split(heading + "\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]
    return {name: row[1:] for row in rows for name in re.findall(r"`([^`]+)`", row[0])}


def test_every_python_block_is_tested() -> None:
    assert not [block for block in BLOCKS if block.language == "python" and block not in TESTED]


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("page", sorted({block.page for block in TESTED}))
def test_examples_of_a_page_run_in_order(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("documented")
    monkeypatch.setitem(sys.modules, "documented", module)
    for block in TESTED:
        if block.page == page:
            code = compile("\n" * block.line + block.code, str(DOCS / page), "exec")
            exec(code, vars(module))


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_exist_with_their_options(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command = command_line()
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page}: there is no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    used = {word for word in words if word.startswith("--")}
    assert used <= known, f"{page}: {line}"


def test_every_command_and_option_is_described() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    pending = [("halfmax", command_line())]
    n_options = 0
    while pending:
        name, command = pending.pop()
        assert f"`{name}" in text
        pending += [(f"{name} {key}", child) for key, child in getattr(command, "commands", {}).items()]
        options = [p.opts[0] for p in command.params if p.param_type_name == "option" and p.opts[0] != "--help"]
        assert not [option for option in options if f"`{option}" not in text], name
        n_options += len(options)
    assert n_options > 15


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.mark.startswith("config")], ids=lambda b: b.page)
def test_configurations_are_valid(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(block.code, encoding="utf-8")
    config = load_config(path)
    assert config != RunConfig()


def test_every_setting_is_described_with_its_default() -> None:
    defaults = RunConfig().model_dump(mode="json")
    sections = {
        f"## `[{key}]`": value for key, value in defaults.items() if key in ("data", "split", "features", "task")
    }
    sections["## Top level"] = {k: v for k, v in defaults.items() if f"## `[{k}]`" not in sections}
    for heading, fields in sections.items():
        described = rows_under("configuration.md", heading)
        assert set(described) == set(fields), heading
        for name, value in fields.items():
            shown = "none" if value is None else f"`{json.dumps(value)}`"
            assert described[name][0] == shown or name == "models", f"{heading} {name}: the default is {shown}"


def test_every_model_step_and_unit_is_described() -> None:
    assert set(rows_under("configuration.md", "## Models")) == set(MODELS._paths)
    settings, data = ((DOCS / page).read_text(encoding="utf-8") for page in ("configuration.md", "data.md"))
    assert not [name for name in STEPS._paths if f"`{name}`" not in settings]
    assert set(rows_under("data.md", "### Units of expression")) == set(EXPRESSION_UNITS)
    assert not [name for name in RESPONSE_UNITS if f"`{name}`" not in data]


def test_manifests_hold_the_specified_keys(tmp_path: Path) -> None:
    dataset = make_dataset()
    folders = {
        "dataset": dataset.save(tmp_path / "d"),
        "predictor": Predictor.of("mean").fit(dataset).save(tmp_path / "p"),
    }
    for kind, folder in folders.items():
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        described = rows_under("formats.md", f"<!-- keys of halfmax-{kind} -->")
        assert set(described) == set(manifest)
        for key in ("format", "format_version"):
            assert described[key][0] == f"`{json.dumps(manifest[key])}`"


def test_entry_points_of_an_installed_package_are_found(tmp_path: Path) -> None:
    (block,) = (b for b in BLOCKS if b.mark == "entry points")
    project = tomllib.loads(block.code)["project"]
    package, about = tmp_path / "my_package", tmp_path / "my_package-1.0.dist-info"
    package.mkdir()
    about.mkdir()
    (package / "__init__.py").touch()
    for mark, name in (("tested: model", "models"), ("tested: step", "steps")):
        (code,) = (b.code for b in TESTED if b.mark == mark)
        (package / f"{name}.py").write_text(code, encoding="utf-8")
    groups = project["entry-points"]
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in points.items()) for group, points in groups.items()]
    (about / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n", encoding="utf-8")
    code = (
        "from halfmax.features.omics import STEPS\nfrom halfmax.models.base import MODELS\n"
        "print(*(MODELS.get('nearest_samples').__name__, STEPS.get('winsorise').__name__))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert told.stdout.split() == ["NearestSamples", "Winsorise"], told.stderr
