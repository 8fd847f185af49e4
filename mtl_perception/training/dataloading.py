# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clips in a reproducible order, augmented and collated into batches."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import DataError
from mtl_perception.parallel import unheard
from mtl_perception.signals import SIGNALS
from mtl_perception.tasks import NO_BOX, NOT_LABELLED, UNKNOWN_MOTION, UNLABELLED
from mtl_perception.training.distributed import Ranks

UNREADABLE_SHARE = 0.001
"""Largest share of the clips that may be unreadable and left out; one clip always may."""

Batch = dict[str, Tensor]
"""
``image`` (B, T, H, W, 3) uint8 and the labels that exist: ``semantic`` and ``motion`` (B, T, H, W)
uint8, ``depth`` (B, T, H, W) float, ``instance`` (B, T, H, W) int32, and ``detection``
(B, T, M, 5) float; with depth from other heights than its own also ``height_ratio`` (B,) float32.
See :class:`mtl_perception.datasets.sample.Sample`.
"""

_MISSING = {
    'semantic': UNLABELLED, 'motion': UNKNOWN_MOTION, 'depth': np.nan, 'instance': -1}


class Clips(Protocol):
    """A data set of clips."""

    def __len__(self) -> int:
        """Return the number of clips."""

    def __getitem__(self, index: int) -> Sample:
        """Return one clip."""


class Draws:
    """
    An endless, reproducible sequence of augmented clips.

    Draw n is clip ``permutation(epoch)[n % N]`` of epoch ``n // N``, changed by a generator that
    is seeded by (seed, n). It depends on nothing else: not on the batch, the number of processes
    that read, or where a training was interrupted.

    :param clips: the data set, N clips.
    :param seed: seed of order and augmentation.
    :param height: rows of the result.
    :param width: columns of the result.
    :param augmentation: ``augmentation(sample, generator, crop)``, None for none.
    :param window: frames of a clip that a draw shows, consecutive and from a random one on; 0
        shows all.
    :param crop: (rows, columns) of the parts that are learned from, None for the whole images;
        the augmentation cuts them out.
    :param skip: whether a clip that cannot be read is replaced by the one after it, as long as
        that concerns at most one clip or 0.1 % of them.
    :raises DataError: if the data set is empty.
    """

    def __init__(
            self, clips: Clips, seed: int, height: int, width: int,
            augmentation: Callable[
                [Sample, np.random.Generator, tuple[int, int] | None], Sample] | None,
            window: int = 0, skip: bool = False, crop: tuple[int, int] | None = None) -> None:
        if not len(clips):
            raise DataError('the training data set is empty; give it seeds and clips')
        self.clips = clips
        self.seed = seed
        self.size = (height, width)
        self.augmentation = augmentation
        self.window = window
        self.crop = crop
        self.unreadable: Tensor | None = None
        """(N,) uint8, 1 for the clips that could not be read; seen by all reading processes."""
        if skip:
            flags = torch.zeros(len(clips), dtype=torch.uint8)
            self.unreadable = flags.share_memory_()  # type: ignore[no-untyped-call]
        self._order: tuple[int, Any] = (-1, None)

    def index(self, number: int) -> int:
        """Return which clip draw ``number`` shows."""
        epoch, place = divmod(number, len(self.clips))
        if self._order[0] != epoch:
            order = np.random.default_rng((self.seed, 1, epoch)).permutation(len(self.clips))
            self._order = (epoch, order)
        return int(self._order[1][place])

    def __getitem__(self, number: int) -> Sample:
        """Return draw ``number``."""
        sample = self._read(self.index(number))
        generator = np.random.default_rng((self.seed, 2, number))
        if 0 < self.window < len(sample.image):
            first = int(generator.integers(len(sample.image) - self.window + 1))
            sample = sample.window(first, self.window)
        sample = sample.resized(*self.size)
        if self.augmentation is None:
            return sample
        return self.augmentation(sample, generator, self.crop)

    def _read(self, index: int) -> Sample:
        """Return a clip, or the next one that can be read."""
        while True:
            try:
                return self.clips[index]
            except DataError as error:
                if self.unreadable is None:
                    raise

                # count each clip once, over all reading processes
                if not self.unreadable[index]:
                    warnings.warn(f'{error}; another clip takes its place', stacklevel=2)
                self.unreadable[index] = 1

                count = int(self.unreadable.sum())
                limit = len(self.clips) * UNREADABLE_SHARE
                if count > max(1.0, limit) or count == len(self.clips):
                    raise DataError(
                        f'{count} of {len(self.clips)} training clips cannot be read, more than '
                        f'one and more than {UNREADABLE_SHARE:.1%}; mtl data check names them. '
                        f'The last: {error}') from error

                index = (index + 1) % len(self.clips)


@contextmanager
def batches(
        draws: Draws, first: int, count: int, batch: int, loaders: int = 0,
        ranks: Ranks | None = None, timeout_s: float = 120.0) -> Iterator[Iterator[Batch]]:
    """
    Yield batches of consecutive draws, or this rank's part of each.

    When a reading process dies, torch's handler of SIGCHLD raises between any two instructions of
    the training. So the code that uses the batches belongs inside this context, which turns the
    error into one of the data.

    Signals that ask to stop reach the training alone, even those that are sent to all processes of
    a group: a reading process that ended by itself would look like one that has died.

    :param draws: the sequence.
    :param first: number of the first draw.
    :param count: number of batches.
    :param batch: clips per batch on all ranks together; a multiple of their number.
    :param loaders: processes that read ahead; 0 reads between two steps.
    :param ranks: who shares the batches; this process alone if None.
    :param timeout_s: how long a process may take for a batch.
    :raises DataError: if a clip cannot be read, or a process that reads dies or hangs.
    """
    ranks = ranks or Ranks()
    own = batch // ranks.count
    numbers = [
        list(range(start + ranks.rank * own, start + (ranks.rank + 1) * own))
        for start in range(first, first + count * batch, batch)]
    loader: DataLoader[Any] = DataLoader(
        draws, batch_sampler=numbers, collate_fn=collate, num_workers=loaders,  # type: ignore
        timeout=timeout_s if loaders else 0, generator=torch.Generator(),
        worker_init_fn=_end_with_training, pin_memory=ranks.device.type == 'cuda')

    given = _Counted(loader)

    def failure(error: Exception) -> DataError | None:
        # an error of the training itself must not be blamed on the data
        of_loader = 'DataLoader' in str(error) if isinstance(
            error, RuntimeError) else given.waiting
        if not (loaders and of_loader):
            return None
        return DataError(
            f'reading training clips failed some time after draw '
            f'{numbers[max(given.count - 1, 0)][-1]}: '
            f'{_ended(given.reading) or _last_line(error)} If it was killed for its memory, set '
            'fewer data.loaders; then --resume')

    try:
        try:
            yield given
        except (ConnectionError, EOFError) as error:
            if (found := failure(error)) is None:
                raise
            raise found from error
    except RuntimeError as error:
        # torch raises it when a process has died, in whatever line runs then: in those above too
        if (found := failure(error)) is None:
            raise
        raise found from error


class _Counted(Iterator[Batch]):
    """The batches of a loader; an error in a reading process is raised again in this one."""

    def __init__(self, loader: 'DataLoader[Any]') -> None:
        self.count = 0
        self.waiting = False
        with unheard():  # by the processes, until they see to it themselves
            self.reading = iter(loader)
        self._in_processes = loader.num_workers > 0

    def __next__(self) -> Batch:
        self.waiting = True
        try:
            content: Batch = next(self.reading)
        except DataError as error:
            if not self._in_processes:
                raise
            raise DataError(
                _last_line(error).removeprefix('mtl_perception.errors.DataError: ')) from error

        self.count += 1
        self.waiting = False
        return content


def _end_with_training(worker: int) -> None:
    """Keep signals that ask to stop from a reading process, unless the training sends them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_wait_for_training, daemon=True).start()


def _wait_for_training() -> None:
    """End this process once the training asks it to, as it does with one that hangs."""
    training = multiprocessing.parent_process()
    assert training is not None
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != training.pid:
        pass
    os._exit(0)


def _last_line(error: Exception) -> str:
    """Return what an error says without the traceback that a reading process adds."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _ended(reading: Any) -> str:
    """Return which reading processes have ended, empty if none has."""
    workers = getattr(reading, '_workers', [])
    try:
        ended = connection.wait([worker.sentinel for worker in workers], timeout=1)
        for worker in workers:
            if worker.sentinel in ended:
                worker.join(1)  # its pipe closes before it has an exit code
    except RuntimeError as error:  # of torch's handler of SIGCHLD, which knows
        return str(error)
    found = [f'{worker.pid} (exit code {worker.exitcode})' for worker in workers
             if worker.exitcode]
    return f'process {", ".join(found)} has ended.' if found else ''


def collate(samples: Sequence[Sample]) -> Batch:
    """
    Stack samples; a label that none of them has is left out.

    Where only some have it, the others' pixels are marked as unlabelled.
    """
    batch = {'image': torch.from_numpy(np.stack([sample.image for sample in samples]))}
    for task, missing in _MISSING.items():
        labels = [sample.labels().get(task) for sample in samples]
        known = next((label for label in labels if label is not None), None)
        if known is not None:
            filled = [np.full_like(known, missing) if label is None else label for label in labels]
            batch[task] = torch.from_numpy(np.stack(filled))
    if any(sample.height_ratio != 1 for sample in samples):
        batch['height_ratio'] = torch.tensor(
            [sample.height_ratio for sample in samples], dtype=torch.float32)
    if any(sample.detection is not None for sample in samples):
        batch['detection'] = torch.from_numpy(_boxes(samples))
    return batch


def _boxes(samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Return the (B, T, M, 5) boxes of samples, filled up; those of a sample may be unknown."""
    most = max(sample.detection.shape[1] for sample in samples if sample.detection is not None)
    boxes = np.zeros((len(samples), len(samples[0].image), most, 5), np.float32)
    for rows, sample in zip(boxes, samples):
        rows[..., 4] = NOT_LABELLED
        if sample.detection is not None:
            known = sample.detection.shape[1]
            rows[:, :known] = sample.detection
            unknown = (sample.detection[..., 4] == NOT_LABELLED).any(1)
            rows[:, known:, 4] = np.where(unknown, NOT_LABELLED, NO_BOX)[:, None]
    return boxes
