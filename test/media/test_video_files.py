# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Video files: which frames, when, and what is refused."""


import av
import numpy as np
import pytest
from media_inputs import cut_by_edit_list
from video_files import film

from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.media import video as module
from mtl_perception.media.video import FrameClock, Video


def grey(level):
    return np.full((64, 96, 3), level, np.uint8)


def test_every_frame_comes_in_order_with_its_own_time(tmp_path):
    times = [0, 100, 200, 1200, 1300, 1400]
    video = Video(film(tmp_path / 'a.mkv', [grey(40 * number) for number in range(6)], times))

    frames = list(video.frames())

    assert [round(1000 * frame.seconds) for frame in frames] == times
    levels = [frame.read().mean() for frame in frames]
    np.testing.assert_allclose(levels, [0, 40, 80, 120, 160, 200], atol=3)


def test_the_header_says_rate_and_count_and_a_video_can_be_read_again(tmp_path):
    video = Video(film(tmp_path / 'a.mp4', [grey(90)] * 7))

    assert (video.rate, video.count) == (10.0, 7)
    assert len(list(video.frames())) == len(list(video.frames())) == 7


def test_a_time_of_day_in_the_name_is_no_protocol(tmp_path):
    video = Video(film(tmp_path / 'b.mp4', [grey(90)] * 3).rename(tmp_path / '22:57:44.mp4'))

    assert len(list(video.frames())) == 3


@pytest.mark.parametrize('content', [b'', b'no video'])
def test_a_file_that_is_no_video_names_itself(tmp_path, content):
    (tmp_path / 'text.mp4').write_bytes(content)
    with pytest.raises(DataError, match=r'text\.mp4: cannot be opened as a video'):
        Video(tmp_path / 'text.mp4')


def test_times_go_on_where_two_videos_were_joined(tmp_path):
    clock = FrameClock(0.1)

    assert [clock.place(time) for time in (7.0, 7.1, 7.3, 7.3, 7.2)] == pytest.approx(
        [0, 0.1, 0.3, 0.3, 0.3])
    assert [clock.place(time) for time in (0.0, 0.1)] == pytest.approx([0.5, 0.6])


@pytest.mark.parametrize('level', ['still', 'moving'])
def test_times_go_on_where_two_clips_of_less_than_a_second_were_joined(tmp_path, level):
    images = [grey(90 if level == 'still' else 10 * number) for number in range(8)]
    clip = film(tmp_path / 'clip.ts', images)
    (tmp_path / 'joined.ts').write_bytes(clip.read_bytes() * 2)

    times = [frame.seconds for frame in Video(tmp_path / 'joined.ts').frames()]
    assert times == pytest.approx([0.1 * number for number in range(16)])


def test_times_go_on_where_clips_were_joined_after_a_pause():
    clock = FrameClock(0.1)
    assert [clock.place(time) for time in (0.0, 0.1, 0.2, 1.0, 0.3)] == pytest.approx(
        [0, 0.1, 0.2, 1.0, 1.8])


def test_swapped_times_are_no_joint():
    clock = FrameClock(0.04)
    times = [0.0, 0.12, 0.04, 0.08, 0.24, 0.16, 0.2, 0.28]
    assert [clock.place(time) for time in times] == pytest.approx(
        [0.0, 0.12, 0.12, 0.12, 0.24, 0.24, 0.24, 0.28])


def test_frames_without_a_time_are_one_step_apart():
    clock = FrameClock(0.25)
    assert [clock.place(None) for _ in range(4)] == [0, 0.25, 0.5, 0.75]


def test_a_file_of_sound_alone_says_that_it_holds_no_images(tmp_path):
    with av.open(str(tmp_path / 'sound.wav'), 'w') as container:
        stream = container.add_stream('pcm_s16le', rate=8000)
        stream.layout = 'mono'
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), 's16', 'mono')
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    with pytest.raises(DataError, match=r'sound\.wav: .*it holds no images'):
        Video(tmp_path / 'sound.wav')


def test_an_edit_list_that_hides_half_of_a_video_is_no_damage(tmp_path):
    random = np.random.default_rng(0)
    images = list(random.integers(0, 256, (30, 64, 96, 3), np.uint8))
    path = cut_by_edit_list(
        film(tmp_path / 'whole.mp4', images), tmp_path / 'cut.mp4', 1.5)
    video = Video(path)
    assert video.count == 30  # the header counts what is hidden too

    assert len(list(video.frames(strict=True))) == 15
    assert not video.omissions


def test_a_damaged_part_is_an_error_or_left_out(tmp_path):
    random = np.random.default_rng(0)
    images = list(random.integers(0, 256, (8, 64, 96, 3), np.uint8))
    path = film(tmp_path / 'a.mkv', images, codec='mjpeg')
    with av.open(str(path)) as container:
        third = list(container.demux(video=0))[2]
        place, size = third.pos, third.size
    content = bytearray(path.read_bytes())
    place = content.index(b'\xff\xd8', place)  # start of its image
    content[place:place + size - 16] = bytes(size - 16)
    path.write_bytes(content)

    with pytest.raises(DataError, match=r'a\.mkv: cannot be decoded to its end'):
        list(Video(path).frames())
    assert len(list(Video(path).frames(strict=False))) == 7


def test_a_video_that_is_cut_short_is_an_error_or_ends_there(tmp_path):
    random = np.random.default_rng(0)
    path = film(tmp_path / 'a.mp4', list(
        random.integers(0, 256, (40, 64, 96, 3), np.uint8)), movflags='faststart')
    path.write_bytes(path.read_bytes()[:path.stat().st_size * 6 // 10])

    with pytest.raises(DataError, match=r'cut short|cannot be decoded|is damaged'):
        list(Video(path).frames())
    assert 15 < len(list(Video(path).frames(strict=False))) < 30


def test_without_pyav_it_is_said_what_to_install(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, 'import_module', missing)
    with pytest.raises(ConfigurationError, match='pip install av'):
        Video(tmp_path / 'a.mp4')
