# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Motion heads: load, run and write the ``.motion`` file beside a model's weights."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mtl_perception.egomotion import RESIDUAL_CHANNELS
from mtl_perception.errors import CheckpointError
from mtl_perception.files import write_atomically
from mtl_perception.manifest import Manifest, find_model, read_model, write_model
from mtl_perception.models.motion_head import ResidualMotionHead
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.tasks import STREET_MOTION

SUFFIX = '.motion'
"""Ending of a motion head's file; before it comes the name of its model."""
LARGEST_BYTES = 8_000_000
"""Larger files are refused before they are read."""


class MotionHead:
    """
    A trained head and what it was trained for.

    :param network: in evaluation mode, on the CPU.
    :param notes: from the file: ``model`` (sha256 of the weights whose depth and semantics it
        learned from), ``channels``, ``width`` and what the training noted.
    """

    def __init__(self, network: ResidualMotionHead, notes: dict[str, Any]) -> None:
        self.network = network.eval()
        self.notes = notes

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Return the probability of motion in each pixel.

        :param features: (C, h, w) float32 of
            :func:`~mtl_perception.egomotion.residual.motion_features`.
        :return: (h, w) float32, 0 to 1.
        """
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(features[None]))
            probability: NDArray[np.float32] = torch.sigmoid(logits)[0].numpy()
        return probability


def motion_head_of(model: str | Path, manifest: Manifest) -> MotionHead | None:
    """
    Return the motion head that a model's manifest names, None if the network predicts motion.

    :param model: shipped name or path of the ``.safetensors`` file.
    :param manifest: of the model.
    :raises CheckpointError: if the head is missing, changed, or cannot be used.
    """
    if not manifest.motion_head:
        return None
    path = _head_path(find_model(model))
    if not path.is_file():
        raise CheckpointError(
            f'{path} does not exist, but the manifest names it; keep weights, manifest and '
            'motion head in one folder', ReasonCode.MODEL_UNREADABLE)

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != manifest.motion_head:
        raise CheckpointError(
            f'{path}: sha256 is {digest}, the manifest wants {manifest.motion_head}; refusing to '
            'load. Copy the model again or train the head again', ReasonCode.MODEL_CHANGED)
    return read_motion_head(path, manifest)


def attach_motion_head(head: Path, model: str | Path) -> Path:
    """
    Put a motion head beside a model's weights and name it in the manifest.

    :param head: file of the motion head.
    :param model: shipped name or path of the ``.safetensors`` file.
    :return: where the head is now.
    :raises CheckpointError: if either cannot be read.
    :raises StorageError: if a file cannot be written.
    """
    manifest, weights = read_model(model)
    read_motion_head(head, manifest)

    target = _head_path(find_model(model))
    content = head.read_bytes()
    write_atomically(content, target)

    # The manifest is written last: with its digests it vouches for the other files.
    digest = hashlib.sha256(content).hexdigest()
    tasks = manifest.tasks
    if manifest.task('motion') is None:
        tasks = (*tasks, STREET_MOTION)
    write_model(
        dataclasses.replace(manifest, motion_head=digest, tasks=tasks), weights,
        find_model(model))
    return target


def _head_path(weights: Path) -> Path:
    """Return the path of the motion head beside a model's weights."""
    return weights.with_name(weights.stem + SUFFIX)


def read_motion_head(path: Path, manifest: Manifest) -> MotionHead:
    """
    Return the motion head of a file.

    :param path: as written by :func:`write_motion_head`.
    :param manifest: of the model that will use it.
    :raises CheckpointError: if it cannot be read, or was trained for other classes.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise CheckpointError(
                f'{path}: {path.stat().st_size} bytes, a motion head has at most '
                f'{LARGEST_BYTES}; is it another model?', ReasonCode.MODEL_TOO_BIG)

        with safe_open(path, 'pt') as content:
            notes = json.loads((content.metadata() or {})['motion'])
            names = content.keys()
            weights = {name: content.get_tensor(name) for name in names}

        # Compared by name: classes and order of the features must be those of the training.
        wanted = [*RESIDUAL_CHANNELS, *_movable(manifest)]
        if notes['channels'] != wanted:
            raise CheckpointError(
                f'{path}: it was trained on the features {notes["channels"]}, model '
                f'{manifest.name!r} of this version gives {wanted}; train it again with '
                'mtl train-motion', ReasonCode.MODEL_ARCHITECTURE)
        if not all(bool(torch.isfinite(item).all()) for item in weights.values()):
            raise CheckpointError(
                f'{path}: a weight is not finite; train it again', ReasonCode.WEIGHTS_NOT_FINITE)

        network = ResidualMotionHead(len(wanted), int(notes['width']))
        network.load_state_dict(weights)

    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f'{path}: not a motion head ({type(error).__name__}: {error}); train it again with '
            'mtl train-motion', ReasonCode.MODEL_FOREIGN) from error
    return MotionHead(network.requires_grad_(False), notes)


def write_motion_head(
    network: ResidualMotionHead, manifest: Manifest, path: Path, notes: dict[str, Any],
) -> None:
    """
    Write a motion head.

    :param network: trained.
    :param manifest: of the model whose depth and semantics it learned from.
    :param path: of the file; beside a model it is ``NAME.motion``, a safetensors file.
    :param notes: plain JSON types, stored in the file.
    :raises StorageError: if the file cannot be written.
    """
    stored = {
        'model': manifest.sha256, 'channels': [*RESIDUAL_CHANNELS, *_movable(manifest)],
        'width': network.score.in_channels, **notes}
    weights = {name: item.contiguous() for name, item in network.state_dict().items()}
    write_atomically(save(weights, metadata={'motion': json.dumps(stored)}), path)


def _movable(manifest: Manifest) -> list[str]:
    """Return the names of the model's movable classes."""
    semantic = manifest.task('semantic')
    return [] if semantic is None else [semantic.classes[number] for number in semantic.movable]
