# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
How fast a training is: ``python -m mtl_perception.training.benchmark [--libmtl CHECKOUT]``.

Three ways to train the same network with the same losses, batch and image size:

- ``plain``: a bare loop of forward pass, sum of the losses, backward pass and AdamW over eight
  batches in memory. Nothing is read, logged or checked.
- ``mtl train``: everything that the command does at a step. Clips are read, augmented and
  collated, in separate processes if ``--loaders`` is not 0; gradients are checked and clipped,
  the moving average is updated, the log is written.
- ``LibMTL``: its own ``Trainer`` with hard parameter sharing and equal weights, around the same
  encoder, decoders and losses, with metrics that cost nothing. It computes in fp32 and brings no
  reading of data, so it gets the batches that ``mtl train`` gets, read in as many processes.

On the street (the network of ``config/train/street.yaml``) the clips come from the cache; the
other data are JPEG images and PNG masks of 960x720 (the network of ``config/train/camvid.yaml``),
written to a temporary folder.

A plain step runs between any two steps of a training, so that both see the same machine, whose
speed may double within a minute. A step of a training lasts from the end of one plain step to the
start of the next; the ratio is that of neighbours, and the table shows its median. Reading goes on
during the plain step, so the table also shows how long one batch takes to read. Divided by
``--loaders``, this must be less than a step for the readers to keep up.
"""

import argparse
import contextlib
import itertools
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mtl_perception.signals import StopRequest, interruptible
from mtl_perception.synthetic import Street
from mtl_perception.tasks import STREET_SEMANTIC
from mtl_perception.training.config import Stage, TrainingConfig
from mtl_perception.training.data_sources import open_clips, tasks_of
from mtl_perception.training.dataloading import Batch, Clips, Draws, batches, collate
from mtl_perception.training.learner import ClipLearner
from mtl_perception.training.recipe import build_recipe
from mtl_perception.training.trainer import Trainer
from mtl_perception.weighting.libmtl import import_libmtl

KEPT = 8
"""Batches that the plain loop has in memory."""
WARM = 3
"""Steps at the beginning that are not timed."""
FILES = 64
"""Images of the data set that is written."""

RECIPES: dict[str, dict[str, Any]] = {
    'street': {
        'tasks': ['semantic', 'depth', 'motion'], 'weighting': 'equal',
        'network': {'encoder': 'resnet10', 'frames': 2, 'finest_stride': 2, 'pyramid': 64},
        'loss': {'class_balance': 0.0, 'detached': ['motion']},
        'data': {'train_seeds': '0:12', 'validation_seeds': '10000:10001', 'plan': {'clips': 6}},
        'stages': [{'height': 224, 'width': 384, 'steps': 1, 'batch': 6}]},
    'jpeg and png': {
        'tasks': ['semantic'], 'weighting': 'equal',
        'network': {'encoder': 'resnet18', 'frames': 1, 'finest_stride': 4, 'pyramid': 64},
        'loss': {'class_balance': 0.0}, 'augmentation': {'zoom': 1.0},
        'stages': [{'height': 256, 'width': 320, 'steps': 1, 'batch': 8}]},
}


@dataclass
class Pairs:
    """
    Seconds of neighbouring steps: of a training and of the plain loop.

    :param plain: does a step of the plain loop.
    """

    plain: Callable[[], None]
    own: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    _left: float = 0.0

    def between(self) -> None:
        """Run a plain step; the time since the last one was a step of the training."""
        began = time.perf_counter()
        if self._left:
            self.own.append(began - self._left)
        self.plain()
        self._left = time.perf_counter()
        self.others.append(self._left - began)

    def ratios(self) -> list[float]:
        """Return how fast the training is, as a multiple of the plain loop, after the start."""
        return [other / own for own, other in zip(self.own, self.others)][WARM:]


class _Paired(Trainer):
    """A training that does a plain step before each of its own."""

    def step(self, batch: Batch, stage: Stage) -> dict[str, Tensor] | None:
        """Run a plain step, then one of the training."""
        self.pairs.between()
        return super().step(batch, stage)

    pairs: Pairs


class Side:
    """
    One recipe, trained in several ways.

    :param recipe: content of a recipe with one stage.
    :param folder: for run folders.
    :param precision: of the recipe.
    :param loaders: processes that read.
    :param steps: that are timed.
    """

    def __init__(
            self, recipe: dict[str, Any], folder: Path, precision: str, loaders: int,
            steps: int) -> None:
        stage = {**recipe['stages'][0], 'steps': WARM + steps + 1}
        data = {**recipe.get('data', {}), 'loaders': loaders}
        self.config = build_recipe(
            {**recipe, 'name': 'benchmark', 'output': str(folder), 'precision': precision,
             'stages': [stage], 'data': data,
             'run': {'threads': torch.get_num_threads(), 'validate_every': 10 ** 6,
                     'checkpoint_every': 10 ** 6}}, TrainingConfig, 'benchmark')
        self.stage = self.config.stages[0]
        self.tasks = tasks_of(self.config)
        with StopRequest() as stop:
            both = open_clips(self.config, '', stop)
        if both is None:
            raise KeyboardInterrupt
        self.train, self.validation = both[0], _First(both[1])
        self.runs = itertools.count()

    def draws(self) -> Draws:
        """Return the clips of a training."""
        return Draws(
            self.train, 0, self.stage.height, self.stage.width, self.config.augmentation,
            self.config.data.window)

    def trainer(self) -> _Paired:
        """Return a new training in its own folder."""
        folder = Path(self.config.output) / str(next(self.runs))
        return _Paired(
            self.config, folder, self.tasks, self.train, self.validation, None,
            {'street_code': '', 'anchors': [], 'camera': (0.0, 0.0, 0.0)})

    def plain(self) -> Pairs:
        """Return the plain loop, whose steps are paired with those of a training."""
        with batches(self.draws(), 0, KEPT, self.stage.batch) as read:
            kept = itertools.cycle(list(read))
        learner = self.trainer().learner
        optimiser = torch.optim.AdamW(learner.parameters(), 1e-3)
        learner.train()

        def step() -> None:
            optimiser.zero_grad()
            losses: dict[str, Tensor] = learner(next(kept))
            total = torch.stack(list(losses.values())).sum()
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

        return Pairs(step)

    def ours(self) -> Pairs:
        """Return the steps of ``mtl train``."""
        trainer = self.trainer()
        trainer.pairs = self.plain()
        with StopRequest() as stop, _quiet():
            trainer.run(stop)
        if stop.received:  # too few steps to compare
            raise KeyboardInterrupt
        return trainer.pairs

    def theirs(self, libmtl: Any, plain: Pairs | None = None) -> Pairs:
        """
        Return the steps of LibMTL's trainer.

        :param libmtl: the package.
        :param plain: what they are paired with; by default the loop of this side.
        """
        learner = self.trainer().learner
        learner.train()
        tasks = [task.name for task in self.tasks]
        pairs = plain or self.plain()

        class OnCpu(libmtl.Trainer):  # type: ignore[misc]
            """LibMTL's trainer, which otherwise insists on a GPU."""

            device = property(lambda self: torch.device('cpu'), lambda self, value: None)

        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of dividing by no test data
            trainer = OnCpu(
                {task: {'metrics': ['none'], 'metrics_fn': _metric(libmtl), 'weight': [1],
                        'loss_fn': _loss(libmtl, learner, task)} for task in tasks},
                'EW', 'HPS', lambda: _Encoder(learner),
                nn.ModuleDict({task: _Decoder(learner, task) for task in tasks}), False, False,
                {'optim': 'adam', 'lr': 1e-3}, None, weight_args={}, arch_args={})
            trainer.train(_Loader(self, tasks, pairs), _Nothing(), 1)
        return pairs

    def reading(self) -> float:
        """Return the seconds that one batch takes to read and augment, median of some."""
        draws, seconds = self.draws(), []
        for number in range(KEPT):
            began = time.perf_counter()
            collate([draws[number * self.stage.batch + place]
                     for place in range(self.stage.batch)])
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds)


class _First:
    """The first clip of a data set."""

    def __init__(self, clips: Clips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        return self.clips[0]


class _Loader:
    """A data loader as LibMTL needs it."""

    def __init__(self, side: Side, tasks: list[str], pairs: Pairs) -> None:
        self.side, self.tasks, self.pairs = side, tasks, pairs

    def __len__(self) -> int:
        return self.side.stage.steps

    def __iter__(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        side = self.side
        with batches(
                side.draws(), 0, len(self), side.stage.batch, side.config.data.loaders) as read:
            for batch in read:
                self.pairs.between()
                yield batch['image'], {
                    task: ClipLearner.target(task, batch[task]) for task in self.tasks}


class _Nothing:
    """No data to test on."""

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class _Encoder(nn.Module):
    """From clips to the features; a tuple, because LibMTL deals the items of a list out."""

    def __init__(self, learner: ClipLearner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.learner.stages(image))


class _Decoder(nn.Module):
    """One task's decoder; the parameters belong to the encoder, which holds the whole network."""

    def __init__(self, learner: ClipLearner, task: str) -> None:
        super().__init__()
        self.decode: Callable[..., Any] = learner.network.decode_shared
        self.detached, self.task = learner.detached, task

    def forward(self, stages: tuple[Tensor, ...]) -> Tensor:
        output: Tensor = self.decode(list(stages), self.detached, [self.task])[self.task]
        return output


def _loss(libmtl: Any, learner: ClipLearner, task: str) -> Any:
    """Return one of the network's losses as a loss of LibMTL."""
    class Loss(libmtl.loss.AbsLoss):  # type: ignore[misc]
        def compute_loss(self, pred: Tensor, gt: Tensor) -> Any:
            return learner.losses[task](pred, gt)

    return Loss()


def _metric(libmtl: Any) -> Any:
    """Return a metric that costs nothing."""
    class Metric(libmtl.metrics.AbsMetric):  # type: ignore[misc]
        def update_fun(self, pred: Tensor, gt: Tensor) -> None:
            pass

        def score_fun(self) -> list[float]:
            return [0.0]

    return Metric()


def write_files(folder: Path, count: int = FILES) -> dict[str, Any]:
    """
    Write a data set of JPEG images and PNG masks of 960x720.

    :param folder: is made.
    :param count: of images.
    :return: its description, see :class:`mtl_perception.datasets.folder.Folder`.
    """
    street = Street(20000, 960, 720)
    for name in ('images', 'masks'):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        frame = street.render(5 * number)
        cv2.imwrite(str(folder / f'images/{number:04d}.jpg'), frame.image[..., ::-1],
                    [cv2.IMWRITE_JPEG_QUALITY, 95])
        cv2.imwrite(str(folder / f'masks/{number:04d}.png'), frame.semantic)
    classes = {name: list(map(int, colour)) for name, colour in zip(
        STREET_SEMANTIC.classes, STREET_SEMANTIC.palette)}
    (folder / 'dataset.yaml').write_text(yaml.safe_dump(
        {'images': 'images', 'semantic': 'masks/{name}.png', 'classes': classes}))
    return {'dataset': 'folder', 'root': str(folder)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress all output."""
    with open(os.devnull, 'w', encoding='utf-8') as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def main() -> None:
    """Print a table of the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().splitlines()[0])
    parser.add_argument('--steps', type=int, default=40, help='of each way (default: 40)')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch (default: 1)')
    parser.add_argument(
        '--loaders', type=int, nargs='+', default=[max(1, (os.cpu_count() or 2) - 1)],
        help='processes that read, several to compare them (default: one per core but one)')
    parser.add_argument('--data', nargs='+', default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument(
        '--precision', default='bf16', help='of plain loop and mtl train (default: bf16)')
    parser.add_argument('--cache', default='~/.cache/mtl_perception', help='of street clips')
    parser.add_argument('--libmtl', type=Path, help='checkout of LibMTL; without, it is left out')
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    libmtl = import_libmtl(arguments.libmtl) if arguments.libmtl else None

    console = Console(stderr=True)
    table = Table(title=f'{arguments.precision}, {arguments.threads} threads')
    for head in ('data', 'loaders', 'way', 'ms per step', 'pace over the plain loop, quartiles',
                 'ms to read a batch'):
        table.add_column(head)

    try:
        _measure(arguments, libmtl, table, console)
    finally:
        # what was measured before a signal or an error is told all the same
        if table.row_count:
            Console(width=120).print(table)


def _measure(
        arguments: argparse.Namespace, libmtl: Any, table: Table, console: Console) -> None:
    """Add a row to the table for every way on every kind of data."""
    with tempfile.TemporaryDirectory() as temporary:
        for data in arguments.data:
            recipe = dict(RECIPES[data])
            if data == 'street':
                recipe['data'] = {**recipe['data'], 'cache': arguments.cache}
            else:
                described = write_files(Path(temporary) / 'files')
                recipe['data'] = {'train': described, 'validation': described}

            for loaders in arguments.loaders:
                place = Path(temporary) / f'{data} {loaders}'
                side = Side(recipe, place, arguments.precision, loaders, arguments.steps)
                ways = {'mtl train': side.ours}
                if libmtl is not None:
                    # LibMTL computes in fp32; it is paired with the plain loop of this precision
                    fp32 = Side(recipe, place / 'fp32', 'fp32', loaders, arguments.steps)
                    ways['LibMTL (fp32)'] = lambda fp32=fp32, side=side: fp32.theirs(  # type: ignore
                        libmtl, side.plain())

                for name, way in ways.items():
                    console.print(f'{data}, {loaders} loaders: {name}')
                    pairs = way()
                    low, middle, high = statistics.quantiles(pairs.ratios(), n=4)
                    table.add_row(
                        data, str(loaders), name, f'{1e3 * statistics.median(pairs.own):.0f}',
                        f'{middle:.3f}, {low:.3f} to {high:.3f}', f'{1e3 * side.reading():.0f}')


if __name__ == '__main__':
    raise SystemExit(interruptible(main, 'benchmark'))
