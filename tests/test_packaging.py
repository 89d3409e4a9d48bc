"""What a wheel of halfmax holds: the package, its licence, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", str(root)]
    subprocess.run([*command, "--wheel-dir", str(tmp_path)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("halfmax-")
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    info = {name for name in names if ".dist-info/" in name}
    assert {name.split("/", 1)[1] for name in info} == {
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
        "licenses/LICENSE",
    }
    source = root / "src"
    kept = {path.relative_to(source).as_posix() for path in (source / "halfmax").rglob("*") if path.is_file()}
    kept = {name for name in kept if not {"__pycache__", ".mypy_cache", ".ruff_cache"} & set(name.split("/"))}
    assert set(names) - info == kept
    assert "halfmax/py.typed" in kept
