# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are either complete or absent."""

import hashlib
import io
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtl_perception.errors import CheckpointError
from mtl_perception.files import remove_abandoned, write_atomically
from mtl_perception.reason_codes import ReasonCode

_MAGIC = b'MTLCKPT1'
_DIGEST = hashlib.sha256().digest_size
KEEP = 2
"""Number of the newest checkpoints that are kept."""


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """
    Write a training state: a magic number, the sha256 of the rest, and a file of ``torch.save``.

    :param state: tensors, numbers, strings, lists and dicts.
    :raises StorageError: if it cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_atomically(_MAGIC + hashlib.sha256(content).digest() + content, path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """
    Read what :func:`write_checkpoint` wrote; no code in it is executed.

    :raises CheckpointError: if it is missing, truncated, changed or not a checkpoint.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f'{path}: cannot be read ({error})', ReasonCode.MODEL_UNREADABLE) from error

    start = len(_MAGIC) + _DIGEST
    if content[:len(_MAGIC)] != _MAGIC:
        raise CheckpointError(
            f'{path}: not a checkpoint of mtl_perception', ReasonCode.MODEL_FOREIGN)
    if hashlib.sha256(content[start:]).digest() != content[len(_MAGIC):start]:
        raise CheckpointError(
            f'{path}: truncated or changed, its sha256 does not match', ReasonCode.MODEL_CHANGED)

    state: dict[str, Any] = torch.load(
        io.BytesIO(content[start:]), map_location='cpu', weights_only=True)
    return state


class CheckpointFolder:
    """
    The checkpoints of one run: the newest ones, and the best.

    :param folder: of the checkpoints; created with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = folder / 'best.ckpt'

    def paths(self) -> list[Path]:
        """Return the checkpoints by step, newest first, without the best."""
        return sorted(self.folder.glob('step_*.ckpt'), reverse=True)

    def save(self, state: dict[str, Any], step: int, is_best: bool = False) -> Path:
        """
        Write a checkpoint, then remove old ones.

        :param state: see :func:`write_checkpoint`.
        :param step: number of optimiser steps done.
        :param is_best: whether it is also the best so far.
        :raises StorageError: if it cannot be written; the older ones stay.
        """
        # The best comes first: a training that ends between the two goes on from the one before,
        # and writes both again.
        path = self.folder / f'step_{step:08d}.ckpt'
        if is_best:
            write_checkpoint(state, self.best)
        write_checkpoint(state, path)

        # only now: a full disk must leave the older ones in place
        for old in self.paths()[KEEP:]:
            old.unlink(missing_ok=True)
        return path

    def load_newest(self) -> dict[str, Any] | None:
        """
        Return the newest readable checkpoint, None if there are none.

        What killed trainings have left is removed, see :func:`.remove_abandoned`.

        :raises CheckpointError: if there are checkpoints but none is readable.
        """
        remove_abandoned(self.folder)
        paths = self.paths()
        for path in paths:
            try:
                return read_checkpoint(path)
            except CheckpointError as error:
                warnings.warn(f'{error}; falling back to the one before', stacklevel=2)

        if paths:
            raise CheckpointError(
                f'{self.folder}: none of its {len(paths)} checkpoints is readable; remove them to '
                'start again', ReasonCode.MODEL_FOREIGN)
        return None


def random_states() -> dict[str, Any]:
    """Return the states of all global random generators, as types that ``torch.save`` takes."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        'python': [version, list(numbers), gauss],
        'numpy': [kind, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, cached],
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Set all global random generators to what :func:`random_states` returned."""
    version, numbers, gauss = states['python']
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = states['numpy']
    np.random.set_state(  # noqa: NPY002
        (kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states['torch'])
    if states['cuda'] and len(states['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states['cuda'])
