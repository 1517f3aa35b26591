"""From weights and photos to masks: what counts as a photo, sizes, padding, tiles, threads, BatchNorm, refusals."""

import copy
import io
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tiny_generators import CONFIG, constant_variables, random_variables, save_generator

from sgdbd_jax.config import GeneratorConfig
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.refine import Refinement
from sgdbd_jax.detection.tiling import carry
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import to_dict
from sgdbd_jax.models.convolution import plain
from sgdbd_jax.models.generator import Generator
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.weights import save_weights

VARIABLES = random_variables()


@jax.jit
def network(photo: jax.Array) -> jax.Array:
    return Generator(CONFIG).apply(VARIABLES, photo, train=False)


def mask_by_hand(photo: np.ndarray) -> np.ndarray:
    logits = np.asarray(network(jnp.asarray(photo[None] / 255, jnp.float32)))
    return 1 / (1 + np.exp(-logits[0, :, :, 0]))


def photo_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    path = save_generator(tmp_path_factory.mktemp("weights") / "g.safetensors", VARIABLES)
    return Detector.load(path, work_size="native")


def test_native_gives_what_the_network_gives_in_evaluation_mode(native):
    photo = photo_of(128, 128)
    mask = native(photo)
    assert mask.dtype == np.float32
    np.testing.assert_allclose(mask, mask_by_hand(photo), atol=1e-5)
    assert mask.std() > 0.01  # so that agreement says something


def test_a_batch_s_masks_are_the_network_s_with_norms_and_wide_kernels():
    """Norms are folded, and kernels of 128 channels work by filters of their own."""
    config = GeneratorConfig(width=0.5, trunk_norm=True, decoder_norm=True, merge="concat", skip_norm=True)
    variables = random_variables(config)
    photos = np.stack([photo_of(64, 48), photo_of(64, 48)[::-1]])
    with plain():
        logits = jax.jit(lambda photo: Generator(config).apply(variables, photo, train=False))(to_unit(photos))
    masks = np.asarray(Detector(config, variables, work_size="native").detect(photos))
    assert masks.std() > 0.01
    np.testing.assert_allclose(masks, jax.nn.sigmoid(logits[..., 0]), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "kind"), [((1, 20, 33, 3), "uint8"), ((1, 32, 32, 3), "float32"), ((32, 32, 3), "uint8")]
)
def test_a_batch_that_is_none_is_refused(native, shape, kind):
    with pytest.raises(ValueError, match=r"photos must be uint8 \[B, H, W, 3\], sides multiples of 16, here "):
        native.detect(np.zeros(shape, kind))


def test_native_reflects_to_a_multiple_of_128_and_cuts_back(native):
    photo = photo_of(113, 126)
    rows = [*range(113), *range(111, 96, -1)]  # the edge itself is not repeated
    columns = [*range(126), 124, 123]
    np.testing.assert_allclose(native(photo), mask_by_hand(photo[rows][:, columns])[:113, :126], atol=1e-5)


ALIGNED = GeneratorConfig(width=0.02, trunk_norm=True, decoder_norm=True, merge="concat", align_corners=True)


@pytest.fixture(scope="module")
def aligned_by_hand():
    """A generator with aligned corners, as the release's: its variables, and its masks of photos as they are."""
    variables = random_variables(ALIGNED)

    @jax.jit
    def network(photo):
        return jax.nn.sigmoid(Generator(ALIGNED).apply(variables, to_unit(photo), train=False))

    return variables, lambda photo: np.asarray(network(photo[None]))[0, :, :, 0]


@pytest.mark.parametrize("work_size", ["native", "max:96"])
def test_aligned_corners_are_those_of_the_photo_not_of_its_padding(work_size, aligned_by_hand):
    variables, by_hand = aligned_by_hand
    detector, photo = Detector(ALIGNED, variables, work_size=work_size), photo_of(64, 96)
    mask = detector(photo)
    np.testing.assert_allclose(mask, by_hand(photo), atol=1e-5)
    padded = np.pad(photo, ((0, 64), (0, 32), (0, 0)), mode="reflect")
    assert np.abs(mask - by_hand(padded)[:64, :96]).max() > 0.1  # so that agreement says something
    small = photo[:50, :70]  # sides between two multiples of 16, which the release refuses
    padded = np.pad(small, ((0, 14), (0, 10), (0, 0)), mode="reflect")
    np.testing.assert_allclose(detector(small), by_hand(padded)[:50, :70], atol=1e-5)


def test_in_full_a_generator_with_aligned_corners_sees_the_photo_whole(aligned_by_hand):
    variables, by_hand = aligned_by_hand
    photo = photo_of(16, 704)  # more than a tile
    mask = Detector(ALIGNED, variables, work_size="native", full=True)(photo)
    np.testing.assert_allclose(mask, by_hand(photo), atol=1e-5)


def test_a_photo_larger_than_the_most_is_made_smaller_and_keeps_its_shape():
    photo = photo_of(160, 320)
    shown = np.asarray(Image.fromarray(photo).resize((256, 128), Image.Resampling.BILINEAR))
    detector = Detector(CONFIG, VARIABLES, work_size="max:256")
    np.testing.assert_allclose(detector(photo, size=(128, 256)), mask_by_hand(shown), atol=1e-5)
    assert detector(photo).shape == (160, 320)
    small = photo[:128, :128]
    np.testing.assert_allclose(detector(small), mask_by_hand(small), atol=1e-5)  # as it is


def test_a_refinement_is_of_the_mask_and_the_photo_that_the_network_sees():
    photo = photo_of(40, 24)
    seen = []

    class Recording(Refinement):
        def __call__(self, mask, photo):
            seen.append((mask, photo))
            return np.full(mask.shape, 0.25, np.float32)

    mask = Detector(CONFIG, VARIABLES, work_size=32, refinement=Recording())(photo)
    assert mask.shape == (40, 24) and (mask == 0.25).all()
    ((network_mask, shown),) = seen
    np.testing.assert_allclose(network_mask, mask_by_hand(shown), atol=1e-5)
    np.testing.assert_array_equal(shown, Image.fromarray(photo).resize((32, 32), Image.Resampling.BILINEAR))


def test_the_network_s_mask_can_be_had_beside_the_refined_one():
    photo = photo_of(40, 24)
    detector = Detector(CONFIG, VARIABLES, work_size=32, refinement=Refinement(middle=0.5))
    seen = detector.see(photo)
    np.testing.assert_array_equal(seen.photo, Image.fromarray(photo).resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(seen.mask, mask_by_hand(seen.photo), atol=1e-5)
    np.testing.assert_array_equal(detector.finish(photo, seen), detector(photo))
    np.testing.assert_array_equal(detector.finish(photo, seen, size=(7, 9)), detector(photo, size=(7, 9)))


def test_a_weight_file_says_how_its_masks_are_made(tmp_path):
    photo, path = photo_of(80, 64), tmp_path / "g.safetensors"
    prediction = {"work_size": "max:64", "refinement": {"middle": 0.5, "side": 40, "iterations": 0}}
    save_weights(path, VARIABLES, {"kind": "generator", "config": to_dict(CONFIG), "prediction": prediction})
    asked = Detector(CONFIG, VARIABLES, work_size="max:64", refinement=Refinement(middle=0.5, side=40, iterations=0))
    np.testing.assert_array_equal(Detector.load(path)(photo), asked(photo))
    plain = Detector(CONFIG, VARIABLES, work_size=32)
    np.testing.assert_array_equal(Detector.load(path, work_size=32, refine=False)(photo), plain(photo))
    for yes, no in ((True, False), (1, 0), (np.True_, np.False_)):
        assert Detector.load(path, refine=yes).refinement == asked.refinement
        assert Detector.load(path, refine=no).refinement is None


@pytest.mark.parametrize(("told", "smaller"), [(True, True), (False, False), ("no", False), ([1], False), (1, False)])
def test_photos_are_reduced_only_where_the_file_says_so_in_so_many_words(told, smaller, tmp_path):
    prediction = {"work_size": 32, "reduced": told}
    metadata = {"kind": "generator", "config": to_dict(CONFIG), "prediction": prediction}
    detector = Detector.load(save_weights(tmp_path / "g.safetensors", VARIABLES, metadata))
    assert detector.working_size(80, 64) == ((32, 32) if smaller else (80, 64))


def test_a_work_size_squashes_the_photo_and_the_mask_comes_back():
    photo = photo_of(40, 24)
    shown = np.asarray(Image.fromarray(photo).resize((32, 32), Image.Resampling.BILINEAR))
    small = mask_by_hand(shown).astype(np.float32)
    detector = Detector(CONFIG, VARIABLES, work_size=32)
    np.testing.assert_allclose(detector(photo, size=(32, 32)), small, atol=1e-5)
    back = np.asarray(Image.fromarray(small).resize((24, 40), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(detector(photo), back, atol=1e-5)


@pytest.mark.parametrize("work_size", ["32", np.int64(32)])
def test_a_number_of_pixels_is_a_square_of_whatever_type_it_is(work_size, squashing):
    photo = photo_of(40, 24)
    detector = Detector(CONFIG, VARIABLES, work_size=work_size)
    assert detector.see(photo).photo.shape == (32, 32, 3)
    np.testing.assert_array_equal(detector(photo), squashing(photo))


@pytest.fixture(scope="module")
def squashing():
    return Detector(CONFIG, VARIABLES, work_size=32)


def test_a_photo_is_a_path_an_image_or_an_array(squashing, tmp_path):
    photo, path = photo_of(40, 24), tmp_path / "a.png"
    Image.fromarray(photo).save(path)
    expected = squashing(photo)
    assert expected.std() > 0.01
    for same in path, str(path), Image.open(path), Image.fromarray(photo):
        np.testing.assert_array_equal(squashing(same), expected)


def test_a_photo_is_bytes_an_open_file_or_an_array_of_another_library_too(squashing, tmp_path):
    photo, path = photo_of(40, 24), tmp_path / "a.png"
    Image.fromarray(photo).save(path)
    data, expected = path.read_bytes(), squashing(photo)
    with path.open("rb") as file:
        kinds = [data, bytearray(data), memoryview(data), file, io.BytesIO(data), jnp.asarray(photo)]
        for same in kinds:
            np.testing.assert_array_equal(squashing(same), expected)
        np.testing.assert_array_equal(squashing([path, *kinds]), [expected] * 7)
    batch = jnp.stack([photo, photo])
    np.testing.assert_array_equal(squashing(batch), [expected, expected])
    np.testing.assert_array_equal(squashing(batch, size=(8, 9)), squashing([photo] * 2, size=(8, 9)))
    assert squashing(batch[:0]).shape == (0, 40, 24)


def test_a_detector_can_be_copied_and_pickled():
    """One with norms to fold, filters to transform, and a refinement."""
    config, photo = GeneratorConfig(width=0.25, trunk_norm=True, skip_norm=True), photo_of(32, 48)
    detector = Detector(config, random_variables(config), work_size="max:32", refinement=Refinement(side=16))
    expected, seen = detector(photo), detector.see(photo).mask
    assert seen.std() > 0.01
    stored = pickle.dumps(detector)
    again = pickle.dumps(pickle.loads(stored))  # of one that was never called
    for same in pickle.loads(stored), pickle.loads(again), copy.deepcopy(detector), copy.copy(detector):
        np.testing.assert_array_equal(same.see(photo).mask, seen)
        np.testing.assert_array_equal(same(photo), expected)


def test_on_a_device_a_detector_is_the_same_and_pickled_it_is_on_the_default_one():
    photo, (device, *_) = photo_of(32, 48), jax.local_devices()
    detector = Detector(CONFIG, VARIABLES, work_size="max:32")
    there = detector.on(device)
    for same in there, pickle.loads(pickle.dumps(there)), pickle.loads(pickle.dumps(detector)).on(device):
        np.testing.assert_array_equal(same(photo), detector(photo))
    with pytest.raises(ValueError, match="one of jax.local_devices.., here cuda:7"):
        detector.on("cuda:7")


def test_processes_that_are_spawned_make_the_same_masks():
    photo = photo_of(20, 30)
    detectors = [
        Detector(CONFIG, VARIABLES, work_size=size, full=size == "native") for size in ("native", "max:25", 32)
    ]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for detector, mask in zip(detectors, [pool.submit(detector, photo) for detector in detectors]):
            np.testing.assert_array_equal(mask.result(), detector(photo))


def test_arrays_that_change_afterwards_change_no_detector():
    variables = constant_variables(0.75)
    detector = Detector(CONFIG, variables, work_size=16)
    for leaf in jax.tree.leaves(variables):
        leaf += 1
    for each in (detector, pickle.loads(pickle.dumps(detector))):  # what is pickled is not what was prepared
        np.testing.assert_allclose(each(photo_of(16, 16)), 0.75, atol=1e-6)


def test_a_list_gives_a_list_and_a_batch_a_batch(squashing):
    batch = np.stack([photo_of(40, 24), photo_of(40, 24)[::-1]])
    one, other = squashing(list(batch))
    assert one.std() > 0.01 and np.abs(one - other).max() > 0.01
    np.testing.assert_array_equal(one, squashing(batch[0]))
    masks = squashing(batch)
    assert masks.dtype == np.float32
    np.testing.assert_array_equal(masks, [one, other])
    mixed = Image.fromarray(batch[0]), batch[1, :20]
    assert [mask.shape for mask in squashing(mixed)] == [(40, 24), (20, 24)]
    assert [mask.shape for mask in squashing(mixed, size=(8, 9))] == [(8, 9), (8, 9)]
    assert squashing(batch, size=(8, 9)).shape == (2, 8, 9)
    assert squashing([]) == [] and squashing(batch[:0]).shape == (0, 40, 24)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_mask_lies_as_its_photo_is_displayed(squashing, suffix, tmp_path):
    """Orientation 6: the camera was turned, and the file's left is the photo's top."""
    stored, path, exif = Image.fromarray(photo_of(24, 40)), tmp_path / f"turned{suffix}", Image.Exif()
    exif[0x0112] = 6
    stored.save(path, exif=exif)
    expected = squashing(np.rot90(np.asarray(stored), -1))
    assert expected.shape == (40, 24)
    for turned in path, Image.open(path):
        np.testing.assert_array_equal(squashing(turned), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_an_image_of_any_mode_is_what_its_file_is_and_stays_as_it_was(squashing, mode, tmp_path):
    photo, path = Image.fromarray(photo_of(40, 24)), tmp_path / "a.tif"
    grey = np.asarray(photo.convert("L"))
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else photo.convert(mode)
    assert image.mode == mode
    if mode in {"LA", "RGBA"}:
        image.putalpha(Image.fromarray(grey))
    image.save(path)
    before = image.tobytes(), dict(image.info)
    np.testing.assert_array_equal(squashing(image), squashing(path))
    assert (image.tobytes(), image.info) == before


def test_threads_may_share_a_detector():
    """All at once, and from the start, when nothing is compiled yet."""
    detector = Detector(CONFIG, VARIABLES, work_size="max:128", refinement=Refinement(side=60))
    photos = [photo_of(90 + 20 * (i % 3), 200 - 30 * (i % 4)) for i in range(12)]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(detector, photos))
    for mask, photo in zip(together, photos):
        np.testing.assert_array_equal(mask, detector(photo))


def test_fifty_sizes_compile_four_programs():
    """At most 256 pixels a side are two multiples of 128 a side."""
    compiled = []

    def record(event: str, seconds: float, **_) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(seconds)

    config = GeneratorConfig(width=0.01)  # no other test's
    detector = Detector(config, random_variables(config), work_size="max:256")
    jax.monitoring.register_event_duration_secs_listener(record)
    try:
        for height, width in np.random.default_rng(0).integers(1, 400, (50, 2)):
            assert detector(photo_of(height, width)).shape == (height, width)
    finally:
        jax.monitoring.clear_event_listeners()
    assert 1 < len(compiled) <= 4


def test_tiles_make_the_mask_that_the_whole_photo_would_have(native):
    """Within 0.02 at the worst pixel, where 0.02 on average would be too little to see."""
    photo = photo_of(700, 900)
    whole, tiled = native(photo), Detector(CONFIG, VARIABLES, work_size="native", full=True)(photo)
    assert whole.std() > 0.01
    np.testing.assert_allclose(tiled, whole, atol=0.02)
    assert np.abs(tiled - whole).max() > 0  # for there are tiles


def test_in_full_a_mask_that_is_decided_at_the_working_size_is_carried_to_the_photo():
    photo = photo_of(150, 320)
    shown = np.asarray(Image.fromarray(photo).resize((128, 60), Image.Resampling.BILINEAR))
    refinement = Refinement(side=60)
    low = Detector(CONFIG, VARIABLES, work_size="max:128", refinement=refinement)(photo, size=(60, 128))
    full = Detector(CONFIG, VARIABLES, work_size="max:128", refinement=refinement, full=True)
    np.testing.assert_array_equal(full(photo), carry(low, shown, photo))
    np.testing.assert_array_equal(full(shown), low)  # nothing to carry
    assert full(photo, size=(75, 160)).shape == (75, 160)


def test_in_full_refinement_never_sees_more_than_1024_pixels_a_side():
    seen = []

    class Recording(Refinement):
        def __call__(self, mask, photo):
            seen.append((mask.shape, photo.shape))
            return np.full(mask.shape, 0.25, np.float32)

    detector = Detector(CONFIG, constant_variables(0.75), work_size="native", refinement=Recording(), full=True)
    mask = detector(photo_of(1280, 100))
    assert seen == [((1024, 80), (1024, 80, 3))]
    np.testing.assert_allclose(mask, np.full((1280, 100), 0.25), atol=1e-6)


@pytest.mark.parametrize("work_size", ["native", 5])
def test_photos_smaller_than_their_padding_work(work_size):
    detector = Detector(CONFIG, constant_variables(0.75), work_size=work_size)
    for shape in (1, 1), (5, 700):
        mask = detector(photo_of(*shape))
        assert mask.shape == shape
        np.testing.assert_allclose(mask, 0.75, atol=1e-6)


@pytest.mark.parametrize("photo", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), photo_of(0, 8)])
def test_what_is_not_an_rgb_photo_is_refused(squashing, photo):
    for photos in photo, [photo], photo[None]:
        with pytest.raises(ValueError, match="a photo must be uint8"):
            squashing(photos)


def test_a_file_that_is_no_photo_is_refused(squashing, tmp_path):
    with pytest.raises(UserError, match=r"none\.jpg: no such file"):
        squashing(tmp_path / "none.jpg")


@pytest.mark.parametrize("work_size", [0, -1, 4097, 32.0, True, "", "0", "small", "max:0"])
def test_a_work_size_without_meaning_is_refused(work_size, tmp_path):
    """Also by `load`, which takes the file's own only where none is asked for."""
    with pytest.raises(UserError, match="work_size"):
        Detector(CONFIG, VARIABLES, work_size=work_size)
    with pytest.raises(UserError, match="work_size"):
        Detector.load(save_generator(tmp_path / "g.safetensors", VARIABLES), work_size=work_size)


def test_weights_of_another_architecture_are_refused(tmp_path):
    path = save_generator(tmp_path / "g.safetensors", VARIABLES, GeneratorConfig(width=0.02, trunk_norm=True))
    with pytest.raises(UserError, match=r"g\.safetensors: weights of another architecture"):
        Detector.load(path)


def test_a_diverged_generator_is_refused(tmp_path):
    broken = constant_variables(0.5)
    broken["params"]["head"]["bias"] = jnp.full(1, jnp.nan)
    with pytest.raises(UserError, match=r"g\.safetensors: holds values that are not finite"):
        Detector.load(save_generator(tmp_path / "g.safetensors", broken))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"kind": "vgg16"}, "kind 'vgg16'"),
        ({"kind": "generator"}, r"metadata cannot be used \('config' is missing\)"),
        ({"kind": "generator", "config": [1]}, "metadata cannot be used"),
        ({"kind": "generator", "config": {"width": "wide"}}, "metadata cannot be used"),
        ({"kind": "generator", "config": {"blocks": 3}}, "metadata cannot be used"),
        ({"kind": "generator", "config": {"width": 1e300}}, "metadata cannot be used"),
        ({"kind": "generator", "config": {}, "prediction": {"work_size": "huge"}}, "metadata cannot be used"),
        ({"kind": "generator", "config": {"input": {"mean": [float("nan")] * 3}}}, "metadata cannot be used"),
        ({"kind": "generator", "config": {}, "prediction": "yes"}, "metadata cannot be used"),
        ({"kind": "generator", "config": {}, "prediction": [16]}, "metadata cannot be used"),
        ({"kind": "generator", "config": {"depth": 3}}, "depth: no such config field"),
    ],
)
def test_a_file_that_is_not_a_generators_is_refused(metadata, message, tmp_path):
    save_weights(tmp_path / "g.safetensors", {"params": {"a": np.zeros(1)}}, metadata)
    with pytest.raises(UserError, match=message):
        Detector.load(tmp_path / "g.safetensors")


def test_a_truncated_file_is_refused(tmp_path):
    path = save_generator(tmp_path / "g.safetensors", VARIABLES)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"g\.safetensors: not a readable safetensors file"):
        Detector.load(path)
