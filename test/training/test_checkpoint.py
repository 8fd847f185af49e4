# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import os
import random
import time

import numpy as np
import pytest
import torch

from mtl_perception.errors import CheckpointError, StorageError
from mtl_perception.training import checkpoint
from mtl_perception.training.checkpoint import CheckpointFolder, read_checkpoint, write_checkpoint

STATE = {'network': {'weight': torch.arange(4.0)}, 'step': 3, 'names': ['a']}


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    write_checkpoint(STATE, tmp_path / 'a.ckpt')
    found = read_checkpoint(tmp_path / 'a.ckpt')
    assert torch.equal(found.pop('network')['weight'], STATE['network']['weight'])
    assert found == {'step': 3, 'names': ['a']}


@pytest.mark.parametrize('place', [0, 10, 45, 200, -1])
def test_a_single_flipped_bit_is_refused(tmp_path, place):
    path = tmp_path / 'a.ckpt'
    write_checkpoint(STATE, path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)

    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_the_last_two_are_kept_and_the_best_beside_them(tmp_path):
    folder = CheckpointFolder(tmp_path)
    for step in (1, 2, 3):
        folder.save({'step': step}, step, is_best=step == 1)
    assert [path.name for path in folder.paths()] == ['step_00000003.ckpt', 'step_00000002.ckpt']
    assert read_checkpoint(folder.best) == {'step': 1}


def test_a_disk_that_is_full_for_one_of_two_loses_no_best_weights(tmp_path, monkeypatch):
    """The step is trained again then, and finds the best where it belongs."""
    folder = CheckpointFolder(tmp_path)
    folder.save({'step': 1}, 1, is_best=True)
    written = []

    def once(state, path):
        if written:
            raise StorageError('the disk is full')
        written.append(path.name)
        write_checkpoint(state, path)

    monkeypatch.setattr(checkpoint, 'write_checkpoint', once)
    with pytest.raises(StorageError):
        folder.save({'step': 2}, 2, is_best=True)
    assert written == ['best.ckpt']
    assert folder.load_newest() == {'step': 1}


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    folder = CheckpointFolder(tmp_path)
    assert folder.load_newest() is None

    for step in (1, 2):
        folder.save({'step': step}, step)
    newest, older = folder.paths()
    newest.write_bytes(newest.read_bytes()[:-5])

    with pytest.warns(UserWarning, match='falling back'):
        assert folder.load_newest() == {'step': 1}

    older.write_bytes(b'')
    with pytest.warns(UserWarning, match='falling back'), pytest.raises(
            CheckpointError, match='none of its 2'):
        folder.load_newest()


@pytest.mark.parametrize(('call', 'number', 'step'), [
    ('open', 1, 1), ('fsync', 1, 1), ('close', 1, 1), ('replace', 1, 1),
    # replaced before the folder is flushed: then the new one is whole
    ('open', 2, 2), ('fsync', 2, 2), ('close', 2, 2)])
def test_a_failing_system_call_leaves_a_whole_checkpoint(
        tmp_path, monkeypatch, call, number, step):
    path = tmp_path / 'a.ckpt'
    write_checkpoint({'step': 1}, path)
    real, calls = getattr(os, call), []

    def failing(*arguments, **keywords):
        calls.append(call)
        if len(calls) == number:
            raise OSError(28, 'No space left on device')
        return real(*arguments, **keywords)

    monkeypatch.setattr(os, call, failing)

    with pytest.raises(StorageError, match='No space left') as caught:
        write_checkpoint({'step': 2}, path)

    monkeypatch.undo()
    assert caught.value.exit_code == 5
    assert read_checkpoint(path)['step'] == step
    assert not list(tmp_path.glob('.*.part'))


def test_a_process_killed_while_writing_leaves_a_readable_checkpoint(tmp_path):
    path = tmp_path / 'a.ckpt'
    weights = torch.zeros(200_000)
    write_checkpoint({'weights': weights, 'step': 0}, path)
    for attempt in range(12):
        child = os.fork()
        if child == 0:
            step = 0
            while True:
                step += 1
                write_checkpoint({'weights': weights, 'step': step}, path)
        time.sleep(0.02 + 0.007 * attempt)
        os.kill(child, 9)
        os.waitpid(child, 0)
        assert torch.equal(read_checkpoint(path)['weights'], weights)


def test_random_states_come_back():
    states = checkpoint.random_states()
    first = (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002
    checkpoint.restore_random_states(states)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first  # noqa: NPY002
