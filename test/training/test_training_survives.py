# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Trainings that are killed, run out of space or find their files changed.

They are forked, which a process with threads may not do, as other tests start them: this file is
run by itself, with MTL_PERCEPTION_CAMPAIGN=1 for a sample and MTL_PERCEPTION_FULL=1 for all.
"""

import builtins
import errno
import io
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path

import killed_runs
import pytest
import torch
from killed_runs import ended, forked, killed_after, outcome, same, train

from mtl_perception import cli
from mtl_perception.errors import CheckpointError
from mtl_perception.manifest import read_model
from mtl_perception.training.checkpoint import (
    CheckpointFolder,
    read_checkpoint,
    write_checkpoint,
)

FULL = bool(os.environ.get('MTL_PERCEPTION_FULL'))
"""Whether the campaigns are run in full length; otherwise a sample of each."""

pytestmark = pytest.mark.skipif(
    not (FULL or os.environ.get('MTL_PERCEPTION_CAMPAIGN')),
    reason='forks trainings: run it alone, with MTL_PERCEPTION_CAMPAIGN=1')

ROUNDS = (  # signal, loading processes, how many stop points: 100 in all
    (signal.SIGKILL, 0, 25), (signal.SIGTERM, 0, 20), (signal.SIGINT, 0, 20),
    (signal.SIGKILL, 2, 15), (signal.SIGTERM, 2, 10), (signal.SIGINT, 2, 10))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Return the outcome of a training that nobody disturbs, and how long it took."""
    before = Path.cwd()
    folder = tmp_path_factory.mktemp('campaign')
    killed_runs.write_data(folder)
    began = time.monotonic()

    assert ended(train('whole')) == 0

    seconds = time.monotonic() - began
    yield outcome('whole'), seconds, folder
    os.chdir(before)


def test_the_comparison_tells_another_seed(whole):
    assert ended(train('other', '--seed', '1')) == 0
    found = outcome('other')
    assert not same(found[0]['network'], whole[0][0]['network'])
    assert found[1] != whole[0][1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(('number', 'loaders', 'count'), ROUNDS)
def test_a_training_stopped_anywhere_ends_as_if_it_had_not_been(whole, number, loaders, count):
    generator = random.Random(f'{number} {loaders}')
    count = count if FULL else 2
    (state, log), seconds, _ = whole
    words = ['--data.loaders', str(loaders)]
    stopped = 0
    tries = 0

    while stopped < count:
        tries += 1
        assert tries < 6 * count, f'only {stopped} of {tries} were stopped before their end'
        output = f'{number.name}_{loaders}_{tries}'

        # stop it at a random time; without a checkpoint or at the end there is nothing to resume
        delay = generator.uniform(0.1, 1.1) * seconds
        code = killed_after(train(output, *words), delay, number)
        names = [path.stem for path in Path(output).glob('run/checkpoints/step_*.ckpt')]
        if not names or 'step_00000012' in names:
            shutil.rmtree(output, ignore_errors=True)
            continue
        assert code == (-9 if number == signal.SIGKILL else 75), Path('log').read_text()[-2000:]

        # resumed, it ends as the one that was not stopped
        assert ended(train(output, '--resume', *words)) == 0, Path('log').read_text()[-2000:]
        found = outcome(output)
        assert same(found[0], state), f'{output} after {delay:.2f} s'
        assert found[1] == log, f'{output} after {delay:.2f} s'
        shutil.rmtree(output)
        stopped += 1


@pytest.mark.timeout(900)
@pytest.mark.parametrize(('naive', 'kills'), [
    (False, 60), (True, 60), pytest.param(False, 2000 if FULL else 300, marks=pytest.mark.slow)])
def test_a_checkpoint_survives_kill_9_while_it_is_written(tmp_path, monkeypatch, naive, kills):
    """
    Each child writes checkpoints, acknowledging each, until it is killed.

    With ``naive``, the positive control, it writes onto the file itself: that must be noticed.
    """
    monkeypatch.chdir(tmp_path)
    generator = random.Random(0)
    folder = CheckpointFolder(tmp_path / 'checkpoints')
    unreadable = older = acknowledged = 0

    for _ in range(kills):
        ours, theirs = os.pipe()

        def job(first=acknowledged, pipe=theirs):
            for number in range(first + 1, first + 10000):
                state = {'number': number, 'weights': torch.full((30000,), float(number))}
                if naive:

                    # in blocks, so that the kill can come between two of them
                    path = folder.folder / 'step_00000000.ckpt'
                    path.parent.mkdir(exist_ok=True)
                    with open(path, 'wb') as stream:
                        buffer = io.BytesIO()
                        write_checkpoint(state, tmp_path / 'whole')
                        buffer.write((tmp_path / 'whole').read_bytes())

                        for start in range(0, len(buffer.getvalue()), 4096):
                            stream.write(buffer.getvalue()[start:start + 4096])
                            stream.flush()
                else:
                    folder.save(state, number)
                os.write(pipe, number.to_bytes(8, 'big'))
            return 0

        child = forked(job)
        os.close(theirs)
        time.sleep(generator.uniform(0.002, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(ours, 'rb') as stream:
            content = stream.read()
        if content:
            acknowledged = int.from_bytes(content[len(content) // 8 * 8 - 8:][:8], 'big')
        if not acknowledged:
            continue
        try:
            for path in folder.paths():
                read_checkpoint(path)
            state = folder.load_newest()
        except CheckpointError:
            unreadable += 1
            continue
        older += state['number'] < acknowledged
        acknowledged = max(acknowledged, state['number'])

    assert acknowledged > kills / 4

    if naive:
        assert unreadable > 0
    else:
        assert (unreadable, older) == (0, 0)


def failing(nth):
    """Let the n-th call that changes a file fail, of this process; ``nth`` 0 only counts."""
    calls = [0]

    def watched(original, changes):
        def call(*arguments, **keywords):
            if changes(*arguments, **keywords):
                calls[0] += 1
                if calls[0] == nth:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments, **keywords)

        return call

    def opens(_, mode='r', *rest, **keywords):
        return any(letter in mode for letter in 'wax+')

    builtins.open = watched(builtins.open, opens)
    io.open = builtins.open
    os.fsync = watched(os.fsync, lambda *_: True)
    os.replace = watched(os.replace, lambda *_: True)
    return calls


def checkpoints_of(output):
    return [read_checkpoint(path)['progress']['step']
            for path in CheckpointFolder(Path(output) / 'run' / 'checkpoints').paths()]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_failed_write_exits_with_5_and_keeps_the_checkpoints(whole):
    """The n-th write fails for every n; a resumed training then comes to the same end."""
    def counting():
        calls = failing(0)
        code = cli.main(['train', 'recipe.yaml', '--output', 'counted'])
        Path('count').write_text(str(calls[0]))
        return code

    assert ended(forked(counting)) == 0

    total = int(Path('count').read_text())
    assert total > 50

    generator = random.Random(0)
    points = sorted({1, 2, 3, total, *generator.sample(range(1, total), 8)})
    if FULL:
        points = list(range(1, total + 1))

    for nth in points:
        output = f'full_{nth}'
        Path('log').write_text('')
        code = ended(train(output, prepare=lambda nth=nth: failing(nth)))

        # the right exit code, no traceback, and no damaged or temporary file
        text = Path('log').read_text()
        assert code == 5, (nth, text[-1500:])
        assert 'Traceback' not in text or 'tensorboard' in text, (nth, text[-1500:])
        steps = checkpoints_of(output)  # each is whole
        assert not list(Path(output).rglob('.*.part'))

        if nth == points[len(points) // 2]:
            assert steps
            assert ended(train(output, '--resume')) == 0
            found = outcome(output)
            assert same(found[0], whole[0][0])
        shutil.rmtree(output, ignore_errors=True)


@pytest.mark.parametrize('share', [0.2, 0.6, 0.95])
def test_a_full_disk_ends_with_5(whole, share):
    """A limit on the size of files stands for the disk: writes beyond it fail half way."""
    largest = max(path.stat().st_size for path in Path('whole').rglob('*.ckpt'))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * largest),) * 2)

    Path('log').write_text('')

    assert ended(train(f'limited_{share}', prepare=limit)) == 5, Path('log').read_text()[-1500:]

    text = Path('log').read_text()
    assert 'Traceback' not in text
    assert 'File too large' in text
    assert not list(Path(f'limited_{share}').rglob('*.part'))


@pytest.mark.parametrize('kind', ['checkpoint', 'model'])
def test_every_one_of_ten_thousand_flipped_bits_is_detected(whole, tmp_path, kind):
    state = {'weights': torch.randn(3000), 'step': 3}
    path = tmp_path / 'some.ckpt'

    if kind == 'checkpoint':
        write_checkpoint(state, path)
        read = read_checkpoint
    else:
        source = next(Path('whole/run').glob('run.safetensors'))
        path = tmp_path / source.name
        shutil.copy(source, path)
        shutil.copy(source.with_suffix('.json'), path.with_suffix('.json'))
        read = read_model

    read(path)  # the control: unchanged, it is accepted

    content = bytearray(path.read_bytes())
    generator = random.Random(1)
    count = 10000 if kind == 'checkpoint' else 300
    accepted = 0

    with open(path, 'r+b', buffering=0) as stream:
        for _ in range(count):
            place, bit = generator.randrange(len(content)), 1 << generator.randrange(8)
            os.pwrite(stream.fileno(), bytes([content[place] ^ bit]), place)
            try:
                read(path)
                accepted += 1
            except CheckpointError:
                pass
            os.pwrite(stream.fileno(), bytes([content[place]]), place)

    assert accepted == 0

    read(path)
