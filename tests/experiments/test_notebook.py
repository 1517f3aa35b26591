"""The notebook, executed whole as its readers would, at the smallest settings; and what is committed of it.

`python tests/experiments/test_notebook.py` executes it as it stands, in minutes, and writes the new outputs into its
file.
"""

import base64
import io
import itertools
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from PIL import Image
from tiny_runs import QUICK, STEPS, arguments

from experiments.train import parse
from sgdbd_jax.data.scenes import SceneConfig, render_scene
from sgdbd_jax.fields import replace
from sgdbd_jax.files import write_atomically
from sgdbd_jax.presets import DEMO, SELF_TRAINED
from sgdbd_jax.training.log import read_log
from sgdbd_jax.weights import load_weights

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "experiments" / "notebooks" / "colab.ipynb"
LIMIT = 400_000  # bytes, with its pictures


def read():
    return nbformat.read(NOTEBOOK, as_version=4)


def execute(folder, environment, **parameters):
    """The notebook, executed in a folder, without a network, its parameters overruled; what Jupyter writes lies there.

    Jupyter looks for its folders in this process's environment, too.
    """
    notebook = read()
    (chosen,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    source = chosen.source
    chosen.source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
    apart = {"JUPYTER_PLATFORM_DIRS": "1"} | {
        name: str(folder / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "XDG_CACHE_HOME")
    }
    nowhere = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    client = NotebookClient(
        notebook,
        timeout=3600,  # seconds a cell
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # of a progress bar only its last state
        resources={"metadata": {"path": str(folder)}},
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in apart.items():
            patch.setenv(name, value)
        client.execute(env=environment | apart | nowhere | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"})
    chosen.source = source
    return notebook


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def cells(folder, tmp_path_factory):
    """The executed cells, by their ids."""
    options = arguments(Path("sgdbd/run"), warm_steps=0)
    return by_id(execute(folder, os.environ | QUICK, OPTIONS=options))


def by_id(notebook):
    return {cell.id: cell for cell in notebook.cells}


def text(cell):
    """All that a cell says."""
    said = (output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
    return "\n".join(said)


def pictures(cell):
    """The pictures that a cell shows."""
    found = []
    for output in cell.outputs:
        for kind in ("image/jpeg", "image/png"):
            if kind in output.get("data", {}):
                found.append(Image.open(io.BytesIO(base64.b64decode(output.data[kind]))))
                found[-1].load()
    return found


# Executed.


def test_the_shipped_weights_find_what_is_in_focus_in_the_made_scene(cells):
    """The share in focus, against the scene's true mask."""
    scene = render_scene(0, SceneConfig(256, leaf_high=64, blur_low=4, blur_high=16), "part")
    share = int(re.search(r"(\d+)% of the photo is in focus", text(cells["mask-code"]))[1]) / 100
    assert share == pytest.approx((scene.mask > 0).mean(), abs=0.1)
    (shown,) = pictures(cells["mask-code"])
    photo, mask, _ = np.split(np.asarray(shown.resize((780, 276)), np.float32)[20:], 3, axis=1)
    # Shown beside it is that photo: its mean colour, and a mask of that share.
    np.testing.assert_allclose(photo.mean(axis=(0, 1)), scene.image.mean(axis=(0, 1)), atol=12)
    assert mask.mean() / 255 == pytest.approx(share, abs=0.05)


def test_without_a_network_vgg16_is_left_out_and_said_so(cells, folder):
    assert text(cells["vgg16-code"]).startswith("VGG16 is left out: ")
    assert not (folder / "sgdbd" / "vgg16.safetensors").exists()


def test_the_training_is_lost_and_goes_on_to_its_end(cells, folder):
    assert text(cells["train-code"]).endswith("killed\n")
    assert re.match(r"checkpoints: (classifier|game)/\d+", text(cells["saved-code"]))
    assert "protocol paper, 64 images" in text(cells["resume-code"])
    logged = [(row["stage"], row["step"]) for row in read_log(folder / "sgdbd" / "run")]
    assert logged == [(stage, step) for stage in ("classifier", "game") for step in range(1, STEPS[stage] + 1)]


def test_curves_and_samples_are_shown_as_training_goes(cells, folder):
    curves, samples = pictures(cells["resume-code"])
    assert curves.size == (640, 416)  # 1000 x 650, smaller
    with Image.open(folder / "sgdbd" / "run" / "grids" / "game_000024.png") as newest:
        smaller = newest.convert("RGB").resize(samples.size)
    assert np.abs(np.asarray(smaller, np.float32) - np.asarray(samples, np.float32)).mean() < 8  # a JPEG of it
    assert "game: 100%" in text(cells["resume-code"])


def test_the_score_that_is_shown_is_that_of_the_trained_weights(cells, folder):
    scores = folder / "sgdbd" / "scores"
    result = json.loads((scores / "result.json").read_text())
    assert (result["protocol"], result["images"]) == ("paper", 32)
    weights = "sgdbd/run/generator.safetensors"
    (row,) = (line for line in text(cells["score-code"]).splitlines() if line.startswith(weights))
    shown = [float(number) for number in row.removeprefix(weights).split()]
    assert shown == [round(result[name], 3) for name in ("f_measure", "mae", "precision", "recall")]
    assert [picture.width for picture in pictures(cells["score-code"])] == [640]


def test_the_weights_to_take_along_are_those_of_the_finished_run(cells, folder):
    path = folder / "sgdbd" / "run" / "generator.safetensors"
    _, metadata = load_weights(path, kind="generator")
    assert metadata["stage"] == "game"
    assert text(cells["download-code"]) == f"sgdbd/run/{path.name}: {path.stat().st_size / 1e6:.1f} MB\n"


# Cells by themselves.


def run(name, **names):
    """What a cell leaves, run without a kernel after the cells before it left `names`."""
    exec(TransformerManager().transform_cell(by_id(read())[name].source), names)
    return names


def test_made_scenes_and_photos_of_ones_own_are_trained_on_by_their_presets(tmp_path):
    given = {"FOLDER": Path("sgdbd"), "sys": sys, "VGG16": tmp_path / "vgg16.safetensors", "OPTIONS": ["--seed", "3"]}

    def config(**changes):
        options, found = parse(run("command-code", **given, STEPS=7, CLEAR="sharp", **changes)["COMMAND"][3:])
        assert options.workdir == Path("sgdbd/run")
        return found

    assert config(SOURCE="") == replace(DEMO, {"steps": 7, "seed": 3})
    photos = {"data": "folders", "source": "partly", "clear": "sharp", "seed": 3}
    assert config(SOURCE="partly") == replace(SELF_TRAINED, photos | {"vgg16": "random"})
    given["VGG16"].touch()
    assert config(SOURCE="partly") == replace(SELF_TRAINED, photos | {"vgg16": str(given["VGG16"])})


@pytest.fixture
def installs(monkeypatch, tmp_path):
    """Runs the cell that installs, where the package is not; gives what pip is asked for."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)

    def install(place, repository):
        asked = []
        kernel = SimpleNamespace(run_line_magic=lambda name, line: asked.append((name, line)))
        monkeypatch.chdir(place)
        left = run("install-code", REPOSITORY=repository, get_ipython=lambda: kernel)
        return [(name, line.format(**left)) for name, line in asked]

    return install


def test_it_is_installed_from_the_clone_or_from_the_repository(installs, tmp_path):
    url = "https://example.org/someone/sgdbd_jax"
    assert installs(NOTEBOOK.parent, url) == [("pip", f'install -q "{ROOT}" "jax" h5py')]
    assert installs(tmp_path, url) == [("pip", f'install -q "git+{url}" "jax" h5py')]
    with pytest.raises(ValueError, match="REPOSITORY: write the account"):
        installs(tmp_path, run("parameters")["REPOSITORY"])


def test_on_colab_a_photo_comes_from_and_weights_go_to_the_reader(monkeypatch, tmp_path):
    """Colab's own module, by its documented functions."""
    photo, taken, mounted = np.full((5, 7, 3), 80, np.uint8), [], []
    png = io.BytesIO()
    Image.fromarray(photo).save(png, "PNG")
    colab = ModuleType("google.colab")
    colab.files = SimpleNamespace(upload=lambda: {"mine.png": png.getvalue()}, download=taken.append)
    colab.drive = SimpleNamespace(mount=mounted.append)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")
    np.testing.assert_array_equal(run("photo-code", PHOTO="upload")["photo"], photo)
    left = run("places-code", DRIVE=True, FOLDER=str(tmp_path / "new"), Path=Path)
    assert left["COLAB"] and mounted == ["/content/drive"] and (tmp_path / "new").is_dir()
    weights = tmp_path / "generator.safetensors"
    weights.write_bytes(b"")
    run("download-code", COLAB=True, WEIGHTS=weights)
    assert taken == [str(weights)]


# Committed.


def test_every_code_cell_is_short_and_explained():
    notebook = read()
    nbformat.validate(notebook)
    for before, cell in itertools.pairwise(notebook.cells):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown" and before.source, cell.id
            assert len(cell.source.splitlines()) <= 30, cell.id


def test_the_committed_outputs_are_whole_and_small():
    assert NOTEBOOK.stat().st_size < LIMIT
    codes = [cell for cell in read().cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    assert not [output for cell in codes for output in cell.outputs if output.output_type == "error"]
    shown = {cell.id: len(pictures(cell)) for cell in codes}
    assert {name for name, count in shown.items() if count} >= {"mask-code", "resume-code", "score-code", "own-code"}


def test_the_committed_outputs_hold_no_path_of_a_machine():
    """Nor who ran it: paths are relative, and nothing but what the cells show is kept."""
    for cell in read().cells:
        assert set(cell.metadata) <= {"tags"}, cell.id
        if cell.cell_type == "code":
            found = re.search(r"(?<![\w.:/)])(/[\w.-]+){2,}|~/|[A-Z]:\\", text(cell))
            assert found is None, f"{cell.id}: {found}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        write_atomically(NOTEBOOK, nbformat.writes(execute(Path(place), dict(os.environ))).encode() + b"\n")
