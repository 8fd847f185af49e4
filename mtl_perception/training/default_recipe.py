# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe for a data set that has none."""

from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.datasets.build import build_dataset
from mtl_perception.datasets.detect_layout import detect_layout
from mtl_perception.errors import DataError
from mtl_perception.manifest import Manifest

PIXELS = 256 * 320
"""Approximate number of pixels of the images that the network sees."""

LOOKED_AT = 5
"""Number of clips that are searched for the labelled tasks."""


def recipe_for(folder: Path) -> dict[str, Any]:
    """
    Return a recipe that learns the labelled tasks of a data set, first on small images.

    The network is that of ``config/train/camvid.yaml``, which trains on a few hundred images on a
    CPU. Semantics, depth and boxes are learned if some clips have them.

    :param folder: of a data set, see :func:`mtl_perception.datasets.detect_layout.detect_layout`.
    :return: what :func:`mtl_perception.training.recipe.build_recipe` takes.
    :raises DataError: if the data set is not known, or nothing in it is labelled.
    """
    train, validation = detect_layout(folder)
    clips = build_dataset(train)

    # which tasks are labelled
    samples = [clips[int(number)] for number in np.linspace(
        0, len(clips) - 1, min(LOOKED_AT, len(clips)))]
    found = {task for sample in samples for task in sample.labels()}
    if any(sample.detection is not None for sample in samples):
        found.add('detection')
    tasks = [task for task in ('semantic', 'depth', 'detection') if task in found]
    if not tasks:
        raise DataError(
            f'{folder}: {train["dataset"]} without labels of semantics, depth or boxes; unpack '
            'the archives of its labels too')

    # the proportions of the images at about PIXELS, in multiples of the network's stride
    rows, columns = samples[0].image.shape[1:3]
    width = max(64, 32 * round((PIXELS * columns / rows) ** 0.5 / 32))
    height = max(64, 32 * round(width * rows / columns / 32))
    small = {'height': max(32, 32 * round(height / 64)), 'width': max(32, 32 * round(width / 64))}

    return {
        'name': folder.resolve().name, 'tasks': tasks,
        'weighting': 'uncertainty' if len(tasks) > 1 else 'equal',
        'network': {'encoder': 'resnet18', 'frames': 1, 'finest_stride': 4, 'pyramid': 64},
        'data': {'train': train, 'validation': validation},
        'augmentation': {'zoom': 0.5, 'nearer': True}, 'optimiser': {'weight_decay': 0.05},
        'stages': [
            {**small, 'steps': 800, 'batch': 8, 'lr': 2e-3},
            {'height': height, 'width': width, 'steps': 2000, 'batch': 8, 'lr': 1.5e-3}],
        'run': {'threads': 0, 'validate_every': 200}}


def finetune_recipe(model: str, manifest: Manifest, folder: Path) -> dict[str, Any]:
    """
    Return a recipe that goes on from a model on a data set, at the size of the model.

    :param model: name of a shipped model or path of a ``.safetensors`` file.
    :param manifest: of the model.
    :param folder: of a data set, as for :func:`recipe_for`.
    :return: what :func:`mtl_perception.training.recipe.build_recipe` takes.
    :raises DataError: if the data set is not known, or nothing in it is labelled.
    """
    recipe = recipe_for(folder)
    network = manifest.network
    recipe['name'] = f'{manifest.name}_on_{recipe["name"]}'
    recipe['network'] = {
        'encoder': network.encoder, 'frames': network.frames, 'pyramid': network.pyramid,
        'finest_stride': network.finest_stride, 'aggregation': network.aggregation,
        'output_stride': network.output_stride, 'aspp': network.aspp,
        'decoder_width': network.decoder_width, 'sharing': network.sharing,
        'decoders': {task: name for task, name in network.decoders.items()
                     if task in recipe['tasks']},
        'mean': list(manifest.mean), 'std': list(manifest.std),
        'start': model, 'start_heads': 'fitting'}

    # Single images show a network of several frames a camera that stands still.
    for split in recipe['data'].values():
        split['frames'] = 1
    recipe['data']['window'] = 1
    recipe['stages'] = [{
        'height': manifest.height, 'width': manifest.width, 'steps': 1000, 'batch': 6, 'lr': 1e-3}]
    return recipe
