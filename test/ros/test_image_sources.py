# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sources without a ROS graph: which pictures, in which order, and what is refused."""

import cv2
import numpy as np
import pytest
from fake_camera import FakeCapture

from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.media import device
from mtl_perception.ros import image_sources
from mtl_perception.ros.image_sources import Picture, kind_of, open_image_source
from mtl_perception.ros.prefetcher import Prefetcher
from mtl_perception.ros.source_settings import SourceSettings
from mtl_perception.synthetic import Street


def grey(level, height=32, width=48):
    return np.full((height, width, 3), level, np.uint8)


def levels(source):
    """Return the mean brightness of all pictures of a source."""
    found = []
    while (picture := source.read()) is not None:
        found.append(float(picture.image.mean()))
    source.close()
    return found


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the images b (20), a (10), c (30) and something that is no image."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for name, level in (('b', 20), ('a', 10), ('c', 30)):
        cv2.imwrite(str(folder / f'{name}.png'), grey(level))
    (folder / 'notes.txt').write_text('no image')
    return folder


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    """Return a video of 20 frames at 10 frames/s whose brightness is 10 times the index."""
    path = tmp_path_factory.mktemp('video') / 'steps.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10.0, (48, 32))
    assert writer.isOpened()

    for index in range(20):
        writer.write(grey(10 * index))
    writer.release()
    return path


def test_the_images_of_a_folder_come_in_the_order_of_their_names(folder):
    assert levels(open_image_source(SourceSettings(str(folder)))) == [10, 20, 30]
    assert levels(open_image_source(SourceSettings(str(folder), start_index=1))) == [20, 30]


def test_frame_10_comes_after_frame_9_and_hidden_files_are_ignored(tmp_path):
    for number in (1, 2, 9, 10):
        cv2.imwrite(str(tmp_path / f'frame{number}.png'), grey(number))
    (tmp_path / '._frame3.png').write_bytes(b'left by a system')

    assert levels(open_image_source(SourceSettings(str(tmp_path)))) == [1, 2, 9, 10]


def test_a_folder_starts_again_where_it_started(folder):
    source = open_image_source(SourceSettings(str(folder), loop=True, start_index=1))
    assert [source.read().image.mean() for _ in range(5)] == [20, 30, 20, 30, 20]


def test_opencv_channels_become_red_green_blue(tmp_path):
    cv2.imwrite(str(tmp_path / 'red.png'), np.full((4, 4, 3), (0, 0, 200), np.uint8))
    picture = open_image_source(SourceSettings(str(tmp_path))).read()
    assert picture.image[0, 0].tolist() == [200, 0, 0]


def test_one_side_given_keeps_the_ratio(folder):
    def shape(**size):
        return open_image_source(SourceSettings(str(folder), **size)).read().image.shape
    assert shape(width=24) == (16, 24, 3)
    assert shape(height=64) == (64, 96, 3)
    assert shape(width=10, height=20) == (20, 10, 3)


@pytest.mark.parametrize(('rate', 'indices'), [
    (10.0, list(range(20))), (5.0, list(range(0, 20, 2))), (4.0, [0, 2, 5, 7, 10, 12, 15, 17]),
    (0.0, list(range(20))), (30.0, list(range(20)))])
def test_a_slower_rate_skips_frames_of_a_video_and_all_keep_their_times(video, rate, indices):
    source = open_image_source(SourceSettings(str(video), rate=rate))
    pictures = list(iter(source.read, None))

    np.testing.assert_allclose(
        [picture.seconds for picture in pictures], [index / 10 for index in indices])
    np.testing.assert_allclose(
        [picture.image.mean() for picture in pictures], [10 * index for index in indices], atol=3)


def test_a_video_loops_from_its_start_index(video):
    source = open_image_source(SourceSettings(str(video), rate=10.0, loop=True, start_index=17))
    pictures = [source.read() for _ in range(6)]
    np.testing.assert_allclose(
        [picture.image.mean() for picture in pictures], [170, 180, 190] * 2, atol=3)
    np.testing.assert_allclose([picture.seconds for picture in pictures], np.arange(6) / 10)


def test_a_video_that_starts_behind_its_end_is_refused(video):
    with pytest.raises(DataError, match='from index 20 on'):
        open_image_source(SourceSettings(str(video), start_index=20, loop=True)).read()


def test_seed_and_index_choose_the_picture_of_the_street():
    source = open_image_source(SourceSettings(
        'street', rate=10.0, width=96, height=56, seed=20007, start_index=3))
    street = Street(20007, width=96, height=56, rate=10.0)
    for index in (3, 4):
        picture, wanted = source.read(), street.render(index)
        np.testing.assert_array_equal(picture.image, wanted.image)
        np.testing.assert_array_equal(picture.truth.depth, wanted.depth)


def test_several_streets_take_turns_and_continue_where_they_stopped():
    source = open_image_source(SourceSettings(
        'street', rate=10.0, seed=5, seeds=2, seconds_per_street=0.3, start_index=10))
    assert [source.place(count) for count in range(8)] == [
        (5, 10), (5, 11), (5, 12), (6, 10), (6, 11), (6, 12), (5, 13), (5, 14)]


def test_the_kind_of_the_path_decides_the_kind_of_the_source(folder, video):
    assert [kind_of(str(path)) for path in ('street', folder, video, '/dev/null')] == [
        'street', 'folder', 'video', 'device']


def test_an_address_is_a_kind_of_its_own_and_no_path_is_looked_for():
    assert kind_of('rtsp://camera/stream') == 'address'
    with pytest.raises(DataError, match=r'rtsp://127\.0\.0\.1:1/stream: cannot be played'):
        open_image_source(SourceSettings('rtsp://127.0.0.1:1/stream'))


def test_the_tilde_is_the_home_folder(folder, video, monkeypatch):
    monkeypatch.setenv('HOME', str(folder.parent))
    assert levels(open_image_source(SourceSettings('~/images'))) == [10, 20, 30]
    monkeypatch.setenv('HOME', str(video.parent))
    assert len(levels(open_image_source(SourceSettings('~/steps.avi')))) == 20


def test_a_single_picture_is_a_folder_of_one(folder):
    assert levels(open_image_source(SourceSettings(str(folder / 'b.png')))) == [20]


@pytest.mark.parametrize(('name', 'content', 'match'), [
    ('missing', None, 'does not exist'), ('text.mp4', b'no video', 'cannot be opened as a video'),
    ('empty.mp4', b'', 'cannot be opened as a video')])
def test_an_unusable_file_is_refused_by_name(tmp_path, name, content, match):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(DataError, match=match) as refusal:
        open_image_source(SourceSettings(str(path)))
    assert str(path) in str(refusal.value)


def test_an_empty_folder_and_a_device_that_is_not_a_camera_are_refused(tmp_path):
    with pytest.raises(DataError, match='no image'):
        open_image_source(SourceSettings(str(tmp_path)))
    with pytest.raises(DataError, match='/dev/null: cannot be opened as a V4L2 camera'):
        open_image_source(SourceSettings('/dev/null'))


def test_an_unreadable_image_is_left_out_counted_and_named(folder):
    (folder / 'b.png').write_bytes(b'broken')
    source = open_image_source(SourceSettings(str(folder), rate=4.0))
    pictures = list(iter(source.read, None))

    assert [picture.image.mean() for picture in pictures] == [10, 30]
    assert [picture.seconds for picture in pictures] == [0, 0.5]  # its place stays empty
    assert str(source.omissions).startswith(f'1 frame is left out: {folder / "b.png"}: cannot be')
    assert source.remarks == (
        f'{folder}: 1 file is left out, no image by the suffix: notes.txt',)


def test_a_folder_without_a_single_readable_image_is_refused(folder):
    for name in 'abc':
        (folder / f'{name}.png').write_bytes(b'broken')

    with pytest.raises(DataError, match=r'no picture can be read.*3 frames are left out'):
        open_image_source(SourceSettings(str(folder), loop=True)).read()


@pytest.mark.parametrize('wrong', [
    {'rate': -1.0}, {'rate': float('nan')}, {'width': -1}, {'seeds': 0}, {'start_index': -1},
    {'seeds': 2, 'seconds_per_street': 0.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong)) if len(wrong) == 1 else 'sec'):
        SourceSettings(**wrong)


def test_a_device_is_asked_for_size_and_rate_and_reports_when_it_is_unplugged(monkeypatch):
    camera = FakeCapture(480, 640)
    monkeypatch.setattr(device.cv2, 'VideoCapture', lambda: camera)
    source = image_sources.DeviceSource(
        SourceSettings('/dev/video7', rate=30.0, width=640, height=480))

    assert (camera.number, camera.backend, source.live) == (7, cv2.CAP_V4L2, True)
    assert camera.asked[cv2.CAP_PROP_FRAME_WIDTH] == 640
    assert camera.asked[cv2.CAP_PROP_FPS] == 30
    assert [source.read().image.shape for _ in range(3)] == [(480, 640, 3)] * 3
    with pytest.raises(DataError, match='no images any more'):
        source.read()


class Scripted:
    """A source that gives what it was told to, and raises exceptions among it."""

    rate = 0.0
    remarks = ()

    def __init__(self, *script, live=False):
        self.script, self.live, self.closed = list(script), live, False

    def read(self):
        item = self.script.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    def close(self):
        self.closed = True


def never():
    return False


def test_pictures_read_before_an_error_are_still_delivered():
    source = Scripted(Picture(grey(1)), Picture(grey(2)), DataError('gone'))
    prefetcher = Prefetcher(source, ahead=8)
    assert [prefetcher.take(never).image[0, 0, 0] for _ in range(2)] == [1, 2]
    with pytest.raises(DataError, match='gone'):
        prefetcher.take(never)

    prefetcher.close()
    assert source.closed


def test_an_unexpected_error_reaches_the_reader():
    prefetcher = Prefetcher(Scripted(ZeroDivisionError('oops')), ahead=1)
    with pytest.raises(DataError, match='ZeroDivisionError: oops'):
        prefetcher.take(never)
    prefetcher.close()


def test_a_live_source_keeps_only_its_newest_picture():
    pictures = [Picture(grey(level)) for level in range(5)]
    prefetcher = Prefetcher(Scripted(*pictures, None, live=True), 8)
    prefetcher._thread.join(5)

    assert prefetcher.take(never) is None  # the end is newer than any picture

    prefetcher.close()


def test_waiting_for_a_picture_can_be_stopped():
    class Stuck(Scripted):
        def read(self):
            while not self.closed:
                pass
    source = Stuck()
    prefetcher = Prefetcher(source, 1)

    assert prefetcher.take(lambda: True) is None

    source.closed = True
    prefetcher.close()


@pytest.mark.parametrize(('given', 'shown'), [('auto', 100), ('0,8000', 51), ([0, 2000], 204)])
def test_pictures_of_16_bits_have_the_range_that_is_found_or_given(tmp_path, given, shown):
    for number in range(3):
        values = np.linspace(0, 4095, 30 * 40).round().astype(np.uint16).reshape(30, 40)
        values[0] = 1606
        cv2.imwrite(str(tmp_path / f'{number}.png'), values)
    source = open_image_source(SourceSettings(source=str(tmp_path), rate=1.0, image_range=given))

    pictures = [source.read().image for _ in range(3)]

    assert {int(picture[0, 5, 0]) for picture in pictures} <= {shown, shown + 1}


def times(source, count):
    return [round(source.read().seconds, 6) for _ in range(count)]


def test_the_street_goes_on_where_it_is_at_another_rate():
    source = open_image_source(SourceSettings('street', rate=10.0, width=96, height=56))
    assert times(source, 3) == [0.0, 0.1, 0.2]
    source.use_rate(5.0)
    picture = source.read()  # the next time of the new rate, not before 0.3 s

    assert picture.seconds == 0.4
    street = Street(20000, width=96, height=56, rate=5.0)
    np.testing.assert_array_equal(picture.image, street.render(2).image)
    assert picture.truth.stamp_ns == 400_000_000
    source.use_rate(20.0)
    assert times(source, 2) == [0.6, 0.65]


def test_a_folder_goes_on_at_another_rate_without_a_loss(folder):
    source = open_image_source(SourceSettings(str(folder), rate=10.0))
    assert times(source, 2) == [0.0, 0.1]
    source.use_rate(2.0)
    last = source.read()
    assert (last.seconds, last.image.mean()) == (pytest.approx(0.6), 30)
    assert source.read() is None


def test_a_single_picture_repeats_at_another_rate(tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), grey(7))
    source = open_image_source(SourceSettings(str(tmp_path), rate=10.0, loop=True))
    assert times(source, 3) == [0.0, 0.1, 0.2]
    source.use_rate(4.0)
    assert times(source, 2) == [0.45, 0.7]


def test_of_a_video_more_or_fewer_pictures_are_skipped_at_another_rate(video):
    source = open_image_source(SourceSettings(str(video), rate=2.0))
    assert times(source, 2) == [0.0, 0.4]  # a quarter of a period early is in time
    source.use_rate(0.0)
    assert times(source, 3) == [0.5, 0.6, 0.7]
    source.use_rate(5.0)
    assert times(source, 3) == [0.8, 1.0, 1.2]
