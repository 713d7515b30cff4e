"""A real Jupyter kernel: cells that are run again, and classes that they define."""

import os

import pytest

nbclient = pytest.importorskip("nbclient")

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

# What Jupyter's own libraries warn of is not ours.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def run_cells(project, monkeypatch, tmp_path):
    """Run cells in a kernel that finds the workers; return what each prints."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert os.environ["PYRO_NS_PORT"] == project.cluster.environ["PYRO_NS_PORT"]

    def run(*cells):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        client = nbclient.NotebookClient(
            notebook,
            timeout=60,
            kernel_name="python3",
            resources={"metadata": {"path": str(project.folder)}},
        )
        client.execute()
        return [
            "".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells
        ]

    return run


def test_a_function_that_is_redefined_between_two_maps(run_cells):
    outputs = run_cells(
        "import seppo\nFACTOR = 2\ndef f(x): return FACTOR * x",
        "print(list(seppo.map_parallel(f, range(4), fallback='error')))",
        "def f(x): return -x",
        "print(list(seppo.map_parallel(f, range(4), fallback='error')))",
        "def f(x): return FACTOR + x\nFACTOR = 100",
        "print(list(seppo.map_parallel(f, range(4), fallback='error')))",
    )
    assert outputs[1] == "[0, 2, 4, 6]\n"
    assert outputs[3] == "[0, -1, -2, -3]\n"
    assert outputs[5] == "[100, 101, 102, 103]\n"


def test_classes_of_cells_come_back_as_the_callers_own(run_cells):
    outputs = run_cells(
        "import seppo\nfrom dataclasses import dataclass",
        "@dataclass\nclass P:\n    x: int\ndef f(p): return P(p.x + 1)",
        "r = list(seppo.map_parallel(f, [P(1), P(2)], fallback='error'))\n"
        "print(r, all(type(p) is P for p in r))",
        "@dataclass\nclass P:\n    x: int\n    y: int = 5\n",
        "r = list(seppo.map_parallel(f, [P(1), P(2)], fallback='error'))\n"
        "print(r, all(type(p) is P for p in r))",
    )
    assert outputs[2] == "[P(x=2), P(x=3)] True\n"
    assert outputs[4] == "[P(x=2, y=5), P(x=3, y=5)] True\n"


def test_a_module_beside_the_notebook_that_is_reloaded(run_cells, project):
    project.write("beside.py", "def f(x): return 'first'\n")
    outputs = run_cells(
        "import seppo, beside, importlib, pathlib, os",
        "print(set(seppo.map_parallel(beside.f, range(4), fallback='error')))",
        "file = pathlib.Path('beside.py')\n"
        "file.write_text(\"def f(x): return 'second'\\n\")\n"
        "os.utime(file, (2e9, 2e9))\n"
        "print(set(seppo.map_parallel(beside.f, range(4), fallback='error')))",
        "importlib.reload(beside)\n"
        "print(set(seppo.map_parallel(beside.f, range(4), fallback='error')))",
    )
    assert outputs[1] == "{'first'}\n"
    assert outputs[2].splitlines()[-1:] == ["{'first'}"] or "{'first'}" in outputs[2]
    assert "has changed" in outputs[2]
    assert outputs[3] == "{'second'}\n"
