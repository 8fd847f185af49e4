# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of the papers' recipes beside what the papers print."""

import re
from functools import cache, reduce
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from mtl_perception.training.config import load_config, to_plain
from mtl_perception.training.data_sources import tasks_of
from mtl_perception.training.schedule import build_optimiser, learning_rate

RECIPES = Path(__file__).parents[2] / 'config' / 'train'

TOPICS = {
    'optimiser', 'rate', 'schedule', 'batch', 'steps', 'size', 'crop', 'augmentation', 'loss',
    'weights', 'split', 'classes', 'initialisation'}

OPEN = 'the paper does not print it'


class Row(NamedTuple):
    """
    What a paper prints of one setting.

    :param topic: one of TOPICS.
    :param setting: its path in the resolved recipe; ``classes`` is the number of semantic classes.
    :param printed: its value in the paper, 0 or empty for what the paper does without, or OPEN.
    :param where: section, table or figure.
    :param ours: the value in the recipe, if it is another one.
    :param said: words of the recipe's head that tell it.
    """

    topic: str
    setting: str
    printed: Any
    where: str
    ours: Any = None
    said: str = ''


MIRRORED = [
    Row('augmentation', f'augmentation.{name}', 0, 'nothing of it')
    for name in ('brightness', 'contrast', 'gamma', 'saturation', 'hue', 'tint', 'noise', 'blur',
                 'squeeze', 'shadow')]
PLAIN = [
    # what none of the papers mentions
    Row('optimiser', 'optimiser.clip_norm', 0, 'nothing of clipping'),
    Row('optimiser', 'optimiser.average', 0, 'nothing of an average of the weights'),
    Row('optimiser', 'optimiser.accumulate', 1, 'nothing of it'),
    Row('loss', 'loss.class_balance', 0, 'nothing of weights of classes'),
    Row('loss', 'loss.feature_distance', 0, 'nothing of it'),
    Row('loss', 'loss.detached', [], 'nothing of it'),
    Row('loss', 'precision', 'fp32', 'nothing of it'),
    Row('size', 'network.sharing', 'hard', 'one encoder'),
    *MIRRORED]

KENDALL = [
    *PLAIN,
    Row('optimiser', 'optimiser.kind', 'sgd', 'A.1, with Nesterov'),
    Row('optimiser', 'optimiser.momentum', 0.9, 'A.1'),
    Row('optimiser', 'optimiser.weight_decay', 1e4, 'A.1', 1e-4, 'weight decay is 1e-4, not 10^4'),
    Row('optimiser', 'optimiser.decay_all', True, 'A.1, no exception'),
    Row('rate', 'stages.0.lr', 2.5e-3, 'A.1'),
    Row('rate', 'optimiser.lr', 1, 'A.1'),
    Row('schedule', 'optimiser.schedule', 'polynomial', 'A.1'),
    Row('schedule', 'optimiser.power', 0.9, 'A.1'),
    Row('schedule', 'optimiser.warm_up', 0, 'A.1'),
    Row('augmentation', 'augmentation.flip', 0.5, 'A.1'),
    Row('loss', 'tasks', ['semantic', 'instance', 'depth'], 'A'),
    Row('loss', 'loss.depth', OPEN, 'A', 'l1', 'L1 losses'),
    Row('loss', 'loss.instance_balance', 0, 'A'),
    Row('loss', 'loss.cross_task.kind', 'none', 'A'),
    Row('loss', 'loss.depth_unit', OPEN, 'A', 'inverse_metres', 'depth as 1/m'),
    Row('loss', 'loss.depth_maximum', OPEN, 'A', 0, 'of any distance'),
    Row('weights', 'weighting', 'uncertainty', 'B'),
    Row('weights', 'weighting_options.uncertainty.forms', OPEN, 'B',
        {'instance': 'laplace', 'depth': 'laplace'}, 'Laplace form'),
    Row('weights', 'weighting_options.uncertainty.rate', 1, 'B, figure 6: about 100 steps'),
    Row('split', 'data.train.split', OPEN, 'A.1', 'train', 'train and val'),
    Row('split', 'data.validation.split', OPEN, 'A.1', 'val', 'train and val'),
    Row('classes', 'classes', OPEN, 'A', 19, '19 classes'),
    Row('initialisation', 'network.pretrained', OPEN, 'A', '', 'a random encoder'),
    Row('initialisation', 'network.initial', OPEN, 'A', {'depth': 0.05}, 'mean of 0.05/m'),
    Row('size', 'network.encoder', 'resnet101', 'A'),
    Row('size', 'network.output_stride', 8, 'A'),
    Row('size', 'network.aspp', 256, 'A')]

# Figures that a paper does not print are those of leang_cityscapes and multinetpp_kitti.
ADAM = [
    Row('optimiser', 'optimiser.weight_decay', 0, 'nothing of it'),
    Row('rate', 'optimiser.lr', 1, 'nothing of it'),
    Row('rate', 'stages.0.lr', OPEN, 'nothing of it', 1e-4, 'Adam at 1e-4'),
    Row('schedule', 'optimiser.warm_up', OPEN, 'nothing of it', 0.02, 'ris'),
    Row('schedule', 'optimiser.schedule', OPEN, 'nothing of it', 'cosine', 'cosine'),
    Row('batch', 'stages.0.batch', OPEN, 'nothing of it', 8, 'steps of 8'),
    Row('crop', 'stages.0.crop_height', 0, 'nothing of it'),
    Row('augmentation', 'augmentation.flip', OPEN, 'nothing of it', 0.5, 'mirror'),
    Row('augmentation', 'augmentation.zoom', 0, 'nothing of it'),
    Row('loss', 'loss.cross_task.kind', 'none', 'nothing of it'),
    Row('weights', 'weighting_options.uncertainty.rate', 1, 'as in Kendall et al.')]

LEANG = [
    *PLAIN, *ADAM,
    Row('optimiser', 'optimiser.kind', OPEN, 'III names Adam in general', 'adam', 'Adam at 1e-4'),
    Row('steps', 'stages.0.steps', OPEN, 'V', 40_000, '40 000 steps'),
    Row('size', 'network.encoder', 'resnet10', 'V-A'),
    Row('size', 'network.frames', 1, 'V-A'),
    Row('size', 'network.decoders', {'detection': 'yolo'}, 'V-A, FCN8 is the default'),
    Row('size', 'network.anchor_count', OPEN, 'V-A', 5, 'five anchors'),
    Row('loss', 'tasks', ['semantic', 'detection'], 'IV'),
    Row('weights', 'weighting', OPEN, 'table II compares', 'geometric', 'geometric loss'),
    Row('initialisation', 'network.pretrained', 'imagenet', 'V-A', '', 'with random')]

MULTINETPP = [
    *PLAIN, *ADAM,
    Row('optimiser', 'optimiser.kind', 'adam', '4.3'),
    Row('size', 'stages.0.height', 224, '4.3'),
    Row('size', 'stages.0.width', 384, '4.3'),
    Row('size', 'network.encoder', 'resnet50', '3.1'),
    Row('size', 'network.frames', 2, '3.1'),
    Row('size', 'network.aggregation', 'concatenate', '3.1'),
    Row('size', 'network.finest_stride', OPEN, '3.1', 8, 'layers 2, 3 and 4'),
    Row('loss', 'loss.depth', 'huber', 'equation 5'),
    Row('loss', 'loss.huber_delta', 250, 'equation 5'),
    Row('loss', 'loss.depth_unit', OPEN, '4.2: 16 bits', 'disparity_256', '1/256 pixel'),
    Row('loss', 'loss.depth_maximum', 0, 'nothing of a limit'),
    Row('loss', 'loss.moving_weight', 1, 'equation 4'),
    Row('weights', 'weighting', 'geometric', 'equation 6'),
    Row('initialisation', 'network.pretrained', OPEN, '4', '', 'a random encoder'),
    Row('initialisation', 'network.initial', OPEN, '4', {'depth': 6000}, 'mean of 6000')]

XTASC = [
    *PLAIN,
    Row('optimiser', 'optimiser.kind', 'adam', 'V-C'),
    Row('optimiser', 'optimiser.betas', OPEN, 'V-C', [0.9, 0.99], '0.9 and 0.99'),
    Row('optimiser', 'optimiser.weight_decay', 0, 'V-C'),
    Row('rate', 'stages.0.lr', 1e-4, 'V-C'),
    Row('rate', 'optimiser.lr', 1, 'V-C'),
    Row('schedule', 'optimiser.schedule', 'halving', 'V-C'),
    Row('schedule', 'optimiser.warm_up', 0, 'V-C'),
    Row('crop', 'stages.0.crop_height', 0, 'V-A: crops have the size of the images'),
    Row('augmentation', 'augmentation.flip', 0.5, 'V-A'),
    Row('augmentation', 'augmentation.zooms', [1.0, 1.2, 1.5], 'V-A'),
    Row('augmentation', 'augmentation.nearer', OPEN, 'V-A', False, 'depth with the zoom'),
    Row('loss', 'tasks', ['semantic', 'depth'], 'IV-B'),
    Row('loss', 'loss.depth', 'l1', 'equation 14'),
    Row('loss', 'loss.depth_maximum', 0, 'V-A: all pixels but those of depth 0'),
    Row('loss', 'loss.cross_task.kind', 'consistency', 'IV-B'),
    Row('loss', 'loss.cross_task.target', OPEN, 'equation 13', 'hard', 'hard class labels'),
    Row('loss', 'loss.cross_task.legacy_mean', False, 'equation 13'),
    Row('weights', 'weighting', 'uncertainty', 'V-D'),
    Row('weights', 'weighting_options.uncertainty.rate', 1, 'V-D'),
    Row('weights', 'weighting_options.uncertainty.forms', OPEN, 'V-D',
        {'semantic': 'xtasc', 'depth': 'xtasc'}, 'form of the uncertainty'),
    Row('size', 'network.encoder', 'resnet34', 'IV-A'),
    Row('size', 'network.decoders', {'semantic': 'unet', 'depth': 'unet'}, 'IV-A'),
    Row('size', 'network.decoder_width', 0, 'IV-A: 128, the default'),
    Row('initialisation', 'network.pretrained', '', 'appendix B')]

KENDALL_TINY = [
    Row('batch', 'stages.0.batch', 8, 'A.1'),
    Row('steps', 'stages.0.steps', 50_000, 'A.1'),
    Row('size', 'stages.0.height', 128, 'A.1'),
    Row('size', 'stages.0.width', 256, 'A.1'),
    Row('crop', 'stages.0.crop_height', 256, 'A.1', 0, 'crops of 256x256 do not fit'),
    Row('augmentation', 'augmentation.zoom', 0, 'A.1'),
    Row('augmentation', 'augmentation.zoom_out', 0, 'A.1')]

KENDALL_FULL = [
    Row('batch', 'stages.0.batch', 16, 'A.1'),
    Row('steps', 'stages.0.steps', 100_000, 'A.1'),
    Row('size', 'stages.0.height', 1024, 'A.1: full scale'),
    Row('size', 'stages.0.width', 2048, 'A.1: full scale'),
    Row('crop', 'stages.0.crop_height', 512, 'A.1'),
    Row('crop', 'stages.0.crop_width', 512, 'A.1'),
    Row('augmentation', 'augmentation.zoom', 1.0, 'A.1: up to 2.0'),
    Row('augmentation', 'augmentation.zoom_out', 0.3, 'A.1: down to 0.7'),
    Row('augmentation', 'augmentation.nearer', OPEN, 'A.1', True, 'depth is divided by the scale')]

SIZES = [
    Row('size', 'stages.0.height', OPEN, 'V', 256, '512x256'),
    Row('size', 'stages.0.width', OPEN, 'V', 512, '512x256')]

TABLE: dict[str, list[Row]] = {
    'kendall_cityscapes': [*KENDALL, *KENDALL_TINY],
    'kendall_cityscapes_full': [*KENDALL, *KENDALL_FULL],

    'leang_cityscapes': [
        *LEANG, *SIZES,
        Row('classes', 'classes', 3, 'V-B'),
        Row('split', 'data.train.split', '60 % of 5000', 'V-B', 'train_60', '3475'),
        Row('split', 'data.validation.split', '20 % of 5000', 'V-B', 'val_20', '3475')],
    'leang_kitti': [
        *LEANG,
        Row('size', 'stages.0.height', OPEN, 'V', 192, '640x192'),
        Row('size', 'stages.0.width', OPEN, 'V', 640, '640x192'),
        Row('classes', 'classes', 3, 'V-B'),
        Row('split', 'data.train.mix.boxes.split', OPEN, 'V-B', 'train', 'every fifth'),
        Row('split', 'data.train.mix.boxes.dataset', 'kitti_object', 'V-B'),
        Row('split', 'data.train.mix.road.dataset', '445 images', 'V-B', 'kitti2015',
            'from 445 images of another author'),
        Row('split', 'data.train.mix.road.share', OPEN, 'V-B', 0.5, 'half of the clips')],
    'leang_woodscape': [
        *LEANG,
        Row('size', 'stages.0.height', OPEN, 'V', 288, '544x288'),
        Row('size', 'stages.0.width', OPEN, 'V', 544, '544x288'),
        Row('classes', 'classes', 3, 'V-B', 4, 'road, lane marking, curb and void'),
        Row('split', 'data.train.split', '6000 images', 'V-B', 'train', '6000, 2000 and 2000')],

    'multinetpp_kitti': [
        *MULTINETPP,
        Row('loss', 'tasks', ['semantic', 'depth', 'motion'], '4.1'),
        Row('steps', 'stages.0.steps', OPEN, '4.3', 10_000, '10 000 steps'),
        Row('classes', 'classes', 20, '4.2'),
        Row('split', 'data.train.split', '200 images', 'table 1', 'train', 'every fifth'),
        Row('split', 'data.validation.split', '200 images', 'table 1', 'validation', 'no public'),
        Row('split', 'data.train.reverse', False, '3.1', True, 'frame 11 replaces')],
    'multinetpp_cityscapes': [
        *MULTINETPP,
        Row('loss', 'tasks', ['semantic', 'depth', 'motion'], '4.1', ['semantic', 'depth'],
            'no motion'),
        Row('steps', 'stages.0.steps', OPEN, '4.3', 40_000, '40 000 steps'),
        Row('classes', 'classes', 20, '4.2'),
        Row('split', 'data.train.split', 'train', 'table 1: 2975 images'),
        Row('split', 'data.validation.split', 'val', 'table 1: 500 images')],
    'multinetpp_synthia': [
        *MULTINETPP,
        Row('loss', 'tasks', ['semantic', 'depth'], '4.1'),
        Row('steps', 'stages.0.steps', OPEN, '4.3', 40_000, '40 000 steps'),
        Row('classes', 'classes', 13, '4.2'),
        Row('split', 'data.train.split', 'all', '4.1'),
        Row('split', 'data.validation.split', 'all', '4.1'),
        Row('split', 'data.train.sequences', ['SEQS-02'], '4.1', ['SYNTHIA-SEQS-02-SUMMER'],
            'season SUMMER'),
        Row('split', 'data.validation.sequences', ['SEQS-05'], '4.1', ['SYNTHIA-SEQS-05-SUMMER'],
            'season SUMMER')],

    'xtasc_cityscapes': [
        *XTASC,
        Row('batch', 'stages.0.batch', 8, 'V-C'),
        Row('steps', 'stages.0.steps', round(250 * 2975 / 8), 'V-C: 250 epochs'),
        Row('schedule', 'optimiser.halve_every', 80 / 250, 'V-C'),
        Row('size', 'stages.0.height', 128, 'V-A'),
        Row('size', 'stages.0.width', 256, 'V-A'),
        Row('loss', 'loss.cross_task.semantic_share', 0.01, 'V-C'),
        Row('loss', 'loss.cross_task.depth_share', 0.01, 'V-C'),
        Row('loss', 'loss.depth_unit', OPEN, 'V-A: inverse', 'mtan', 'units of 256 pixels'),
        Row('loss', 'data.train.focal_px', OPEN, 'V-A', 2262.52, "whatever the image's camera"),
        Row('classes', 'classes', 7, 'V-A'),
        Row('split', 'data.train.split', 'train', 'table I'),
        Row('split', 'data.validation.split', 'val', 'table I')],
    'xtasc_nyu': [
        *XTASC,
        Row('batch', 'stages.0.batch', 6, 'V-C'),
        Row('steps', 'stages.0.steps', 100 * 795 // 6, 'V-C: 100 epochs'),
        Row('schedule', 'optimiser.halve_every', 60 / 100, 'V-C'),
        Row('size', 'stages.0.height', 288, 'V-A'),
        Row('size', 'stages.0.width', 384, 'V-A'),
        Row('loss', 'loss.cross_task.semantic_share', 1e-4, 'V-C'),
        Row('loss', 'loss.cross_task.depth_share', 1e-4, 'V-C'),
        Row('loss', 'loss.depth_unit', OPEN, 'V-A', 'metres', 'depth in metres'),
        Row('classes', 'classes', 13, 'V-A'),
        Row('split', 'data.train.split', OPEN, 'V-A', 'train', '795 images'),
        Row('split', 'data.validation.split', 'test', 'table III')],
}
"""Recipe -> what its paper prints: appendix of Kendall et al., sections of the other three."""


@cache
def head(recipe: str) -> str:
    """Return the comment above a recipe as one line."""
    lines = (RECIPES / f'{recipe}.yaml').read_text(encoding='utf-8').splitlines()
    return ' '.join(' '.join(line.lstrip('#') for line in lines if line.startswith('#')).split())


@cache
def resolved(recipe: str, *overrides: str) -> dict[str, Any]:
    """Return all settings of a recipe, and the number of its semantic classes."""
    config = load_config(RECIPES / f'{recipe}.yaml', overrides)
    semantic = next(task for task in tasks_of(config) if task.name == 'semantic')
    return {**to_plain(config), 'classes': len(semantic.classes)}


def value_of(settings: Any, path: str) -> Any:
    return reduce(
        lambda part, key: part[int(key)] if isinstance(part, list) else part[key],
        path.split('.'), settings)


def check(row: Row, settings: dict[str, Any], words: str) -> None:
    """Fail if a setting is not the printed one, and not what the head of the recipe says."""
    found = value_of(settings, row.setting)
    if found == row.printed:
        return
    assert row.said, f'{row.setting} is {found}, {row.where} prints {row.printed}; say so'
    assert found == row.ours
    assert row.said in words


def check_all(recipe: str, *overrides: str) -> None:
    """Check every row of a recipe, with settings in place of its own."""
    settings = resolved(recipe, *overrides)
    for row in TABLE[recipe]:
        check(row, settings, head(recipe))


@pytest.mark.parametrize('recipe', TABLE)
def test_a_recipe_has_what_its_paper_prints_or_its_head_says_what_differs(recipe):
    check_all(recipe)


@pytest.mark.parametrize('recipe', TABLE)
def test_the_table_covers_every_topic_and_names_each_setting_once(recipe):
    assert {row.topic for row in TABLE[recipe]} == TOPICS
    settings = [row.setting for row in TABLE[recipe]]
    assert sorted(settings) == sorted(set(settings))
    assert all(row.where for row in TABLE[recipe])


def test_every_recipe_of_a_paper_is_in_the_table():
    papers = re.compile(r'(kendall|leang|multinetpp|xtasc)_')
    assert set(TABLE) == {path.stem for path in RECIPES.glob('*.yaml') if papers.match(path.stem)}


@pytest.mark.parametrize(('setting', 'value'), [
    ('optimiser.clip_norm', '5.0'), ('weighting_options.uncertainty.rate', '10'),
    ('loss.depth_maximum', '80'), ('data.train.classes', '19'), ('augmentation.hue', '12')])
def test_a_setting_that_is_neither_printed_nor_said_is_found(setting, value):
    with pytest.raises(AssertionError, match='prints'):
        check_all('xtasc_cityscapes', f'--{setting}', value)


def test_words_that_the_head_lacks_are_found():
    settings = resolved('kendall_cityscapes')
    row = next(row for row in KENDALL if row.setting == 'optimiser.weight_decay')
    check(row, settings, 'the weight decay is 1e-4, not 10^4')
    with pytest.raises(AssertionError):
        check(row, settings, 'SGD with momentum')


@pytest.mark.parametrize(('rate', 'smallest'), [(1.0, 0.80), (10.0, 0.08)])
def test_log_variances_settle_within_100_steps_and_overshoot_at_ten_times_the_rate(rate, smallest):
    """Constant loss of 22.5, optimiser of the recipe: the weight goes from 1 to 1 / 22.5."""
    config = load_config(RECIPES / 'kendall_cityscapes.yaml', [
        '--weighting_options.uncertainty.rate', str(rate)])
    weighting = config.strategy('uncertainty')
    stage, settings = config.stages[0], config.optimiser
    optimiser = build_optimiser(
        [{'params': list(weighting.parameters())}], settings.kind, settings.betas,
        settings.momentum)

    # weight of depth times its loss, 1 where the log variance has converged
    products = []
    for step in range(300):
        for group in optimiser.param_groups:
            group['lr'] = weighting.rate * learning_rate(
                step, stage.steps, stage.lr, settings.warm_up, settings.final, settings.schedule)
        optimiser.zero_grad()
        weighting({task: torch.tensor(22.5) for task in config.tasks}).backward()
        optimiser.step()
        products.append(22.5 * weighting.weights()['depth'])

    settled = max(step for step, found in enumerate(products) if abs(found - 1) > 0.1)
    assert settled < 100
    assert min(products) == pytest.approx(smallest, abs=0.01)
