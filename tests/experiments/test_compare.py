"""The whole comparison, of cheap detectors on photos made here: scores by hand, what is kept, what fails, refusals."""

import functools
import json

import numpy as np
import pytest
from PIL import Image

from experiments import compare
from sgdbd_jax.baselines import btbnet, dhcf, lbp, srid, svd
from sgdbd_jax.baselines.detectors import DETECTORS
from sgdbd_jax.errors import Unavailable, UserError
from sgdbd_jax.evaluation.comparison import equalised
from sgdbd_jax.evaluation.scoring import score
from sgdbd_jax.evaluation.sod import MAX_F, SOD
from sgdbd_jax.files import file_sha256
from sgdbd_jax.folders.alone import alone
from sgdbd_jax.training.run import Stopped
from sgdbd_jax.weights import load_weights, save_weights

TRUTH = np.zeros((24, 32), np.uint8)
TRUTH[:, 16:] = 255
SOURCE = ("x", "y", "blurred")
KEYS = {"method", "label", "grade", "f_measure", "mae", "f_measure_equalised", "max_f", "seconds"}


@pytest.fixture
def folder(tmp_path):
    """Three photos in focus on the right, their truths, white = in focus, and perfect masks."""
    rng = np.random.default_rng(0)
    for name in "abc":
        photo = np.where(TRUTH[..., None] > 0, rng.integers(0, 256, (24, 32, 3)), 128).astype(np.uint8)
        for kind, pixels in (("images", photo), ("masks", TRUTH), ("perfect", TRUTH), ("clear", photo[::-1])):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / kind / f"{name}.png")
    return tmp_path


@pytest.fixture
def run(folder):
    """Calls the command; gives the rows of its JSON by method."""

    def call(*arguments, code=0):
        fixed = {"images": folder / "images", "masks": folder / "masks", "masks_white": "focused"}
        given = [text for name, value in {**fixed, "out": folder / "out"}.items() for text in (f"--{name}", str(value))]
        assert compare.main([*given, *arguments]) == code
        if code not in (0, 1):
            return None
        return {row["method"]: row for row in json.loads((folder / "out" / "compare.json").read_text())["rows"]}

    return call


@pytest.fixture
def calls(monkeypatch):
    """The photos that SVD is asked for, of which it makes maps: how far a pixel is on the right."""
    photos = []

    def detect(photo):
        photos.append(photo)
        return np.broadcast_to(np.linspace(0, 1, photo.shape[1], dtype=np.float32), photo.shape[:2])

    monkeypatch.setattr(svd, "detect", detect)
    return photos


def row_of(folder, name):
    lines = (folder / "out" / "compare.md").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"| {name} |"))


def test_real_detectors_and_masks_made_elsewhere_are_scored_beside_the_constants(folder, run, capsys):
    rows = run("--methods", "lbp,svd", "--predictions", f"perfect={folder / 'perfect'}")
    assert list(rows) == ["svd", "lbp", "perfect", "zeros", "ones"]
    assert all(row.keys() == KEYS for row in rows.values())
    result = json.loads((folder / "out" / "compare.json").read_text())
    assert (result.keys(), result["images"], result["protocol"]) == ({"rows", "images", "protocol"}, 3, "paper")
    # The enlarged edge of a perfect mask is soft, and counts as in focus from a tenth on.
    assert rows["perfect"]["mae"] < 0.02 and rows["perfect"]["f_measure"] > 0.98 and rows["perfect"]["max_f"] == 1
    assert rows["zeros"]["mae"] + rows["ones"]["mae"] == pytest.approx(1)
    assert rows["svd"]["f_measure"] > rows["ones"]["f_measure"]
    assert (rows["svd"]["label"], rows["svd"]["grade"]) == ("unsupervised", "A")
    assert rows["svd"]["seconds"] > 0 and rows["perfect"]["seconds"] is None and rows["zeros"]["seconds"] is None
    printed = capsys.readouterr().out
    assert printed and (folder / "out" / "compare.md").read_text().startswith(printed)
    assert "| *0.750 / 0.242* | *0.664 / 0.282* | A | unsupervised |" in row_of(folder, "SVD")
    for name in ("pr_curves.png", "f_curves.png", "masks.png"):
        with Image.open(folder / "out" / name) as picture:
            picture.load()
            assert min(picture.size) > 80
        assert f"]({name})" in (folder / "out" / "compare.md").read_text()


def test_a_map_is_scored_by_hand(run, calls):
    """A ramp is its own ranks but for a shift, and parts the halves at one half: max-F is 1."""
    row = run("--methods", "svd")["svd"]
    assert row["max_f"] == 1 and row["mae"] == pytest.approx(0.25, abs=0.01)
    # At 1.5 times the mean, three quarters, all that is chosen is right, and half of what there is.
    assert row["f_measure"] == pytest.approx(1.3 * 0.5 / (0.3 + 0.5), abs=0.02)
    assert row["f_measure_equalised"] == pytest.approx(row["f_measure"], abs=0.02)


def test_ranks_know_no_brightness():
    found = np.random.default_rng(0).random((9, 7))
    np.testing.assert_array_equal(equalised(found), equalised(found**3 / 10))
    assert equalised(np.zeros((2, 2))).tolist() == [[0.625, 0.625], [0.625, 0.625]]


def test_max_f_alone_is_that_of_protocol_sod():
    rng = np.random.default_rng(0)
    pairs = [(rng.random((8, 9)), (rng.random((8, 9)) > 0.5).astype(float)) for _ in range(3)]
    assert score(pairs, MAX_F).result["max_f"] == score(pairs, SOD).result["max_f"]


def test_a_comparison_that_is_stopped_goes_on_and_makes_no_map_twice(run, monkeypatch, calls):
    detect = svd.detect

    def stop_at_third(photo):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return detect(photo)

    with monkeypatch.context() as patch:
        patch.setattr(svd, "detect", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            run("--methods", "svd")
    first = run("--methods", "svd")
    assert len(calls) == 3
    assert run("--methods", "svd") == first and len(calls) == 3


def test_only_the_map_of_a_photo_that_has_changed_is_made_again(folder, run, calls):
    run("--methods", "svd")
    changed = np.full((24, 32, 3), 7, np.uint8)
    Image.fromarray(changed).save(folder / "images" / "b.png")
    run("--methods", "svd")
    assert len(calls) == 4
    np.testing.assert_array_equal(calls[3], changed)


def test_a_map_that_is_damaged_is_made_again(folder, run, calls):
    first = run("--methods", "svd")
    path = folder / "out" / "maps" / "svd" / "b.png"
    path.write_bytes(path.read_bytes()[:60])
    assert run("--methods", "svd")["svd"]["mae"] == first["svd"]["mae"]
    assert len(calls) == 4


def test_other_weights_make_other_maps(folder, run, monkeypatch):
    weights = folder / "w.safetensors"
    read = []
    monkeypatch.setattr("sgdbd_jax.baselines.detectors.shipped", lambda name: weights)
    monkeypatch.setattr(srid, "read", lambda path: read.append(path) or {"level": len(read) / 4})
    monkeypatch.setattr(srid, "detect", lambda photo, learned: np.full(photo.shape[:2], learned["level"], np.float32))
    save_weights(weights, {"of": np.zeros(1)}, {"kind": "srid"})
    first = run("--methods", "srid")["srid"]
    assert run("--methods", "srid")["srid"]["mae"] == first["mae"]  # kept
    save_weights(weights, {"of": np.ones(1)}, {"kind": "srid"})
    assert run("--methods", "srid")["srid"]["mae"] != first["mae"]
    assert read == [weights] * 3


def test_seconds_are_those_of_photos_whose_size_was_seen_before(folder, run, monkeypatch, calls):
    """Of three photos of one size, the first would take 100 s and does not count."""
    ticks = iter([0, 100, 200, 203, 300, 301])
    monkeypatch.setattr("sgdbd_jax.evaluation.kept_maps.perf_counter", lambda: next(ticks))
    assert run("--methods", "svd")["svd"]["seconds"] == 2
    assert run("--methods", "svd")["svd"]["seconds"] == 2  # of the maps that are kept


def test_where_every_size_is_new_one_photo_is_done_again(folder, run, monkeypatch, calls):
    (folder / "names.txt").write_text("a\n")
    ticks = iter([0, 100, 200, 203])
    monkeypatch.setattr("sgdbd_jax.evaluation.kept_maps.perf_counter", lambda: next(ticks))
    for _ in range(2):
        assert run("--methods", "svd", "--names", str(folder / "names.txt"))["svd"]["seconds"] == 3
    assert len(calls) == 2


def test_a_detector_that_fails_on_a_photo_costs_the_others_nothing(folder, run, monkeypatch, calls, capsys):
    detect = svd.detect

    def fail_on_second(photo):
        found = detect(photo)
        if len(calls) == 2:
            raise ZeroDivisionError("of this\nphoto")
        return found * np.float32(np.nan) if len(calls) == 3 else found

    monkeypatch.setattr(svd, "detect", fail_on_second)
    rows = run("--methods", "svd", "--predictions", f"perfect={folder / 'perfect'}", code=1)
    assert rows["svd"]["label"] == "unsupervised; on 1 of 3 photos" and rows["perfect"]["max_f"] == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert lines[0] == "error: svd: b.png: ZeroDivisionError: of this photo"
    assert lines[1:] == ["error: svd: c.png: it gave no map of 32x24 values in [0, 1]"]
    assert run("--methods", "svd")["svd"]["label"] == "unsupervised"  # what failed is tried again


def test_a_detector_that_fails_on_every_photo_has_a_row_all_the_same(run, monkeypatch):
    monkeypatch.setattr(lbp, "detect", lambda photo: photo)
    row = run("--methods", "lbp", code=1)["lbp"]
    assert row["label"] == "unsupervised; failed on every photo" and row["mae"] is None


def test_without_weights_or_package_or_file_the_papers_numbers_stand_alone(folder, run, monkeypatch):
    def lacks_package(photo):
        raise Unavailable("HiFST: needs scikit-image; pip install 'sgdbd_jax[baselines]'")

    monkeypatch.setattr("sgdbd_jax.baselines.hifst.detect", lacks_package)
    monkeypatch.setattr("sgdbd_jax.baselines.detectors.shipped", unshipped)
    rows = run("--methods", "dhcf,hifst,btbnet")
    assert list(rows) == ["dhcf", "hifst", "btbnet", "zeros", "ones"]
    for key in ("dhcf", "hifst", "btbnet"):
        assert (
            rows[key].keys() == KEYS and rows[key]["f_measure"] is None and "; not run, quoted: " in rows[key]["label"]
        )
    assert "no weights are shipped; --train dhcf makes some" in rows["dhcf"]["label"]
    assert "needs scikit-image; pip install" in rows["hifst"]["label"]
    assert "|  |  |  |  |  | *0.477 / 0.374* | *0.471 / 0.412* | A, C (training) | no masks, " in row_of(folder, "DHCF")
    assert "|  |  |  |  |  | *0.861 / 0.113* | *0.767 / 0.197* | C | reconstruction, supervised; " in row_of(
        folder, "BTBNet"
    )


def unshipped(name):
    raise Unavailable(f"{name}: no such file")


def test_weights_that_cannot_be_used_cost_the_others_nothing(folder, run, calls, capsys):
    (folder / "out" / "weights").mkdir(parents=True)
    (folder / "out" / "weights" / "dhcf.safetensors").write_bytes(b"none")
    rows = run("--methods", "dhcf,svd", code=1)
    assert rows["dhcf"]["mae"] is None and rows["svd"]["max_f"] == 1
    assert "error: dhcf: " in (message := capsys.readouterr().err) and "not a readable safetensors file" in message


@pytest.fixture
def trainings(monkeypatch):
    """Every training of SRID: the photos; it learns a dictionary of which its maps are made."""
    done = []

    def train(photos, seed, *, reporter=None):
        done.append(list(photos))
        return {"dictionary": np.full((64, 128), 0.5, np.float32)}, {"kind": "srid", "seed": seed}

    def detect(photo, learned):
        return np.full(photo.shape[:2], learned["dictionary"].mean(), np.float32)

    monkeypatch.setattr(srid, "train", train)
    monkeypatch.setattr(srid, "detect", detect)
    return done


def test_what_is_trained_once_is_used_from_then_on(folder, run, trainings):
    train = ("--train", "srid", "--clear", str(folder / "clear"))
    row = run("--methods", "srid", *train)["srid"]
    assert row["mae"] == pytest.approx(0.5, abs=0.01) and row["label"] == "unsupervised; trained here"
    assert len(trainings) == 1 and len(trainings[0]) == 3
    metadata = load_weights(folder / "out" / "weights" / "srid.safetensors")[1]
    assert len(metadata["learned_from"]) == 3
    run("--methods", "srid", *train)
    assert run("--methods", "srid")["srid"]["mae"] is not None and len(trainings) == 1
    (folder / "clear" / "a.png").unlink()
    with pytest.raises(
        UserError, match=r"srid\.safetensors: was trained otherwise than .* \(learned_from\); move it away"
    ):
        run("--methods", "srid", *train)


def test_a_detector_that_needs_masks_gets_them(folder, run, monkeypatch):
    seen = []

    def train(photos, masks, seed, *, reporter=None):
        seen.extend((photo.shape, mask[:, :16].max(), mask[:, 16:].min()) for photo, mask in zip(photos, masks))
        return {"dictionary": np.zeros((64, 128), np.float32)}, {"kind": "srid"}

    monkeypatch.setitem(DETECTORS, "srid", compare.Entry("srid", "SRID", "baseline", needs="masks"))
    monkeypatch.setattr(srid, "train", train)
    masks = folder / "blurred"
    masks.mkdir()
    for name in "abc":
        Image.fromarray(255 - TRUTH).save(masks / f"{name}.png")
    source = ("--source", str(folder / "clear"), "--source_masks", str(masks), "--source_masks_white", "blurred")
    (folder / "two.txt").write_text("a\nc\n")
    run("--methods", "svd", "--train", "srid", *source, "--source_names", str(folder / "two.txt"))
    assert seen == [((24, 32, 3), 0, 255)] * 2


def test_photos_that_are_scored_are_never_trained_on(folder, run, trainings):
    with pytest.raises(UserError, match="clear: 3 of its photos are to be scored, a among them; choose others$"):
        run("--methods", "srid", "--train", "srid", "--clear", str(folder / "images"))
    copy = folder / "clear" / "other.png"
    copy.write_bytes((folder / "images" / "b.png").read_bytes())
    with pytest.raises(UserError, match=r"1 of the photos to learn from are to be scored, as other\.png"):
        run("--methods", "srid", "--train", "srid", "--clear", str(folder / "clear"))
    assert not trainings


def test_weights_that_learned_from_a_photo_are_not_scored_on_it(folder, run, trainings, capsys):
    run("--methods", "srid", "--train", "srid", "--clear", str(folder / "clear"))
    (folder / "images" / "a.png").write_bytes((folder / "clear" / "a.png").read_bytes())
    assert run("--methods", "srid", code=1)["srid"]["mae"] is None
    assert "learned from 1 of the photos that are to be scored" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:source_masks_white. the masks are inverted")
def test_weights_of_masks_that_were_read_the_other_way_are_not_used_again(folder, run, monkeypatch):
    monkeypatch.setitem(DETECTORS, "srid", compare.Entry("srid", "SRID", "baseline", needs="masks"))
    tree = {"dictionary": np.zeros((64, 128), np.float32)}
    monkeypatch.setattr(srid, "train", lambda photos, masks, seed, *, reporter=None: (tree, {"kind": "srid"}))
    source = ("--train", "srid", "--source", str(folder / "clear"), "--source_masks", str(folder / "perfect"))
    run("--methods", "svd", *source, "--source_masks_white", "blurred")
    with pytest.raises(UserError, match=r"trained otherwise than it would be now \(white\)"):
        run("--methods", "svd", *source, "--source_masks_white", "focused")


def test_shipped_weights_that_learned_from_a_photo_say_so(folder, run, monkeypatch):
    weights = folder / "w.safetensors"
    digest = file_sha256(folder / "images" / "a.png")[:16]
    save_weights(weights, {"of": np.zeros(1)}, {"kind": "srid", "photos": 3, "learned_from": [digest]})
    monkeypatch.setattr("sgdbd_jax.baselines.detectors.shipped", lambda name: weights)
    monkeypatch.setattr(srid, "read", lambda path: {})
    monkeypatch.setattr(srid, "detect", lambda photo, learned: np.zeros(photo.shape[:2], np.float32))
    assert run("--methods", "srid")["srid"]["label"] == "unsupervised; learned from 1 of these photos"


def test_our_weights_that_learned_from_a_photo_say_so(folder, run, monkeypatch):
    weights = {}
    for name, photo in (("dbdf", "images/a.png"), ("srid", "clear/b.png"), ("dbdf", "masks/a.png")):
        digests = [file_sha256(folder / photo)[:16], *weights.get(name, [])]
        weights[name] = digests
        save_weights(folder / f"{name}.safetensors", {"of": np.zeros(1)}, {"kind": name, "learned_from": digests})
    monkeypatch.setattr("sgdbd_jax.baselines.trained.shipped", lambda name: folder / name.removeprefix("baselines/"))
    black = functools.partial(np.zeros, dtype=np.float32)
    monkeypatch.setattr("sgdbd_jax.detection.detector.Detector.load", lambda path: lambda photo: black(photo.shape[:2]))
    assert run("--methods", "game")["game"]["label"].endswith("; learned from 1 of these photos")


def test_maps_of_other_code_are_made_again(run, monkeypatch, calls):
    run("--methods", "svd")
    monkeypatch.setattr(compare.Entry, "code", lambda self: "another")
    run("--methods", "svd")
    assert len(calls) == 6


def test_seconds_can_be_taken_again(run, monkeypatch, calls):
    ticks = iter([0, 100, 200, 230, 300, 330, 400, 401, 500, 503])
    monkeypatch.setattr("sgdbd_jax.evaluation.kept_maps.perf_counter", lambda: next(ticks))
    assert run("--methods", "svd")["svd"]["seconds"] == 30
    monkeypatch.setattr("sgdbd_jax.evaluation.kept_maps.perf_counter", iter([*range(0, 60, 10), 60, 62]).__next__)
    assert run("--methods", "svd", "--time_again", "2")["svd"]["seconds"] == 10
    assert len(calls) == 6  # of those three, the first has to be compiled for, and does not count


def test_a_detector_that_fails_when_it_is_timed_keeps_its_scores(folder, run, monkeypatch, calls, capsys):
    (folder / "names.txt").write_text("a\n")
    detect = svd.detect

    def fail_when_timed(photo):
        if calls:
            raise ZeroDivisionError
        return detect(photo)

    monkeypatch.setattr(svd, "detect", fail_when_timed)
    row = run("--methods", "svd", "--names", str(folder / "names.txt"), code=1)["svd"]
    assert row["max_f"] == 1 and row["seconds"] is None
    assert "error: svd: timed again: ZeroDivisionError" in capsys.readouterr().err


def test_a_training_that_is_stopped_ends_the_command_and_can_go_on(folder, run, monkeypatch, capsys):
    given = []

    def train(photos, seed, *, folder=None, reporter=None, should_stop=lambda: False):
        given.append((folder, should_stop()))
        raise Stopped

    monkeypatch.setattr(dhcf, "train", train)
    assert run("--methods", "dhcf", "--train", "dhcf", "--clear", str(folder / "clear"), code=143) is None
    ((kept, stop),) = given
    assert kept.parent == folder / "out" / "weights" / "dhcf.unfinished" and not stop
    assert "dhcf: stopped; the same command goes on" in capsys.readouterr().err


def test_a_network_is_trained_for_as_many_steps_as_asked_and_leaves_its_weights_alone(folder, run, monkeypatch):
    """BTBNet, at a tiny width."""
    tiny = btbnet.BTBNet(1 / 64, (1.0,))
    monkeypatch.setattr(btbnet, "CROP", 8)
    monkeypatch.setattr(btbnet, "train", functools.partial(btbnet.train, network=tiny))
    source = ("--source", str(folder / "clear"), "--source_masks", str(folder / "perfect"))
    source += ("--source_masks_white", "focused", "--train", "btbnet")
    row = run("--methods", "btbnet", *source, "--steps", "2")["btbnet"]
    assert 0 < row["mae"] < 1 and row["label"] == "reconstruction, supervised; trained here"
    (weights,) = (folder / "out" / "weights").iterdir()
    metadata = load_weights(weights, kind="btbnet")[1]
    assert (metadata["steps"], metadata["vgg16"], metadata["width"]) == (2, "none", 1 / 64)
    assert run("--methods", "btbnet", *source, "--steps", "2")["btbnet"] == row
    with pytest.raises(UserError, match=r"trained otherwise than it would be now \(steps\)"):
        run("--methods", "btbnet", *source)


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("--methods", "svd,sdv"), "methods: sdv: no such method; there are svd, dbdf, "),
        (("--train", "svd"), "train: svd: nothing to train; there are dbdf, srid, ksfv, dhcf, btbnet"),
        (("--train", "srid"), "train: srid needs --clear$"),
        (("--train", "dbdf", "--source", "x"), "train: dbdf needs --source_masks$"),
        (
            ("--train", "dbdf", "--source", "x", "--source_masks", "y"),
            "train: dbdf needs --source_masks_white$",
        ),
        (
            ("--train", "srid", "--clear", "x", "--steps", "9"),
            "steps: srid.s training takes none; leave",
        ),
        (
            ("--train", "dhcf", "--clear", "x", "--vgg16", "y"),
            "vgg16: dhcf.s training takes none; leave",
        ),
        (
            ("--train", "btbnet", *(f"--source{end}={of}" for end, of in zip(("", "_masks", "_masks_white"), SOURCE)))
            + ("--vgg16", "no/vgg16"),
            "vgg16: no/vgg16: no such file",
        ),
        (
            ("--methods", "svd", "--clear", "x"),
            "clear: is of a training; name what is to be trained by --train, or leave",
        ),
        (("--methods", ","), "methods: none named"),
        (("--predictions", "mine"), "predictions: 'mine' is not NAME=DIR"),
        (("--predictions", "a|b=x"), r"predictions: 'a\|b=x' is not NAME=DIR"),
        (("--predictions", "SVD=x"), "predictions: SVD: is the name of something else"),
        (("--predictions", "a=x", "a=y"), "predictions: a: is the name of something else"),
        (("--predictions", "a=no/such"), "no/such: no such folder"),
    ],
)
def test_what_makes_no_sense_is_refused(run, arguments, refusal):
    with pytest.raises(UserError, match=refusal):
        run(*arguments)


def test_a_folder_of_masks_that_cannot_be_scored_is_refused_before_any_work(folder, run, calls):
    predictions = ("--methods", "svd", "--predictions", f"mine={folder / 'perfect'}")
    Image.fromarray(TRUTH[:5]).save(folder / "perfect" / "c.png")
    with pytest.raises(
        UserError, match=r"mine: .*perfect: 1 pairs that cannot be used: .*c\.png is 32x5, its photo 32x24"
    ):
        run(*predictions)
    (folder / "perfect" / "c.png").unlink()
    with pytest.raises(UserError, match=r"mine: .*perfect: 1 photos without a mask: c\.png; mend"):
        run(*predictions)
    assert not calls


def test_a_photo_without_truth_is_refused_before_any_work(folder, run, calls):
    (folder / "masks" / "b.png").unlink()
    with pytest.raises(UserError, match=r"1 photos without a mask: b\.png"):
        run("--methods", "svd")
    assert not calls


def test_a_second_command_into_the_folder_is_refused(folder, run):
    with alone(folder / "out", say=print), pytest.raises(UserError, match="another run is writing into this folder"):
        run("--methods", "svd")
