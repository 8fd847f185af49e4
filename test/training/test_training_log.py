# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from mtl_perception.training.callbacks import Run
from mtl_perception.training.config import Stage, to_plain
from mtl_perception.training.progress_log import TrainingLog
from mtl_perception.training.run_readme import write_readme
from mtl_perception.training.trainer import _work


def test_the_time_left_follows_the_work_and_not_the_number_of_steps(tmp_path):
    def work(steps):  # after ten steps each takes three times as long
        return steps + 2 * max(0, steps - 10)

    log = TrainingLog(work)
    log.start(Run('one', tmp_path, {}, steps=20, done=5))
    assert log.seconds_left(10, 5.0) == pytest.approx(30.0)
    assert log.seconds_left(15, 20.0) == pytest.approx(15.0)
    assert log.seconds_left(20, 35.0) == 0.0
    log.end('finished')


def test_the_work_of_a_step_is_its_pixels():
    stages = [Stage(32, 64, 10, batch=2), Stage(64, 64, 5, batch=3)]
    assert [_work(stages, steps) for steps in (0, 10, 11)] == [
        0, 10 * 2 * 32 * 64, 10 * 2 * 32 * 64 + 3 * 64 * 64]


def test_a_resumed_log_drops_the_lines_of_repeated_steps(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    for done, steps in ((0, {2: 2.0, 4: 4.0, 6: 6.0}), (4, {6: 60.0})):
        log = TrainingLog()
        log.start(Run('one', tmp_path, {}, steps=10, done=done))
        for step, loss in steps.items():
            log.step(step - 1, {})
            log.step(step, {'loss': {'depth': loss}, 'lr': 0.1})
        log.end('finished')
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]

    assert [(line['step'], line['loss']['depth']) for line in lines] == [
        (2, 2.0), (4, 4.0), (6, 60.0)]

    board = EventAccumulator(str(tmp_path)).Reload()
    assert [(item.step, item.value) for item in board.Scalars('train/loss/depth')] == [
        (2, 2.0), (4, 4.0), (6, 60.0)]


def test_the_readme_names_all_data_sets_of_a_mixture(config, tmp_path):
    described = {'mix': {'a': {'dataset': 'camvid', 'split': 'train'},
                         'b': {'dataset': 'kitti2015', 'split': 'all'}}}
    recipe = to_plain(config)
    recipe['data'] |= {'train': described, 'validation': {'dataset': 'camvid', 'split': 'val'}}
    (tmp_path / 'metrics.jsonl').touch()
    write_readme(tmp_path, 'mtl train x.yaml', recipe, {}, 'running')

    assert '| data | camvid train, kitti2015 all, chosen by camvid val |' in (
        tmp_path / 'README.md').read_text()
