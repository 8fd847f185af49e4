# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A process in which torch does not exist answers as one that has it."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mtl_perception import Frame, Street
from mtl_perception.cli import main
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.engines import load_engine
from mtl_perception.inference.stream import CameraStream

ABSENT = ('torch', 'torchvision', 'safetensors')
EQUAL = {'semantic': 0.9999, 'motion': 0.998}
"""
Task -> share of pixels that are the same. Depth of the engines differs by 1e-6 of itself, and a
noise of 1e-7 on torch's own depth changes as many pixels of motion.
"""

REFUSE = f'import sys\nfor name in {ABSENT!r}: sys.modules[name] = None\n'


def run(code, *arguments):
    """Run Python without torch; return what it printed."""
    done = subprocess.run(
        [sys.executable, '-c', REFUSE + code, *map(str, arguments)], capture_output=True,
        text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def numbers(values, name=''):
    """Return the numbers of a report by their paths in it."""
    if isinstance(values, dict):
        return {path: number for key, value in values.items()
                for path, number in numbers(value, f'{name}/{key}').items()}
    return {name: values} if isinstance(values, float) else {}


def pictures(folder):
    """Return the PNG files of a folder, (N, H, W)."""
    return np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                     for path in sorted(folder.glob('*.png'))])


def mtl(*arguments):
    """Run a verb without torch; return what it printed."""
    return run('from mtl_perception.cli import main\nsys.exit(main(sys.argv[1:]))', *arguments)


@pytest.fixture(scope='module')
def images():
    """Return eight frames of a street in which cars move, (224, 384, 3) uint8 RGB."""
    street = Street(20002, 384, 224, 10.0)
    return [street.render(40 + number).image for number in range(8)]


@pytest.fixture
def folder(images, tmp_path):
    """Return a folder with the frames as PNG files."""
    path = tmp_path / 'images'
    path.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(path / f'{number:03d}.png'), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def follow(engine: Engine, images):
    """Return the predictions of a stream of frames, with all its tasks."""
    stream = CameraStream(engine)
    return [stream.process(Frame('camera', (number + 1) * 100_000_000, image))
            for number, image in enumerate(images)]


def test_torch_is_absent_in_these_processes():
    for name in ABSENT:
        with pytest.raises(AssertionError, match=f'import of {name} halted'):
            run(f'import {name}')


def test_a_stream_with_its_motion_head_answers_as_with_torch(street_graph, images, tmp_path):
    np.save(tmp_path / 'images.npy', np.stack(images))
    run('import numpy as np\n'
        'from mtl_perception import Frame, load_model\n'
        'stream = load_model(sys.argv[1], threads=1).stream()\n'
        'found = [stream.process(Frame("camera", (number + 1) * 100_000_000, image))\n'
        '         for number, image in enumerate(np.load(sys.argv[2]))]\n'
        'np.savez(sys.argv[3], semantic=[one.semantic for one in found],\n'
        '         depth=[one.depth for one in found], motion=[one.motion for one in found])\n',
        street_graph, tmp_path / 'images.npy', tmp_path / 'found.npz')

    wanted = follow(load_engine('street', 'torch', 'cpu', threads=1), images)
    with np.load(tmp_path / 'found.npz') as found:
        for task in ('semantic', 'motion'):
            masks = np.stack([getattr(one, task) for one in wanted])
            assert (found[task] == masks).mean() >= EQUAL[task]
        np.testing.assert_allclose(
            found['depth'], np.stack([one.depth for one in wanted]), rtol=1e-3)
        assert (found['motion'][-1] == 1).any()  # the control: the head finds something


def test_mtl_predict_writes_the_same_files(street_graph, folder, tmp_path):
    mtl('predict', folder, '--model', street_graph, '--output', tmp_path / 'found',
        '--threads', 1, '--confidence')
    assert main(['predict', str(folder), '--model', 'street', '--engine', 'torch', '--device',
                 'cpu', '--output', str(tmp_path / 'wanted'), '--threads', '1',
                 '--confidence']) == 0

    for task in ('semantic', 'depth', 'motion', 'semantic_confidence', 'depth_confidence'):
        found, wanted = (pictures(tmp_path / kind / task) for kind in ('found', 'wanted'))
        assert found.shape == wanted.shape == (8, 224, 384)
        if task not in EQUAL:  # millimetres, or 255ths
            assert np.abs(found.astype(int) - wanted).max() <= 1
        else:
            assert (found == wanted).mean() >= EQUAL[task]


def test_mtl_evaluate_gives_the_same_metrics(street_graph, tmp_path):
    seeds = ['--seeds', '20000:20001', '--frames', '2', '--threads', '1', '--output']
    mtl('evaluate', street_graph, *seeds, tmp_path / 'found')
    assert main(['evaluate', 'street', '--engine', 'torch', '--device', 'cpu', *seeds,
                 str(tmp_path / 'wanted')]) == 0
    found, wanted = (
        numbers(json.loads((tmp_path / kind / 'report.json').read_text()))
        for kind in ('found', 'wanted'))
    assert found.keys() == wanted.keys()
    assert len(found) > 10
    for name, value in wanted.items():
        tolerance = 0.01 if name.startswith('/motion') else 1e-4
        assert found[name] == pytest.approx(value, abs=tolerance), name


def test_mtl_doctor_misses_nothing_but_notes():
    lines = mtl('doctor').splitlines()
    assert lines[-1] == 'everything needed is here'
    assert any(line.startswith('NOTE torch ') for line in lines)
