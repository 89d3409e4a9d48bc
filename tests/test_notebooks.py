"""The notebooks run from the first cell to the last, offline, and end where they say."""

import json
import sys
import types
from pathlib import Path

import pytest

from halfmax.models.base import MODELS

TUTORIALS = Path(__file__).resolve().parents[1] / "docs" / "tutorials"


def code_of(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not [c for c in cells if c.get("outputs")], "store notebooks without outputs"
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_a_model_is_added_compared_and_ablated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MODELS, "_loaded", dict(MODELS._loaded))
    notebook = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", notebook)
    for number, code in enumerate(code_of(TUTORIALS / "add_a_model.ipynb")):
        exec(compile(code, f"add_a_model.ipynb, code cell {number}", "exec"), vars(notebook))
    table = notebook.table
    assert table.loc["few_genes", "normalized_r2"] > 0.4
    assert table.loc["drug_mean", "within_drug_pearson"] == 0
    assert table.loc["drug_mean", "pearson"] > 0.5
    rows = notebook.rows.set_index("variant")
    assert rows.loc["only planted", "high"] < rows.loc["random like planted", "low"]
    assert (tmp_path / "few_genes" / "report.html").is_file()
    assert "than kernel ridge by RMSE" in capsys.readouterr().out


def test_a_notebook_reads_as_a_page():
    pytest.importorskip("myst_parser")
    sys.path.insert(0, str(TUTORIALS.parent))
    try:
        from notebooks import markdown_of
    finally:
        sys.path.pop(0)
    text = markdown_of((TUTORIALS / "add_a_model.ipynb").read_text(encoding="utf-8"))
    assert text.startswith("# Add a model, compare it, read the report\n")
    assert text.count("```python\n") == len(code_of(TUTORIALS / "add_a_model.ipynb"))
