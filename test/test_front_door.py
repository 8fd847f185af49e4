# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Facts about what ``import mtl_perception`` offers to a Python program."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import mtl_perception
from mtl_perception import CheckpointError, DataError, Frame, Street, load_model


@pytest.fixture(scope='module')
def model(tiny_model):
    return load_model(tiny_model, device='cpu', threads=1)


@pytest.fixture(scope='module')
def images():
    """Return two frames of a street, (72, 128, 3) uint8 RGB."""
    street = Street(seed=3, width=128, height=72, rate=10.0)
    return [street.render(index).image for index in (10, 11)]


def run(code):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)


def test_importing_the_package_imports_neither_torch_nor_opencv_nor_ros():
    done = run('import sys, mtl_perception\n'
               'dir(mtl_perception)\n'
               'print([name for name in ("torch", "cv2", "numpy", "rclpy") '
               'if name in sys.modules])')

    assert done.stdout.strip() == '[]', done.stderr


def test_the_front_door_works_without_ros(tiny_model):
    ros = ('rclpy', 'sensor_msgs', 'std_msgs', 'builtin_interfaces')
    done = run('import sys\n'
               f'for name in {ros!r}: sys.modules[name] = None\n'
               'import numpy\n'
               'from mtl_perception import load_model\n'
               f'model = load_model({str(tiny_model)!r}, device="cpu", threads=1)\n'
               'print(model(numpy.zeros((48, 64, 3), numpy.uint8)).depth.shape)')

    assert done.stdout.strip() == '(48, 64)', done.stderr


def test_every_public_name_is_imported_on_use_and_listed():
    for name in mtl_perception.__all__:
        assert getattr(mtl_perception, name).__name__ == name

    assert set(mtl_perception.__all__) <= set(dir(mtl_perception))
    assert mtl_perception.__version__


def test_type_checkers_and_the_import_on_use_see_the_same_objects():
    source = Path(mtl_perception.__file__).read_text(encoding='utf-8')
    checked = {}
    exec(source.replace('if TYPE_CHECKING:', 'if True:'), {'__name__': 'checked'}, checked)

    for name in mtl_perception.__all__:
        assert checked[name] is getattr(mtl_perception, name), name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'mtl_perception' has no attribute 'load_modle'"):
        _ = mtl_perception.load_modle

    with pytest.raises(ImportError, match='Nothing'):
        exec('from mtl_perception import Nothing')


def test_without_torch_the_error_says_what_to_install():
    done = run('import sys; sys.modules["torch"] = None\n'
               'from mtl_perception import Frame\n'  # needs no torch
               'from mtl_perception import TorchEngine')

    assert "TorchEngine needs the Python module 'torch'" in done.stderr
    assert "pip install 'mtl_perception[torch]' brings it" in done.stderr


def test_without_any_engine_the_error_says_what_to_install():
    done = run('import sys\n'
               'for name in ("torch", "onnxruntime", "openvino"): sys.modules[name] = None\n'
               'from mtl_perception import load_model\n'
               'load_model("street")')

    assert 'engine auto needs the Python module onnxruntime or openvino or torch' in done.stderr
    assert 'pip install onnxruntime brings it' in done.stderr


def test_an_array_gives_masks_and_metres_of_its_size(model, images):
    answer = model(images[0])

    assert answer.semantic.shape == answer.depth.shape == images[0].shape[:2]
    assert answer.semantic.dtype == np.uint8
    assert answer.depth.dtype == np.float32
    assert answer.semantic.max() < len(model.classes['semantic'])
    assert answer.motion is None


def test_a_file_gives_what_its_pixels_give(model, images, tmp_path):
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), cv2.cvtColor(images[0], cv2.COLOR_RGB2BGR))

    for image in (path, str(path)):
        answer = model(image)
        np.testing.assert_array_equal(answer.semantic, model(images[0]).semantic)
        np.testing.assert_array_equal(answer.depth, model(images[0]).depth)


def test_one_image_leaves_no_trace_in_the_next_answer(model, images):
    alone = model(images[1])
    model(images[0])
    after = model(images[1])

    np.testing.assert_array_equal(alone.depth, after.depth)


def test_a_single_image_is_answered_as_the_first_frame_of_a_stream(model, images):
    first = model.stream().process(Frame('front', 10, images[0]))

    answer = model(images[0])
    np.testing.assert_array_equal(answer.semantic, first.semantic)
    np.testing.assert_array_equal(answer.depth, first.depth)


def test_a_stream_remembers_the_previous_frame(model, images):
    stream = model.stream()
    first = stream.process(Frame('front', 100_000_000, images[0]))
    second = stream.process(Frame('front', 200_000_000, images[1]))

    assert (first.motion == 255).all()
    assert set(np.unique(second.motion)) <= {0, 1}


def test_depth_grows_with_the_focal_length(model, images):
    near = model(images[0], focal_px=60.0, tasks=['depth'])
    far = model(images[0], focal_px=120.0, tasks=['depth'])

    assert near.semantic is None
    finite = np.isfinite(far.depth)
    np.testing.assert_allclose(far.depth[finite], 2 * near.depth[finite], rtol=1e-5)


def test_the_class_names_are_those_of_the_manifest(model):
    assert model.classes['semantic'][:2] == ('road', 'road_marking')
    assert 'depth' not in model.classes


def test_a_model_that_does_not_exist_is_refused_with_the_shipped_names():
    with pytest.raises(CheckpointError, match=r"'strete'.*shipped models \['roads', 'street'\]"):
        load_model('strete')


def test_an_image_that_cannot_be_read_is_refused_by_its_path(model, tmp_path):
    with pytest.raises(DataError, match=r'missing\.jpg'):
        model(tmp_path / 'missing.jpg')

    (tmp_path / 'text.jpg').write_text('not an image')
    with pytest.raises(DataError, match=r'text\.jpg'):
        model(tmp_path / 'text.jpg')


def test_an_image_that_is_not_rgb_is_refused(model):
    with pytest.raises(ValueError, match=r'uint8 \(H, W, 3\)'):
        model(np.zeros((48, 64), np.uint8))
