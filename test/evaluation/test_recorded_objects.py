# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --objects --data`` on drives that the test draws, by an engine of colours."""

import json

import cv2
import numpy as np
import pytest

from mtl_perception import cli
from mtl_perception.datasets.pandaset import PandaSet
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.evaluation.object_evaluation import (
    evaluate_recorded_objects,
    recorded_as_markdown,
)
from mtl_perception.frames import Outputs
from mtl_perception.inference import engines
from mtl_perception.inference.engine import Setup
from mtl_perception.inference.fit import Fit
from mtl_perception.inference.stream import StreamSettings
from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.tasks import STREET_DEPTH, Task

pytest.importorskip('yaml')

HEIGHT, WIDTH = 32, 64
SEMANTIC = Task('semantic', 'classes', ('road', 'car'), ((0, 0, 0), (255, 0, 0)), movable=(1,))
COUNT = 6


class RedEngine:
    """Red is a car at 5 m, everything else road at 20 m."""

    def __init__(self, width=WIDTH):
        self.manifest = Manifest(
            'red', NetworkSpec(frames=1, channels={'semantic': 2, 'depth': 1}),
            (SEMANTIC, STREET_DEPTH), HEIGHT, width, (0, 0, 0), (1, 1, 1), 0.6 * WIDTH)
        self.motion_head = None
        self.setup = Setup('fake', '1', 'cpu', 'fp32', 1)

    def step(self, image, state=None, tasks=None):
        car = image[..., 0] > 100
        return Outputs(car.astype(np.uint8), np.where(car, np.float32(5), np.float32(20))), None


def places(number):
    """Return the columns where two cars begin; the second is not there in frames 2 and 3."""
    return {'left': 4 + number} | ({} if number in (2, 3) else {'right': 44 - number})


@pytest.fixture
def root(tmp_path):
    """Write a drive of two cars, 12 x 12 pixels each, with a point in every second pixel."""
    camera = tmp_path / '002' / 'front_camera'
    for folder in ('image', 'points'):
        (camera / folder).mkdir(parents=True)
    frames = {}
    for number in range(COUNT):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        found = []
        for place, left in enumerate(places(number).values()):
            image[10:22, left:left + 12, 2] = 200  # BGR
            y, x = np.mgrid[10:22:2, left:left + 12:2].reshape(2, -1)
            found.append((x, y, np.full(len(x), place)))
        x, y, own = (np.concatenate(values) for values in zip(*found))
        np.savez(camera / f'points/{number:02d}.npz', u=x.astype(np.float32),
                 v=y.astype(np.float32), depth=np.full(len(x), 5, np.float32),
                 semantic=np.full(len(x), 13, np.uint8), object=own.astype(np.int16),
                 moving=np.zeros(len(x), np.uint8))
        cv2.imwrite(str(camera / f'image/{number:02d}.png'), image)
        frames[f'{number:02d}'] = {'objects': [{'uuid': name} for name in places(number)]}
    (camera / 'meta.json').write_text(json.dumps({
        'intrinsics_1920x1080': {'fx': 1152.0, 'fy': 1152.0}, 'image_size': [WIDTH, HEIGHT],
        'classes': {'13': 'Car'}, 'frames': frames}))
    return tmp_path


def test_ids_hold_over_a_drive_and_an_object_that_was_hidden_is_found_again(root):
    found = evaluate_recorded_objects(RedEngine(), PandaSet(str(root)))
    # objects are told from their second frame on; the right car is not there twice
    assert found == {'objects': 2, 'seen': 2, 'frames': COUNT + COUNT - 2,
                     'found': COUNT - 1 + COUNT - 3, 'changes': 0, 'kept': 1.0}
    assert '| 2 | 2 | 10 | 8 | 0 | 1.000 |' in recorded_as_markdown(found)


def test_points_that_the_network_does_not_see_are_on_nothing(root):
    # of 64 columns the middle 32 are shown, 16 to 47: the left car comes in from one side
    found = evaluate_recorded_objects(
        RedEngine(32), PandaSet(str(root)), StreamSettings(fit=Fit('crop')))
    whole = evaluate_recorded_objects(RedEngine(), PandaSet(str(root)))
    assert found['frames'] == whole['frames']
    assert found['changes'] == 0
    assert 0 < found['found'] < whole['found']


def test_two_drives_do_not_share_their_ids(root):
    (root / '003').symlink_to(root / '002')
    found = evaluate_recorded_objects(RedEngine(), PandaSet(str(root)))
    assert (found['objects'], found['seen'], found['changes']) == (4, 4, 0)


def test_the_command_prints_the_table_and_refuses_what_does_not_fit(root, capsys, monkeypatch):
    monkeypatch.setattr(engines, 'load_engine', lambda *_, **__: RedEngine())
    path = root / 'one.yaml'
    path.write_text('a: {dataset: pandaset, root: .}\n')
    command = ['evaluate', '--objects', '--data', str(path)]
    assert cli.main([*command, '--output', str(root / 'out')]) == 0
    assert '| 2 | 2 | 10 | 8 | 0 | 1.000 |' in capsys.readouterr().out
    assert json.loads((root / 'out' / 'objects.json').read_text())['changes'] == 0

    for more, message in ((['--tasks', 'depth'], '--tasks would change nothing where --data --ob'),
                          (['--bag', 'drive'], 'leave --suite and --bag')):
        assert cli.main([*command, *more]) == 2
        assert message in capsys.readouterr().err


def test_an_image_that_the_stream_refuses_is_named(root):
    settings = StreamSettings(fit=Fit('crop', (32, 0, 64, 32)))
    with pytest.raises(DataError, match=r'00\.png: \[I25_fit\] the roi is'):
        evaluate_recorded_objects(RedEngine(), PandaSet(str(root)), settings)


def test_a_point_of_an_object_without_a_name_is_refused(root):
    path = root / '002/front_camera/meta.json'
    meta = json.loads(path.read_text())
    del meta['frames']['04']['objects'][1]
    path.write_text(json.dumps(meta))
    with pytest.raises(DataError, match=r'04\.png: a point is of object 1, counted .* only 1 obj'):
        evaluate_recorded_objects(RedEngine(), PandaSet(str(root)))


def test_data_that_does_not_tell_which_object_is_which_is_refused(root, monkeypatch):
    monkeypatch.setattr(PandaSet, 'object_names', lambda self, image: None)
    with pytest.raises(ConfigurationError, match='PandaSet does not'):
        evaluate_recorded_objects(RedEngine(), PandaSet(str(root)))
