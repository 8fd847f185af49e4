# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two ranks learn what one with the whole batch learns."""

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import Boxes, TinyNetwork
from torch import distributed, multiprocessing, nn

from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import PerceptionError
from mtl_perception.losses import (
    BoxLoss,
    DepthInUnit,
    DepthL1Loss,
    HuberLoss,
    InstanceL1Loss,
    LogDepthLoss,
    MotionCrossEntropy,
    PixelCrossEntropy,
)
from mtl_perception.tasks import STREET_TASKS
from mtl_perception.training import trainer as trainer_module
from mtl_perception.training.batch_norm import synchronise
from mtl_perception.training.config import (
    NetworkSettings,
    OptimiserSettings,
    RunSettings,
    Stage,
    TrainingConfig,
)
from mtl_perception.training.dataloading import collate
from mtl_perception.training.distributed import Ranks, join
from mtl_perception.training.trainer import Trainer

STRATEGIES = ('equal', 'uncertainty', 'gradnorm', 'dwa', 'geometric')


class Sparse(Boxes):
    """Clips with unequal numbers of labelled pixels; some have no depth, some no motion."""

    def __getitem__(self, number):
        sample = super().__getitem__(number)
        semantic = sample.semantic.copy()
        semantic[:, :, :6 * number] = 255
        depth, motion = sample.depth, sample.motion
        return Sample(sample.image, semantic, None if number % 3 == 1 else depth,
                      None if number % 4 == 2 else motion)


class Never:
    received = None


class OnOneRank:
    """A signal that only the second rank receives, after three steps."""

    def __init__(self, rank):
        self.rank, self.looked = rank, 0

    @property
    def received(self):
        self.looked += 1
        return 'SIGTERM' if self.rank == 1 and self.looked > 3 else None


def settings(config, name):
    return replace(
        config, weighting=name, stages=[Stage(64, 64, 8, 4, lr=1e-2)],
        optimiser=OptimiserSettings(average=0.8, kind='sgd'),
        run=RunSettings(log_every=1, validate_every=4, checkpoint_every=4))


def train(config, folder, ranks, stop=None):
    trainer = Trainer(
        config, Path(folder), STREET_TASKS, Sparse(8), Sparse(5), [1.0 + 0.5 * k for k in
                                                                range(12)], {}, '', ranks)
    finished = trainer.run(stop or Never())
    return finished, trainer


def after_unlabelled(config, folder, ranks):
    """Return the weights after steps with parts that nobody has a label for."""
    sgd = OptimiserSettings(average=0.8, kind='sgd', accumulate=2)
    trainer = Trainer(replace(settings(config, 'equal'), optimiser=sgd), Path(folder),
                      STREET_TASKS, Boxes(8), Boxes(5), None, {}, '', ranks)
    trainer.learner.train()
    stage, own = Stage(64, 64, 8, 4, lr=1e-2), 4 // ranks.count
    for half in (0, 1, 0):  # labelled in the first part, in none, in the first
        batch = collate([Boxes(8)[number] for number in range(4)])
        # of each rank, the second part is that of clips 2 and 3, or one of them
        numbers = [0, 1, 2, 3] if ranks.count == 1 else [ranks.rank, 2 + ranks.rank]
        batch = {name: item[numbers] for name, item in batch.items()}
        batch['semantic'][own // 2:] = 255
        batch['motion'][own // 2:] = 255
        batch['depth'][own // 2:] = torch.nan
        if half:
            batch = {'image': batch['image']}
        trainer.step(batch, stage)
    return dict(trainer.learner.network.state_dict())


def tiny(folder):
    return TrainingConfig(
        name='tiny', output=str(folder), stages=[Stage(64, 64, 8, 4)],
        network=NetworkSettings(encoder='resnet10'))


def meet(rank, port):
    """Say where the ranks meet, as ``torchrun`` does."""
    os.environ |= {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': '2',
                   'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}


def both(target, *arguments):
    """Start a function as two ranks; return the queue of what they say, and the processes."""
    context = multiprocessing.get_context('spawn')
    said, port = context.Queue(), free_port()
    processes = [
        context.Process(target=target, args=(rank, port, *arguments, said)) for rank in (0, 1)]
    for process in processes:
        process.start()
    return said, processes


def run(rank, folder, config, port):
    torch.set_num_threads(1)
    trainer_module.build_network = TinyNetwork
    meet(rank, port)

    with join('auto') as ranks:
        # a training with each strategy
        for name in STRATEGIES:
            _, trainer = train(settings(config, name), f'{folder}/{name}', ranks)
            torch.save(trainer.weighting.state_dict(), f'{folder}/{name}_{rank}.pt')

        # one that only one rank is asked to stop, and one with unlabelled parts
        finished, trainer = train(
            settings(config, 'equal'), f'{folder}/stopped', ranks, OnOneRank(rank))
        torch.save([finished, trainer.progress.step], f'{folder}/stopped_{rank}.pt')
        torch.save(after_unlabelled(config, f'{folder}/parts', ranks), f'{folder}/parts_{rank}.pt')

        # batch normalisation over parts of unequal size
        torch.manual_seed(3)
        norm = synchronise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), ranks)
        image = torch.randn(6, 3, 8, 8)
        part = image[:2] if rank == 0 else image[2:]
        part.requires_grad_(True)
        output = norm(part)
        (output ** 3).sum().backward()

        for item in norm.parameters():
            distributed.all_reduce(item.grad)
        torch.save(
            [output.detach(), part.grad, [item.grad for item in norm.parameters()],
             dict(norm.state_dict())], f'{folder}/norm_{rank}.pt')


def free_port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def lose(rank, port, way, said):
    meet(rank, port)
    try:
        with join('cpu') as ranks:
            ranks.wait()
            if rank == 1 and way == 'lost':
                os._exit(9)
            if way == 'bug':
                raise RuntimeError('a bug')
            ranks.wait()
    except (PerceptionError, RuntimeError) as error:
        said.put((type(error).__name__, getattr(error, 'exit_code', 1), str(error)))


@pytest.mark.parametrize(('way', 'kind', 'code', 'words'), [
    ('lost', 'DeviceError', 7, 'the connection to the other ranks broke'),
    ('bug', 'RuntimeError', 1, 'a bug'),  # the control: another error stays what it is
])
def test_a_lost_rank_is_said_by_the_others(way, kind, code, words):
    said, processes = both(lose, way)
    found = said.get(timeout=60)
    for process in processes:
        process.join(30)

    assert found[:2] == (kind, code)
    assert words in found[2]


def leave(rank, port, folder, said):
    torch.set_num_threads(1)
    trainer_module.build_network = TinyNetwork
    meet(rank, port)
    with join('cpu') as ranks:
        train(settings(tiny(folder), 'uncertainty'), folder, ranks)
        during = gloo_threads()
    said.put((during, gloo_threads()))


def gloo_threads():
    """Return how many threads of this process are those of connections to other ranks."""
    names = [task.joinpath('comm').read_text() for task in Path('/proc/self/task').iterdir()]
    return sum('gloo' in name for name in names)


def test_no_connection_outlives_a_training(tmp_path):
    """One that does may drop a tensor while Python ends, which aborts the process."""
    said, processes = both(leave, str(tmp_path))
    found = [said.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0

    for during, after in found:
        assert during > 0
        assert after == 0


def log_of(folder, kind):
    lines = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    return [line for line in lines if line['kind'] == kind]


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """Return the folder in which two processes have trained with every strategy."""
    folder = tmp_path_factory.mktemp('two')
    config = tiny(folder)
    multiprocessing.spawn(run, (str(folder), config, free_port()), nprocs=2)
    return folder, config


@pytest.mark.parametrize('name', STRATEGIES)
def test_two_ranks_have_the_curve_of_one_with_the_whole_batch(
        two, tmp_path, name, monkeypatch, small_network):
    folder, config = two
    train(settings(config, name), tmp_path, Ranks())
    mine, theirs = log_of(tmp_path, 'train'), log_of(folder / name, 'train')
    assert len(mine) == len(theirs) == 8
    for one, other in zip(mine, theirs):
        assert one['loss'].keys() == other['loss'].keys()
        for kind in ('loss', 'weight'):
            assert list(one[kind].values()) == pytest.approx(
                list(other[kind].values()), rel=2e-4, abs=1e-6), (one['step'], kind)
    # what is learned moves: the agreement is not that of two that stand still
    assert mine[-1]['loss']['semantic'] < 0.9 * mine[0]['loss']['semantic']

    figures = [log_of(place, 'validation')[-1]['depth']['abs_rel']
               for place in (tmp_path, folder / name)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-2)


@pytest.mark.parametrize('name', STRATEGIES)
def test_the_weights_of_both_ranks_are_identical(two, name):
    one, other = (torch.load(two[0] / f'{name}_{rank}.pt', weights_only=True) for rank in (0, 1))
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_averaging_the_means_of_both_ranks_would_not_be_the_same():
    """The control: the clips are so sparse that it matters what a loss is a mean over."""
    labels = [torch.from_numpy(np.stack([Sparse(8)[number].semantic for number in pair]))
              for pair in ((0, 1), (2, 3))]
    counts = [int((label != 255).sum()) for label in labels]
    assert counts[0] > 1.2 * counts[1]


def test_parts_without_labels_leave_the_ranks_together(two, tmp_path, small_network):
    folder, config = two
    one, other = (torch.load(folder / f'parts_{rank}.pt', weights_only=True) for rank in (0, 1))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    alone = after_unlabelled(config, tmp_path, Ranks())
    torch.testing.assert_close(one, alone, rtol=1e-4, atol=1e-5)


def test_a_signal_to_one_rank_stops_both_after_the_same_step(two):
    one, other = (torch.load(two[0] / f'stopped_{rank}.pt', weights_only=True)
                  for rank in (0, 1))
    assert one == other
    assert one[0] is False
    assert 0 < one[1] < 8
    assert list((two[0] / 'stopped' / 'checkpoints').glob('step_*.ckpt'))


def test_synchronised_batch_normalisation_is_that_of_the_whole_batch(two):
    torch.manual_seed(3)
    norm = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    image = torch.randn(6, 3, 8, 8).requires_grad_(True)
    output = norm(image)
    (output ** 3).sum().backward()
    parts = [torch.load(two[0] / f'norm_{rank}.pt', weights_only=True) for rank in (0, 1)]
    close = {'rtol': 1e-4, 'atol': 1e-4}

    torch.testing.assert_close(torch.cat([part[0] for part in parts]), output.detach(), **close)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), image.grad, **close)
    for part in parts:
        torch.testing.assert_close(
            part[2], [item.grad for item in norm.parameters()], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(part[3], dict(norm.state_dict()), **close)


IDS = torch.zeros(4, 8, 8, dtype=torch.int32)
IDS[0, :4], IDS[1, :2, :2], IDS[1, 4:, 4:], IDS[3, 1, :5] = 1, 1, 2, 7
BOXES = torch.full((4, 3, 5), -1.0)
BOXES[0, 0], BOXES[0, 1] = torch.tensor([0., 0, 20, 20, 0]), torch.tensor([30., 30, 60, 50, 1])
BOXES[2, 0], BOXES[3, :, 4] = torch.tensor([5., 5, 40, 60, 1]), -2
DEPTH = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(0)) * 50 + 1
DEPTH[0, :3], DEPTH[2] = torch.nan, torch.inf
CLASSES = torch.randint(0, 3, (4, 8, 8), generator=torch.Generator().manual_seed(1)).byte()
CLASSES[1], CLASSES[3, :5] = 255, 255


@pytest.mark.parametrize(('loss', 'target', 'channels'), [
    (PixelCrossEntropy(), CLASSES, 3), (PixelCrossEntropy([1.0, 0.2, 3.0]), CLASSES, 3),
    (MotionCrossEntropy(4.0), CLASSES.clamp(max=1), 2), (LogDepthLoss(80.0), DEPTH, 1),
    (DepthL1Loss(), DEPTH, 1), (HuberLoss('disparity_px'), DEPTH.clamp(max=40), 1),
    (DepthInUnit(DepthL1Loss(), 'metres', 30.0), DEPTH, 1),
    (InstanceL1Loss(), IDS, 2), (InstanceL1Loss(0.5), IDS, 2)])
@pytest.mark.parametrize('cut', [1, 2, 3])
def test_a_loss_is_the_mean_of_its_parts_by_their_amounts(loss, target, channels, cut):
    output = torch.randn(4, channels, 8, 8, generator=torch.Generator().manual_seed(2))
    whole = loss(output, target)
    total, amounts = 0.0, 0.0
    for part in (slice(cut), slice(cut, 4)):
        amount = loss.amount(target[part])
        value = loss(output[part], target[part])
        assert (amount > 0) == (value is not None)
        if value is not None:
            total, amounts = total + amount * value.double(), amounts + amount

    assert float(total / amounts) == pytest.approx(float(whole), rel=1e-5)


def test_the_box_loss_of_a_batch_is_the_mean_of_its_parts():
    loss = BoxLoss([[0.3, 0.3], [0.6, 0.9]], 2, 32)
    output = torch.randn(4, 14, 2, 2, generator=torch.Generator().manual_seed(2))
    whole = loss(output[:1], BOXES[:1])
    assert float(loss.amount(BOXES[:1])) == 2
    assert float(loss.amount(BOXES)) == 3
    assert float(loss.amount(BOXES[3:])) == 0
    assert loss(output[3:], BOXES[3:]) is None

    both = (2 * whole + loss(output[2:], BOXES[2:])) / 3
    found = loss(output[[0, 2]], BOXES[[0, 2]])
    assert float(found) == pytest.approx(float(both), rel=1e-5)
