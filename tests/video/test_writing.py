"""A film plays as the clip does that it is of: size, moments, colours, shape of pixels."""

import errno
import io
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("av")
import av
from tiny_clips import noise, write_clip

from sgdbd_jax.video.reading import Clip
from sgdbd_jax.video.writing import ENCODERS, Film

ANY = {"max_pixels": 10**6, "note": pytest.fail}
HERE = [name for name in ENCODERS if name in av.codecs_available]


def filmed(path, encoder=None):
    """The clip written anew: the file, opened, and its frames with their times."""
    file = io.BytesIO()
    with Clip(path, max_pixels=10**6, note=pytest.fail) as clip:
        film = Film(file, clip, encoder=encoder)
        for frame in clip:
            film.add(frame.photo, frame)
        film.close()
    file.seek(0)
    container = av.open(file)
    return container, list(container.decode(video=0))


def ramp(height, width, at=0):
    """A photo that a codec keeps nearly as it is, unlike its neighbours in time."""
    down, across = np.mgrid[:height, :width]
    return np.dstack([40 + 2 * across + 10 * at, 200 - 2 * down, np.full_like(down, 90)]).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("encoder", HERE)
@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63), (48, 63)])
def test_pictures_keep_their_size_be_it_odd_and_their_colours(tmp_path, encoder, height, width):
    photos = [ramp(height, width, at) for at in range(3)]
    container, frames = filmed(write_clip(tmp_path / "a.mkv", photos), encoder)
    with container:
        assert container.format.name.startswith("mov,mp4")
        assert container.streams.video[0].codec_context.name == ("mpeg4" if encoder == "mpeg4" else "h264")
        for frame, photo in zip(frames, photos, strict=True):
            assert (frame.height, frame.width) == (height, width)
            assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - photo).mean() < 4


@pytest.mark.parametrize("room", [100, 10_000, 18_000])
def test_a_full_disk_is_said_as_one_also_at_the_end(tmp_path, room):
    class Full(io.BytesIO):
        def write(self, data):
            if self.tell() + len(data) > room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    with Clip(write_clip(tmp_path / "a.mkv", (noise(at, 48, 64) for at in range(8))), **ANY) as clip:
        film = Film(Full(), clip)
        with pytest.raises(OSError, match="No space left on device"):
            for frame in clip:
                film.add(frame.photo, frame)
            film.close()


def test_h264_is_chosen_where_it_is_there(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mkv", [ramp(48, 64)] * 2)
    monkeypatch.setattr(av, "codecs_available", {"mpeg4", "libx264"} & av.codecs_available)
    for chosen in sorted(av.codecs_available, key=list(ENCODERS).index):
        container, _ = filmed(path)
        with container:
            assert container.streams.video[0].codec_context.name == {"libx264": "h264"}.get(chosen, chosen)
        av.codecs_available.discard(chosen)


@pytest.mark.parametrize("encoder", HERE)
@pytest.mark.parametrize("tick", [Fraction(1, 1000), Fraction(1, 90000)])
def test_each_picture_has_its_frame_s_moment(tmp_path, encoder, tick):
    seconds = [0, 0.1, 0.11, 0.5, 1.25]
    codec, name = ("ffv1", "a.mkv") if tick == Fraction(1, 1000) else ("libx264", "a.mp4")  # which has any tick
    if codec not in av.codecs_available:
        pytest.skip("needs libx264")
    ticks = [round(each / tick) for each in seconds]
    path = write_clip(tmp_path / name, [noise(seed) for seed in range(5)], codec=codec, ticks=ticks, tick=tick)
    container, frames = filmed(path, encoder)
    with container:
        assert [frame.time for frame in frames] == pytest.approx(seconds, abs=1 / 50000)


def test_the_rate_of_a_steady_clip_is_kept(tmp_path):
    container, frames = filmed(write_clip(tmp_path / "a.mp4", [ramp(48, 64)] * 6, rate=24, codec="mpeg4"))
    with container:
        assert len(frames) == 6 and container.streams.video[0].average_rate == 24


@pytest.mark.parametrize(("turned", "shape"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))])
def test_pixels_that_are_no_squares_stay_so_and_turn_with_the_picture(tmp_path, turned, shape):
    path = write_clip(
        tmp_path / "a.mp4", [ramp(32, 48)] * 2, codec="mpeg4", turned=turned, sample_aspect_ratio=Fraction(4, 3)
    )
    container, frames = filmed(path)
    with container:
        assert container.streams.video[0].sample_aspect_ratio == shape
        assert frames[0].rotation == 0
        assert (frames[0].width, frames[0].height) == ((32, 48) if turned else (48, 32))


@pytest.mark.parametrize("matrix", [1, 5, 9])
def test_colours_are_named_as_the_clip_names_them(tmp_path, matrix):
    path = write_clip(tmp_path / "a.mkv", [ramp(48, 64)] * 2, pix_fmt="yuv420p", colorspace=matrix, color_range=1)
    with Clip(path, max_pixels=10**6, note=pytest.fail) as clip:
        before = next(iter(clip)).photo
    container, frames = filmed(path)
    with container:
        assert int(frames[0].colorspace) == matrix
        assert np.abs(frames[0].to_ndarray(format="rgb24").astype(int) - before).mean() < 4
