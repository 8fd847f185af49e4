# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras of any shape: squeezed, cut or in tiles, and the answers put together again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_perception.errors import FrameError
from mtl_perception.frames import Frame, Outputs
from mtl_perception.inference.fit import (
    CHOICES,
    MOST_TILES,
    OVERLAP,
    SQUEEZABLE,
    SQUEEZED_TILES,
    Fit,
    roi_of,
    roi_text,
)
from mtl_perception.inference.rectification import Rectifier
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.media.intrinsics import Intrinsics, IntrinsicsState
from mtl_perception.media.lens import EQUIDISTANT, Lens
from mtl_perception.preprocessing import resize
from mtl_perception.synthetic import Street
from mtl_perception.tasks import STREET_TASKS

MS = 10 ** 6
HEIGHT, WIDTH = 64, 96
MAPS = ('semantic', 'depth', 'motion', 'motion_score')


class Echo:
    """A network whose answer is in the image: red is the class, green the depth, blue motion."""

    motion_head = None

    def __init__(self, focal_y=0.0):
        self.manifest = Manifest(
            'echo', NetworkSpec(frames=1), STREET_TASKS, HEIGHT, WIDTH, (0, 0, 0), (1, 1, 1),
            focal_px=48.0, focal_y_px=focal_y)
        self.seen = []

    def step(self, image, state=None, tasks=None):
        self.seen.append((image, state))
        score = image[..., 2].astype(np.float32) / 255
        return Outputs(
            semantic=image[..., 0], depth=image[..., 1].astype(np.float32) + 1,
            motion=(score > 0.5).astype(np.uint8), motion_score=score), len(self.seen)


def stream_of(engine, how, roi=None):
    return CameraStream(engine, StreamSettings(fit=Fit(how, roi)))


def run(engine, image, how, roi=None, **given):
    return stream_of(engine, how, roi).process(Frame('c', 1, image), **given)


def noise(height, width, seed=0):
    image = np.random.default_rng(seed).integers(0, 12, (height, width, 3), np.uint8)
    image[..., 2] *= 20
    return image


@pytest.fixture(scope='module')
def engine(tiny_model):
    return TorchEngine.load(tiny_model, device='cpu', threads=1)


def assert_equal(found, wanted, part=np.s_[:, :]):
    for name in MAPS:
        np.testing.assert_array_equal(getattr(found, name)[part], getattr(wanted, name)[part])


# --- one tile ---------------------------------------------------------------------------------

@pytest.mark.parametrize('size', [(64, 96), (256, 384), (96, 144)])
def test_an_image_of_the_trained_proportions_gives_the_same_bits_under_every_fit(engine, size):
    images = [noise(*size, seed) for seed in range(2)]

    def film(how):
        stream = stream_of(engine, how)
        return [stream.process(Frame('c', (number + 1) * 100 * MS, image), focal_px=900.0)
                for number, image in enumerate(images)]

    squeezed = film('squeeze')
    for how in CHOICES:
        for found, wanted in zip(film(how), squeezed, strict=True):
            assert_equal(found, wanted)


def test_a_crop_is_the_middle_of_the_image_and_the_rest_is_unknown():
    image = noise(64, 296)
    found = run(Echo(), image, 'crop', focal_px=48.0)
    alone = run(Echo(), np.ascontiguousarray(image[:, 100:196]), 'squeeze', focal_px=48.0)

    assert_equal_in(found, alone, np.s_[:, 100:196])
    for part in (np.s_[:, :100], np.s_[:, 196:]):
        assert (found.semantic[part] == 255).all()
        assert (found.motion[part] == 255).all()
        assert np.isnan(found.depth[part]).all()
        assert np.isnan(found.motion_score[part]).all()


def assert_equal_in(found, alone, part):
    for name in MAPS:
        np.testing.assert_array_equal(getattr(found, name)[part], getattr(alone, name))


@pytest.mark.parametrize('how', CHOICES)
def test_a_roi_is_as_if_the_camera_saw_that_part_alone(how):
    image = noise(200, 330)
    roi = 13, 40, 200, 96
    found = run(Echo(), image, how, roi, focal_px=80.0)
    alone = run(Echo(), np.ascontiguousarray(image[40:136, 13:213]), how, focal_px=80.0)

    assert_equal_in(found, alone, np.s_[40:136, 13:213])
    outside = np.ones((200, 330), bool)
    outside[40:136, 13:213] = False
    assert (found.semantic[outside] == 255).all()
    assert np.isnan(found.depth[outside]).all()


def test_the_axis_of_the_camera_stays_in_the_middle_of_its_image():
    layout = Fit('crop', (0, 36, 96, 64)).layout(100, 192, Echo().manifest)
    camera = layout.pinhole(50.0)

    # The middle of the image, (95.5, 49.5), lies 36 rows higher in the part and 0 columns off.
    assert (camera.fx, camera.cx, camera.cy) == (50.0, 95.5, 13.5)


def test_depth_has_the_scale_of_the_tiles_focal_length():
    image = np.full((32, 200, 3), 9, np.uint8)
    for how in ('squeeze', 'crop', 'tiles'):
        found = run(Echo(), image, how, focal_px=30.0).depth
        # Twice as many rows as the camera has: 60 pixels where the training had 48.
        np.testing.assert_allclose(found[:, 90:110], 10 * 60 / 48, rtol=1e-6)


def test_without_a_focal_length_a_part_stands_on_the_one_that_is_said():
    image = np.full((64, 192, 3), 9, np.uint8)
    stream = stream_of(Echo(), 'crop')
    found = stream.process(Frame('c', 1, image)).depth[:, 90:100]
    given = run(Echo(), image, 'crop', focal_px=stream.focal_px).depth[:, 90:100]

    assert stream.focal_px == 96.0
    np.testing.assert_array_equal(found, given)


def test_a_network_of_squeezed_images_gets_tiles_squeezed_as_in_its_training():
    # Its pixels are twice as high as wide: 96 x 64 of them show 192 x 64 of square ones.
    manifest = Echo(focal_y=96.0).manifest
    layout = Fit('crop').layout(64, 400, manifest)
    assert (layout.window.width, layout.window.height) == (192, 64)
    assert len(Fit('tiles').layout(64, 300, manifest).tiles) == 2


# --- tiles ------------------------------------------------------------------------------------

@pytest.mark.parametrize('turned', [False, True])
def test_tiles_of_a_picture_of_two_halves_give_each_halfs_answer(turned):
    image = np.zeros((64, 160, 3), np.uint8) if not turned else np.zeros((110, 96, 3), np.uint8)
    near, far = np.split(image, 2, 1 - turned)
    near[:] = 3, 9, 0
    far[:] = 8, 39, 255
    # Tall images become 96 rows of 110, at which this camera is that of the training.
    found = run(Echo(), image, 'tiles', focal_px=48.0 * 110 / 96 if turned else 48.0)

    # Two pixels beside the border are of both halves once the image is resized.
    near, far = ({name: np.moveaxis(getattr(found, name), 1 - turned, 0)[part] for name in MAPS}
                 for part in (np.s_[:found.depth.shape[1 - turned] // 2 - 2],
                              np.s_[found.depth.shape[1 - turned] // 2 + 2:]))

    assert (near['semantic'] == 3).all()
    assert (far['semantic'] == 8).all()
    np.testing.assert_allclose(near['depth'], 10, rtol=1e-6)
    np.testing.assert_allclose(far['depth'], 40, rtol=1e-6)
    assert (near['motion'] == 0).all()
    assert (far['motion'] == 1).all()


def test_every_tile_answers_as_if_it_were_a_camera_of_its_own(engine):
    images = [noise(64, 166, seed) for seed in range(3)]
    stream, left, right = (stream_of(engine, how) for how in ('tiles', 'squeeze', 'squeeze'))
    for number, image in enumerate(images):
        def step(one, part, number=number):
            return one.process(Frame('c', (number + 1) * 100 * MS, part), focal_px=50.0,
                               output_size='network')

        found = step(stream, image)
        picture = resize(image, 64, 144)
        first = step(left, np.ascontiguousarray(picture[:, :96]))
        second = step(right, np.ascontiguousarray(picture[:, 48:]))

        # Two frames of a network with memory: each tile has its own.
        for name in MAPS:
            np.testing.assert_allclose(
                getattr(found, name)[:, :48], getattr(first, name)[:, :48], rtol=1e-5)
            np.testing.assert_allclose(
                getattr(found, name)[:, 96:], getattr(second, name)[:, 48:], rtol=1e-5)
        assert (found.motion == 255).all() == (number == 0)
    assert len(stream.layout.tiles) == 2


def test_a_ramp_leads_from_one_tile_to_the_next():
    class Numbered(Echo):
        def step(self, image, state=None, tasks=None):
            super().step(image)
            depth = np.full((HEIGHT, WIDTH), [10.0, 1000.0][len(self.seen) - 1], np.float32)
            return Outputs(depth=depth), None

    engine = Numbered()
    engine.manifest = Manifest(
        'numbered', NetworkSpec(frames=1), (), HEIGHT, WIDTH, (0, 0, 0), (1, 1, 1), 48.0)
    depth = run(engine, noise(64, 168), 'tiles', focal_px=48.0, output_size='network').depth[0]

    # Neighbours in the overlap of 48 columns differ by a factor of 100 ^ (1 / 48), none by more.
    steps = depth[1:] / depth[:-1]
    np.testing.assert_allclose(steps[48:95], 100 ** (1 / 48), rtol=1e-4)
    np.testing.assert_allclose(depth[[0, 47, 96, 143]], [10, 10, 1000, 1000], rtol=1e-5)
    assert steps.max() < 100 ** (1 / 48) + 1e-3


def test_a_frame_that_fails_in_its_second_tile_leaves_no_trace():
    class Fails(Echo):
        def step(self, image, state=None, tasks=None):
            outputs, after = super().step(image, state, tasks)
            if image[0, 0, 0] == 7 and image[0, -1, 0] == 9:
                raise FrameError('out of memory', 'O07_memory')
            return outputs, after

    engine = Fails()
    stream = stream_of(engine, 'tiles')
    image = np.zeros((64, 160, 3), np.uint8)
    stream.process(Frame('c', 100 * MS, image), focal_px=48.0)
    broken = image.copy()
    broken[:, 40:], broken[:, -4:] = 7, 9
    with pytest.raises(FrameError):
        stream.process(Frame('c', 200 * MS, broken), focal_px=48.0)

    stream.process(Frame('c', 300 * MS, image + 1), focal_px=48.0)
    assert [state for _, state in engine.seen[-2:]] == [1, 2]


def test_auto_takes_tiles_where_squeezing_would_change_the_proportions_much():
    manifest = Echo().manifest
    for factor, wanted in ((1, 1), (SQUEEZABLE - 0.02, 1), (SQUEEZABLE + 0.02, 2)):
        for height, width in ((640, round(960 * factor)), (round(640 * factor), 960)):
            assert len(Fit('auto').layout(height, width, manifest).tiles) == wanted
    # A camera of 16:9 for a network of 3:2 or 12:7 needs no second tile.
    for factor, wanted in ((SQUEEZED_TILES - 0.02, 1), (SQUEEZED_TILES + 0.02, 2)):
        assert len(Fit('tiles').layout(640, round(960 * factor), manifest).tiles) == wanted


# --- sizes ------------------------------------------------------------------------------------

@settings(max_examples=60, deadline=None)
@given(how=st.sampled_from(CHOICES), height=st.integers(1, 700), width=st.integers(1, 700),
       output=st.sampled_from(('camera', 'network')), data=st.data())
def test_images_of_any_size_get_an_answer_of_their_size_or_a_reason(
        how, height, width, output, data):
    roi = None
    if data.draw(st.booleans()):
        x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        roi = (x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y)))
    engine = Echo()
    stream = stream_of(engine, how, roi)
    frame = Frame('c', 1, np.zeros((height, width, 3), np.uint8))
    try:
        stream.settings.fit.layout(height, width, engine.manifest)
    except FrameError:
        assert how in ('tiles', 'auto')
        with pytest.raises(FrameError, match='I25_fit'):
            stream.process(frame)
        return
    found = stream.process(frame, output_size=output, focal_px=50.0)

    layout = stream.layout
    assert found.semantic.shape == found.depth.shape == layout.size(output)
    assert layout.size('camera') == (height, width)
    known = found.semantic != 255
    assert known.any() or output == 'network'
    if how != 'crop' and roi is None:
        assert known.all()

    # The tiles lie inside of the picture, cover it, and overlap.
    covered = np.zeros(layout.picture, int)
    for tile in layout.tiles:
        assert tile.of(covered).shape == (HEIGHT, WIDTH)
        tile.of(covered)[:] += 1
    assert covered.all()
    assert 1 <= len(layout.tiles) <= MOST_TILES
    if len(layout.tiles) > 1:
        long = int(np.argmax(np.array(layout.picture) / (HEIGHT, WIDTH)))
        starts = [(tile.top, tile.left)[long] for tile in layout.tiles]
        assert np.diff(starts).max() <= (HEIGHT, WIDTH)[long] - OVERLAP


def test_a_small_part_of_a_large_image_takes_no_more_memory_than_the_image():
    layout = Fit('crop', (2000, 1000, 3, 2)).layout(2160, 3840, Echo().manifest)
    assert layout.size('network') == (2160, 3840)
    assert layout.shown_size('network') == (2, 3)

    layout = Fit('crop', (960, 540, 1920, 1280)).layout(2160, 3840, Echo().manifest)
    assert layout.size('network') == (108, 192)
    assert layout.shown_size('network') == (64, 96)


def test_what_cannot_be_shown_is_refused_with_the_reason():
    manifest = Echo().manifest
    with pytest.raises(FrameError, match=r'I25_fit.*roi is 50 x 50 pixels at \(60, 0\).*100 x 64'):
        Fit('squeeze', (60, 0, 50, 50)).layout(64, 100, manifest)
    with pytest.raises(FrameError, match=r'I25_fit.*would need \d+ tiles, at most 6'):
        Fit('tiles').layout(10, 4000, manifest)
    with pytest.raises(ValueError, match='must be one of'):
        Fit('letterbox')
    with pytest.raises(ValueError, match='wanted x, y, width and height'):
        Fit('crop', (0, 0, 0, 5))


def test_what_a_roi_is_written_as():
    for given_as in ('0,100,1280,500', '[0, 100, 1280, 500]', [0, 100, 1280, 500]):
        assert roi_of(given_as) == (0, 100, 1280, 500)
    assert roi_of('') is roi_of([]) is roi_of([0, 0, 0, 0]) is None
    assert roi_of(roi_text((1, 2, 3, 4))) == (1, 2, 3, 4)
    assert roi_of(roi_text(None)) is None
    for wrong in ('1,2,3', '1,2,3,x', [5, 5, 0, 0], [-1, 0, 5, 5], '1.5,0,5,5', [0, 0, 5, 0]):
        with pytest.raises(ValueError, match='wanted x, y, width and height'):
            roi_of(wrong)


def test_what_the_network_sees_is_said_with_its_cost():
    manifest = Echo().manifest
    assert Fit('tiles').layout(375, 1242, manifest).text() == (
        'images of 1242 x 375 pixels: 3 tiles of 648 x 375, so 3 runs of the network for each')
    assert 'of them 563 x 375 at (339, 0); outside of it all is unknown: one run' in (
        Fit('crop').layout(375, 1242, manifest).text())


def test_a_roi_of_a_lens_is_the_part_of_the_rectified_image_around_it():
    lens = Lens(EQUIDISTANT, 160.0, 160.0, 159.5, 119.5, ())
    rectifier = Rectifier(lens, 240, 320)
    x, y, width, height = rectifier.roi((130, 90, 60, 60))

    # Around the same middle, in proportion to the focal length of the pinhole.
    factor = rectifier.focal_px / 160
    assert (x + width / 2, y + height / 2) == (160, 120)
    assert width == pytest.approx(60 * factor, abs=4)
    assert height == pytest.approx(60 * factor, abs=4)

    whole = rectifier.roi((0, 0, 320, 240))
    assert whole == (0, 0, 320, 240)
    with pytest.raises(FrameError, match=r'I25_fit.*4 x 4 pixels at \(0, 0\).*shows none of it'):
        rectifier.roi((0, 0, 4, 4))


def test_a_roi_outside_of_the_image_of_a_lens_is_refused_as_for_a_pinhole():
    lens = Lens(EQUIDISTANT, 160.0, 160.0, 159.5, 119.5, ())
    known = Intrinsics(IntrinsicsState.CALIBRATED, 160.0, 160.0, lens=lens)
    image = noise(240, 320)
    for roi in ((5000, 5000, 100, 100), (330, 0, 50, 50), (0, 0, 3200, 2400), (300, 200, 50, 50)):
        for camera in ({'focal_px': 160.0}, {'intrinsics': known}):
            with pytest.raises(FrameError, match=r'I25_fit.*the image has 320 x 240'):
                run(Echo(), image, 'squeeze', roi, **camera)

    # The last pixel of the image is inside of it.
    stream = stream_of(Echo(), 'squeeze', (160, 120, 160, 120))
    found = stream.process(Frame('c', 1, image), intrinsics=known)
    assert stream.rectifier is not None
    assert (found.semantic[125:, 165:] != 255).any()
    assert (found.semantic[:115, :155] == 255).all()


@pytest.mark.slow
def test_tiles_leave_no_seam_on_streets_and_the_motion_of_the_camera_is_that_of_the_whole_image():
    engine = TorchEngine.load('street', 'cpu', threads=1)
    steps, errors, moves = {'seam': [], 'rest': []}, {'seam': [], 'rest': []}, []
    for seed in (20000, 20003):
        street = Street(seed, 742, 224, rate=10.0, camera_height=1.5)
        street.focal_px = 230.4
        stream = stream_of(engine, 'tiles')
        for number in (20, 21):
            frame = street.render(number)
            found = stream.process(
                Frame('c', (number + 1) * 100 * MS, frame.image), focal_px=street.focal_px)

        # One tile begins at column 285, the other ends at 457.
        assert [tile.left for tile in stream.layout.tiles] == [0, 240]
        known = np.isfinite(frame.depth) & (frame.depth < 80) & np.isfinite(found.depth)
        error = np.where(known, np.abs(np.log(found.depth / frame.depth)), np.nan)
        step = np.abs(np.diff(np.log(found.depth), axis=1) - np.diff(np.log(frame.depth), axis=1))
        step[~np.isfinite(step)] = np.nan
        places = {'seam': np.r_[282:289, 454:461], 'rest': np.r_[150:270, 295:450, 475:590]}
        for name, columns in places.items():
            steps[name].append(np.nanmedian(step[:, columns]))
            errors[name].append(np.nanmedian(error[:, columns]))

        moves.append(found.step is not None)

    # Neighbouring columns differ from the truth no more than elsewhere by any visible amount.
    assert np.mean(steps['seam']) < np.mean(steps['rest']) + 0.01, steps
    assert np.mean(errors['seam']) < np.mean(errors['rest']) + 0.1, errors
    assert any(moves)
