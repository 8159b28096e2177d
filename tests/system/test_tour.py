"""docs/tour.ipynb: committed without outputs, and executed as it stands."""

from __future__ import annotations

import pathlib
import re

import nbclient
import nbformat
import pytest

PATH = pathlib.Path(__file__).parents[2] / "docs/tour.ipynb"


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(PATH, as_version=4)


def test_it_is_committed_without_outputs(notebook: nbformat.NotebookNode):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_its_links_lead_somewhere(notebook: nbformat.NotebookNode):
    links = re.findall(r"\]\(([^)#]+)", "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))
    assert links and [link for link in links if not (PATH.parent / link).exists()] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # Of Jupyter's own packages.
def test_it_shows_a_plot_and_plays_two_pieces(
    notebook: nbformat.NotebookNode, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # What it writes goes there.
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": PATH.parent}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert "3 files: 3 loaded" in text and "everything is in" in text
    shown = [output.data for output in outputs if "data" in output]
    assert sum("image/png" in data for data in shown) == 1
    assert sum("<audio" in data.get("text/html", "") for data in shown) == 2
