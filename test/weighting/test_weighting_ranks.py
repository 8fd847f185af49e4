# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two ranks with different batches keep the same state."""

import importlib.util

import torch
import torch.distributed.nn  # imported after the meeting, its defaults would hold the connection
from batch_of_losses import TASKS, Losses
from torch import distributed, multiprocessing

from mtl_perception.weighting import WEIGHTINGS, Shared, build_weighting
from mtl_perception.weighting.convolution import last_convolution
from mtl_perception.weighting.gradient_norms import gradient_norms
from mtl_perception.weighting.shared import tapped, task_gradient

METHODS = ('mgda', 'pcgrad', 'aligned_mtl', 'nash') if importlib.util.find_spec('torchjd') else ()
COUNTED = {'epoch', 'draws'}
"""Epochs and random draws, which do not depend on the losses."""
NAMES = [name for name in WEIGHTINGS if name != 'gradient_method']
BATCHES = (  # for each rank the losses of three steps
    ({'semantic': 1.0, 'depth': 4.0, 'motion': 2.0}, {'semantic': 2.0, 'depth': 3.0},
     {'semantic': 0.5, 'depth': 2.0, 'motion': 1.0}),
    ({'semantic': 3.0, 'depth': 1.0}, {'semantic': 1.0, 'depth': 1.0},
     {'semantic': 2.5, 'depth': 0.1, 'motion': 4.0}))

IMAGES = torch.randn(2, 64, 4, 4, generator=torch.Generator().manual_seed(0))


def learn(name, batches, rank=None):
    """Return the state of a strategy after three epochs of three steps."""
    weighting = build_weighting(name, TASKS)
    others = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.SGD([*weighting.parameters(), others], 0.1)
    for _ in range(3):
        for values in batches:
            optimiser.zero_grad()
            Losses(**values).total(weighting).backward()
            optimiser.step()
        weighting.end_epoch()
    state = weighting.state_dict()
    # dwa and dynamic scaling hold sums of the running epoch, which have been cleared
    return {key: item for key, item in state.items() if not key.endswith('last_weights')}


def combined(method, losses):
    """Return the weights that a method gives to the gradients of a batch."""
    weighting = build_weighting(
        'gradient_method', TASKS, {'gradient_method': {'method': method}})
    Losses(**losses).total(weighting)
    return torch.tensor(list(weighting.weights().values()))


def norms_of(images):
    """Return the norms at a convolution, each that of the gradient of a mean."""
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(64, 64, 3)
    taps = tapped([layer(images)])
    losses = {'semantic': taps[0].square().mean(), 'depth': (taps[0] - 1).abs().mean()}
    shared = Shared(taps, layer.weight)
    assert last_convolution(shared, len(losses)) is not None
    return gradient_norms(
        list(losses), {task: task_gradient(loss, taps) for task, loss in losses.items()}, shared)


def run(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2)
    found = {name: learn(name, BATCHES[rank]) for name in NAMES}
    found |= {method: {'weights': combined(method, BATCHES[rank][2])} for method in METHODS}
    found['norms'] = norms_of(IMAGES[rank:rank + 1])
    torch.save(found, f'{folder}/{rank}.pt')
    distributed.destroy_process_group()


def test_two_ranks_agree(tmp_path):
    multiprocessing.spawn(run, (str(tmp_path),), nprocs=2)
    one, other = (torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in (0, 1))
    for name in NAMES:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)
        # the control: on its own, the first rank would have come to something else
        alone = learn(name, BATCHES[0])
        same = all(torch.equal(alone[key], one[name][key]) for key in alone)
        assert same == (not alone.keys() - COUNTED), name

    for method in METHODS:
        torch.testing.assert_close(one[method], other[method], rtol=0, atol=0)

    if METHODS:  # the control; in PCGrad nothing is in conflict here
        assert not torch.equal(one['mgda']['weights'], combined('mgda', BATCHES[0][2]))
    # the mean over the ranks that have the task: 2.5 / 2 in the first step, and so on
    wanted = [(2 + 1.5 + 1.5) / 3, (2.5 + 2 + 1.05) / 3, (2 + 2.5) / 2]

    torch.testing.assert_close(one['handcrafted']['initial.sums'] / torch.tensor([9., 9., 6.]),
                               torch.tensor(wanted))

    # the norm of the mean gradient, which is that of the mean loss; alone, each had another
    whole = norms_of(IMAGES)

    for rank, found in enumerate((one, other)):
        torch.testing.assert_close(found['norms'], whole)
        assert not torch.allclose(norms_of(IMAGES[rank:rank + 1]), whole, rtol=0.01)
