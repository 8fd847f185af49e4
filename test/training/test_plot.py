# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Curves of trainings: what is read from a log, and what is refused."""

import json

import numpy as np
import pytest

from mtl_perception import cli
from mtl_perception.errors import DataError
from mtl_perception.training.plot import draw, read_curves


@pytest.fixture
def run_folder(tmp_path):
    """Return a function that writes a run folder with the given losses."""
    def write(name, losses, cut=False):
        folder = tmp_path / name
        folder.mkdir()
        lines = [json.dumps({
            'kind': 'train', 'step': 20 * (number + 1), 'loss': {'depth': loss},
            'weight': {'depth': 1.0}, 'lr': 0.1, 'frames_per_second': 5.0,
            'gradient_norm': 2.0})
            for number, loss in enumerate(losses)]
        lines.append(json.dumps({
            'kind': 'validation', 'step': 40, 'depth': {'abs_rel': 0.25, 'delta1': None},
            'merit': 0.5}))
        (folder / 'metrics.jsonl').write_text('\n'.join(lines) + ('\n{"kind"' if cut else '\n'))
        return folder

    return write


@pytest.mark.parametrize('cut', [False, True])
def test_curves_hold_the_metrics_of_the_log(run_folder, cut):
    curves = read_curves(run_folder('one', [4.0, 2.0, 1.0], cut))
    assert set(curves) == {
        'loss of depth', 'weight of depth', 'learning rate', 'gradient norm',
        'validation AbsRel'}

    steps, values = curves['loss of depth']
    np.testing.assert_array_equal(steps, [20, 40, 60])
    np.testing.assert_array_equal(values, [4.0, 2.0, 1.0])
    np.testing.assert_array_equal(curves['validation AbsRel'], ([40], [0.25]))


def test_smoothing_is_a_running_mean_that_is_shorter_at_the_ends(run_folder):
    curves = read_curves(run_folder('one', [6.0, 3.0, 0.0, 3.0]), smooth=3)
    np.testing.assert_allclose(curves['loss of depth'][1], [4.5, 3.0, 2.0, 1.5])
    np.testing.assert_array_equal(curves['validation AbsRel'][1], [0.25])


def test_each_run_is_a_line_in_every_panel_and_in_the_legend(run_folder):
    runs = {name: read_curves(run_folder(name, [2.0, 1.0])) for name in ('one', 'two')}
    figure = draw(runs)
    titled = {axes.get_title(): len(axes.lines) for axes in figure.axes if axes.get_title()}
    assert titled == dict.fromkeys(runs['one'], 2)

    legend = figure.axes[-1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ['one', 'two']


def test_the_command_draws_several_runs(run_folder, tmp_path, capsys):
    folders = [str(run_folder(name, [2.0, 1.0])) for name in ('one', 'two')]
    assert cli.main(['plot', *folders, '--output', str(tmp_path / 'a' / 'curves.svg')]) == 0
    assert 'drew 2 run(s)' in capsys.readouterr().out
    assert '<svg' in (tmp_path / 'a' / 'curves.svg').read_text()


def test_what_is_no_run_is_refused(run_folder, tmp_path, capsys):
    with pytest.raises(DataError, match=r'nowhere: not a run folder.*such as runs/street'):
        read_curves(tmp_path / 'nowhere')

    empty = tmp_path / 'empty'
    empty.mkdir()
    (empty / 'metrics.jsonl').write_text('')
    with pytest.raises(DataError, match='no metrics yet'):
        read_curves(empty)

    folder = str(run_folder('one', [1.0]))
    for words, text in (([folder, folder], 'named twice'),
                        ([folder, '--output', 'x.gif'], 'must end in .png'),
                        ([folder, '--smooth', '0'], 'at least 1')):
        assert cli.main(['plot', *words]) == 2
        assert text in capsys.readouterr().err
