# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl finetune``: a model goes on with other classes; what fits is kept."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from mtl_perception import cli
from mtl_perception.datasets.class_table import counterparts
from mtl_perception.errors import ConfigurationError
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import read_model
from mtl_perception.models.build import build_network
from mtl_perception.tasks import STREET_DEPTH, STREET_SEMANTIC, STREET_TASKS, Task
from mtl_perception.training.start_weights import left_behind, load_start

RUST = Task('semantic', 'classes', ('rust', 'other'), ((0, 0, 0), (255, 0, 0)))


@pytest.fixture
def model(tiny_single_frame_model):
    return tiny_single_frame_model


def network_for(model, channels):
    """Return a network like the model's with other outputs and random weights."""
    manifest, given = load_network(model)
    torch.manual_seed(5)
    spec = manifest.network.__class__(**{**vars(manifest.network), 'channels': channels})
    return build_network(spec), given.state_dict()


def test_decoders_with_the_same_classes_are_kept(model):
    network, given = network_for(model, {'semantic': 12, 'depth': 1})
    assert load_start(network, str(model), [STREET_SEMANTIC, STREET_DEPTH]) == {}
    for name, item in network.state_dict().items():
        torch.testing.assert_close(item, given[name])


def test_of_several_classes_that_count_as_one_the_same_is_taken():
    """The model's marking is a road and its terrain a tree, but neither is what they start as."""
    names = ('tree', 'road', 'truck', 'pavement', 'void')
    model = replace(STREET_SEMANTIC, classes=STREET_SEMANTIC.classes[::-1])
    labels = replace(STREET_SEMANTIC, classes=names, palette=((0, 0, 0),) * 5, sky=-1)
    for task in (STREET_SEMANTIC, model):
        assert [None if one is None else task.classes[one]
                for one in counterparts(task, labels)] == [
                    'vegetation', 'road', 'car', 'sidewalk', None]


def test_a_decoder_of_which_no_class_fits_starts_anew_and_the_rest_is_kept(model):
    network, given = network_for(model, {'semantic': 2, 'depth': 1})
    before = {name: item.clone() for name, item in network.state_dict().items()}
    assert load_start(network, str(model), [RUST, STREET_DEPTH]) == {'semantic': ['semantic']}

    for name, item in network.state_dict().items():
        expected = before if name.startswith('decoders.semantic.') else given
        torch.testing.assert_close(item, expected[name])


def test_classes_in_another_order_and_twice_give_the_scores_of_the_model(model):
    """Trucks and vans start as the model's cars; what it has not heard of starts with the rest."""
    names = ('truck', 'sky', *STREET_SEMANTIC.classes[:-1])
    task = replace(STREET_SEMANTIC, classes=names, palette=((0, 0, 0),) * 13, sky=1)
    network, _ = network_for(model, {'semantic': 13, 'depth': 1})
    assert load_start(network, str(model), [task, STREET_DEPTH]) == {'semantic': []}

    old, new = scores(load_network(model)[1]), scores(network)
    like = [STREET_SEMANTIC.classes.index('car' if name == 'truck' else name) for name in names]
    torch.testing.assert_close(new, old[:, like], rtol=1e-4, atol=1e-5)


def test_a_class_that_the_model_lacks_starts_anew_beside_the_others(model):
    task = replace(
        STREET_SEMANTIC, classes=(*STREET_SEMANTIC.classes, 'rust'), palette=((0, 0, 0),) * 13)
    network, _ = network_for(model, {'semantic': 13, 'depth': 1})
    assert load_start(network, str(model), [task, STREET_DEPTH]) == {'semantic': ['rust']}

    old, new = scores(load_network(model)[1]), scores(network)
    torch.testing.assert_close(new[:, :12], old, rtol=1e-4, atol=1e-5)


def test_tasks_that_the_new_model_will_not_have_are_named(model):
    assert left_behind(str(model), STREET_TASKS) == ''
    assert f'{model}: the new model will be without depth, motion;' in left_behind(
        str(model), [STREET_SEMANTIC])


def scores(network):
    """Return the (1, K, H, W) scores of semantics for a random image."""
    torch.manual_seed(3)
    with torch.inference_mode():
        return network.eval()(torch.randn(1, 3, 64, 96))['semantic']


def test_without_leave_other_classes_are_refused(model):
    network, _ = network_for(model, {'semantic': 2, 'depth': 1})
    with pytest.raises(ConfigurationError, match='parts differ'):
        load_start(network, str(model))


def test_a_folder_of_images_and_masks(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ('own/images', 'own/masks'):
        (tmp_path / name).mkdir(parents=True)
    for number in range(10):
        mask = np.zeros((48, 96), np.uint8)
        mask[20 + number:] = 1
        noise = np.random.default_rng(number).integers(0, 256, (48, 96, 3))
        cv2.imwrite(f'own/images/{number}.png', np.uint8(noise // 2 + 100 * mask[..., None]))
        cv2.imwrite(f'own/masks/{number}.png', mask)

    stages = '[{height: 32, width: 64, steps: 2, batch: 2}]'
    assert cli.main(['finetune', str(model), 'own', '--stages', stages]) == 0
    assert 'its decoder of semantic does not fit; that starts anew' in capsys.readouterr().out

    manifest, _ = read_model('runs/tiny_on_own/tiny_on_own.safetensors')
    assert [task.name for task in manifest.tasks] == ['semantic']
    assert manifest.network.encoder == read_model(model)[0].network.encoder
    assert manifest.command == f"mtl finetune single.safetensors own --stages '{stages}'"


def test_what_is_no_folder_is_refused(model, capsys):
    assert cli.main(['finetune', str(model), 'nowhere']) == 3
    assert 'nowhere: is no folder' in capsys.readouterr().err
