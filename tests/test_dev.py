"""dev.py needs nothing but Python, does its work once, and says plainly what stopped it."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ("constraints.txt", "constraints-oldest.txt", "constraints-newest.txt")


@pytest.fixture
def dev(tmp_path: Path) -> ModuleType:
    """Return dev.py as a module, standing in a folder of its own."""
    copy = tmp_path / "project" / "dev.py"
    copy.parent.mkdir()
    shutil.copy(ROOT / "dev.py", copy)
    (copy.parent / "constraints.txt").write_text("numpy==2.1.0\n")
    (copy.parent / "pyproject.toml").write_text("[project]\n")
    spec = importlib.util.spec_from_file_location("dev", copy)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Version(NamedTuple):
    major: int
    minor: int
    micro: int


def test_only_the_standard_library_is_imported() -> None:
    tree = ast.parse((ROOT / "dev.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_an_old_python_can_read_the_file_that_refuses_it() -> None:
    ast.parse((ROOT / "dev.py").read_text(), feature_version=(3, 7))


def test_old_python_is_refused_with_a_newer_one_named(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", Version(3, 9, 18))
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "python3.12" else None)
    with pytest.raises(dev.SetupError, match=r"3\.11 or newer, and this is 3\.9\.18 .* run `python3\.12 dev\.py"):
        dev.check_python()


def test_missing_ensurepip_names_the_package(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(dev.SetupError, match=r"lacks the standard module ensurepip.*apt install python3\.\d+-venv"):
        dev.check_python()


def test_a_short_disk_stops_before_anything_is_made(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: argparse.Namespace(free=1.25e9))
    options = argparse.Namespace(venv=".venv", constraints="constraints.txt", torch_index="")
    with pytest.raises(dev.SetupError, match=r"1\.2 GB are free .* needs about 3\.0 GB"):
        dev.setup(options, set())
    assert not (dev.ROOT / ".venv").exists()


def test_a_folder_that_is_no_environment_is_left_alone(dev: ModuleType) -> None:
    venv = dev.ROOT / ".venv"
    venv.mkdir()
    (venv / "letter.txt").write_text("mine")
    with pytest.raises(dev.SetupError, match="is not a Python environment"):
        dev.make_environment(venv, venv / "bin" / "python", {})
    assert (venv / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk ran full"),
        (
            "WARNING: connection broken by 'NewConnectionError'\nERROR: No matching distribution found for a",
            "not be reached",
        ),
        ("Could not fetch URL: SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))", "certificate"),
        ("ERROR: No matching distribution found for rdkit==2026.9.1", r"has no rdkit==2026\.9\.1 for Python"),
        ("ERROR: Cannot install a and b", "pip failed: ERROR: Cannot install a and b"),
    ],
)
def test_each_failure_of_pip_gets_its_own_words(dev: ModuleType, said: str, told: str) -> None:
    assert re.search(told, dev.explain(said.splitlines()))


def test_arguments_of_the_program_pass_through_untouched(dev: ModuleType) -> None:
    command, options, rest = dev.parse(["run", "--protocol", "LCO", "--torch-index", "there", "--all", "--help"])
    assert (command, options.torch_index, rest) == ("run", "there", ["--protocol", "LCO", "--all", "--help"])
    command, options, rest = dev.parse(["test", "-k", "split", "--all", "-x"])
    assert (options.all, options.extra, rest) == (True, ["test"], ["-k", "split", "-x"])


@pytest.mark.parametrize("argv", [[], ["install"], ["--help"]])
def test_anything_but_a_command_shows_how_to_use_it(
    dev: ModuleType, argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        dev.parse(argv)
    assert stop.value.code == (0 if argv == ["--help"] else 2)
    assert "python3 dev.py run" in capsys.readouterr().out


def test_ready_only_for_the_same_pins_and_the_same_extras(dev: ModuleType) -> None:
    venv, constraints = dev.ROOT / ".venv", dev.ROOT / "constraints.txt"
    python = venv / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    key = dev.fingerprint(constraints, "")
    assert not dev.ready(venv, python, key, set())
    dev.write_state(venv, {"complete": True, "key": key, "extras": ["test"]})
    assert dev.ready(venv, python, key, set())
    assert dev.ready(venv, python, key, {"test"})
    assert not dev.ready(venv, python, key, {"docs"})
    constraints.write_text("numpy==2.2.0\n")
    assert not dev.ready(venv, python, dev.fingerprint(constraints, ""), set())
    python.unlink()
    assert not dev.ready(venv, python, key, set())


@pytest.mark.slow
def test_half_made_environment_is_mended(dev: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    venv = dev.ROOT / ".venv"
    python = venv / "bin" / "python"
    dev.make_environment(venv, python, {})
    assert dev.healthy(python)
    shutil.rmtree(next(venv.glob("lib/python*/site-packages/pip")))
    assert not dev.healthy(python)
    dev.make_environment(venv, python, {})
    assert dev.healthy(python)
    assert "making it anew" in capsys.readouterr().out


@pytest.mark.slow
def test_an_unreachable_index_ends_in_one_paragraph(dev: ModuleType) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    environment |= {"PIP_NO_CACHE_DIR": "1"}
    told = subprocess.run(
        [sys.executable, str(dev.ROOT / "dev.py"), "setup"], capture_output=True, text=True, env=environment
    )
    assert told.returncode == 1
    assert "dev.py stopped: the package index could not be reached" in told.stderr
    assert "Traceback" not in told.stdout + told.stderr
    assert len(told.stderr.strip().splitlines()) == 1


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): version for package, version in found}


def requirements(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [requirement for line in lines if (requirement := Requirement(line)).name != "halfmax"]


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_every_dependency_is_pinned_inside_its_range(name: str) -> None:
    extras = ["excel", "test"] if "oldest" in name else ["excel", "test", "dev", "docs"]
    pinned = pins(name)
    for requirement in requirements(*extras):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version, f"{name} does not pin {requirement.name}"
        assert requirement.specifier.contains(version), f"{name} pins {version}, the range is {requirement}"


def test_the_oldest_pins_are_the_lower_bounds() -> None:
    pinned = pins("constraints-oldest.txt")
    for requirement in requirements("excel", "test"):
        (lower,) = (part.version for part in requirement.specifier if part.operator == ">=")
        exact = Requirement(f"{requirement.name}=={lower}").specifier
        assert exact.contains(pinned[canonicalize_name(requirement.name)]), requirement
