"""Frames of a clip: which, when, how they lie, and what damage costs."""

import errno
import itertools
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("av")
import av
from tiny_clips import noise, write_clip

from sgdbd_jax.errors import UserError
from sgdbd_jax.video.reading import Clip, is_clip


def frames(path, **options):
    """All frames, and what was said of damage."""
    notes = []
    with Clip(path, max_pixels=10**6, note=notes.append, **options) as clip:
        return list(clip), notes


def test_frames_are_numbered_from_1_with_their_times_and_pixels(tmp_path):
    photos = [noise(seed) for seed in range(4)]
    found, notes = frames(write_clip(tmp_path / "a.mkv", photos, rate=8))
    assert [(frame.number, frame.seconds) for frame in found] == [(1, 0.0), (2, 0.125), (3, 0.25), (4, 0.375)]
    for frame, photo in zip(found, photos, strict=True):
        np.testing.assert_array_equal(frame.photo, photo)
    assert notes == []


def test_a_variable_rate_is_kept(tmp_path):
    """The first frame counts as the beginning, whenever the file has it begin."""
    path = write_clip(
        tmp_path / "a.mkv",
        [noise(seed) for seed in range(4)],
        ticks=[200, 300, 310, 1200],
        tick=Fraction(1, 1000),
    )
    found, notes = frames(path)
    assert [frame.seconds for frame in found] == [0, 0.1, 0.11, 1.0]
    assert notes == []


@pytest.mark.parametrize("turned", [90, 180, -90])
def test_frames_are_turned_as_a_player_turns_them(tmp_path, turned):
    """What the picture's left upper corner shows comes where a turn by hand brings it."""
    photo = np.zeros((32, 64, 3), np.uint8)
    photo[:8, :8] = 255
    path = write_clip(tmp_path / "a.mp4", [photo] * 2, codec="mpeg4", turned=turned)
    found, _ = frames(path)
    shape, corner = {90: ((64, 32), (-1, 0)), 180: ((32, 64), (-1, -1)), -90: ((64, 32), (0, -1))}[turned]
    for frame in found:
        assert frame.photo.shape == (*shape, 3)
        assert frame.photo[corner].min() > 200
        assert (frame.photo.mean(2) > 128).mean() == pytest.approx(1 / 32, abs=0.01)


def test_colours_are_read_by_the_matrix_that_the_file_names(tmp_path):
    """BT.709: red of 255 has a brightness of 16 + 0.2126 * 219, computed by hand."""
    planes = np.concatenate([np.full(16 * 16, 63, np.uint8), np.full(64, 102, np.uint8), np.full(64, 240, np.uint8)])
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        frame = av.VideoFrame.from_ndarray(planes.reshape(24, 16), format="yuv420p")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (found,), _ = frames(path)
    np.testing.assert_allclose(found.photo[8, 8], (255, 0, 0), atol=2)


def test_frames_are_read_one_at_a_time(tmp_path):
    """A clip of any length takes the memory of the frame in hand: the next is not there before it is asked for."""
    path = write_clip(tmp_path / "a.mkv", (noise(seed) for seed in range(50)))
    with Clip(path, max_pixels=10**6, note=pytest.fail) as clip:
        each = iter(clip)
        assert [next(each).number for _ in range(3)] == [1, 2, 3]
        each.close()  # which says nothing of damage, for not all was read


def test_a_cut_clip_gives_the_frames_that_are_there_and_says_so(tmp_path):
    path = write_clip(tmp_path / "a.mkv", [noise(seed) for seed in range(10)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    found, notes = frames(path)
    assert 4 <= len(found) <= 6
    for frame in found[:-1]:
        np.testing.assert_array_equal(frame.photo, noise(frame.number - 1))
    (note,) = notes
    assert note.startswith(f"damaged: {len(found)} (as far as 0.") and note.endswith(" of 1.0 s) frames could be read")


def test_a_cut_clip_with_sound_says_so(tmp_path):
    """Of which the container tells no length for the pictures alone."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream, sound = container.add_stream("ffv1", rate=10), container.add_stream("pcm_s16le", rate=8000)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "bgr0"
        for at in range(20):
            frame = av.VideoFrame.from_ndarray(noise(at), format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = at, Fraction(1, 10)
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            silence.sample_rate, silence.pts = 8000, 800 * at
            container.mux(stream.encode(frame)), container.mux(sound.encode(silence))
    assert frames(path)[1] == []
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    found, (note,) = frames(path)
    assert note.startswith(f"damaged: {len(found)} (as far as ") and note.endswith(" of 2.0 s) frames could be read")


def test_a_last_frame_that_stands_long_is_no_damage(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for at in range(10):
            frame = av.VideoFrame.from_ndarray(noise(at), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = at, Fraction(1, 10)
            for packet in stream.encode(frame):
                packet.duration = 50 if at == 9 else 1
                container.mux(packet)
    with av.open(str(path)) as container:
        assert container.duration == pytest.approx(5_900_000, abs=100_000)
    found, notes = frames(path)
    assert len(found) == 10 and notes == []


@pytest.mark.parametrize("name", ["12:30.mkv", "file:x.mkv", "a%03d.mkv"])
def test_a_name_is_no_protocol(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "a.mkv", [noise()]).rename(name)
    assert len(frames(name)[0]) == 1


def test_a_share_that_fails_is_no_damage(tmp_path, monkeypatch):
    clip = Clip(write_clip(tmp_path / "a.mkv", [noise()] * 3), max_pixels=10**6, note=pytest.fail)

    class Container:
        close = clip._container.close

        def demux(self, stream):
            yield from itertools.islice(original.demux(stream), 2)
            raise av.error.FFmpegError(errno.ESTALE, "Stale file handle")

    with clip:
        original, clip._container = clip._container, Container()
        with pytest.raises(UserError, match=r"a\.mkv: cannot be read to its end \(Stale file handle\); try again"):
            list(clip)


def test_damage_within_a_clip_costs_the_frames_that_it_hits(tmp_path):
    path = write_clip(tmp_path / "a.mp4", [noise(seed, 48, 64) for seed in range(30)], codec="mpeg4", gop_size=1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    path.write_bytes(data)
    found, notes = frames(path)
    assert len(found) >= 28
    assert found[-1].seconds == pytest.approx(2.9)
    assert [note.startswith("damaged: ") for note in notes] == [True]


@pytest.mark.parametrize("data", [b"", b"Dear diary, today I took no video.", b"\0\0\0\x18ftypmp42" + bytes(40)])
def test_what_is_no_video_is_refused_in_one_line(tmp_path, data):
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.mp4: (not a video that can be read|holds no video)") as refusal:
        frames(path)
    assert "\n" not in str(refusal.value)


def test_sound_alone_and_frames_too_large_are_refused(tmp_path):
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UserError, match="holds no video, only sound"):
        frames(sound)
    path = write_clip(tmp_path / "a.mkv", [noise(0, 24, 32)])
    with pytest.raises(UserError, match="too large, 32 x 24, the limit is 767"):
        Clip(path, max_pixels=767, note=pytest.fail)


def test_clips_are_known_by_their_names():
    assert [is_clip(name) for name in ("a.MP4", "b.mov", "c.jpg", "mp4", "d.mp4.jpg", "e.txt")] == [
        *(True, True),
        *(False,) * 4,
    ]
