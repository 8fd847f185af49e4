# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl compare``: what is trained, what is not trained twice, and the table."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtl_perception import cli
from mtl_perception.errors import ConfigurationError
from mtl_perception.training.compare import read_comparison
from mtl_perception.training.comparison import (
    as_csv,
    as_markdown,
    collect,
    gains,
    run_name,
    write,
)
from mtl_perception.training.comparison_results import settings_digest
from mtl_perception.training.config import load_config
from mtl_perception.training.data_sources import check_network
from mtl_perception.weighting import WEIGHTINGS

COMPARISONS = Path(__file__).parents[2] / 'config' / 'compare'

RECIPE = """
name: tiny
tasks: [semantic, depth]
weighting: equal
data:
  train_seeds: '0:2'
  validation_seeds: '10000:10001'
  workers: 0
  plan: {width: 64, height: 32, clips: 2, frames: 2, drive: 50, antialias: false}
stages:
  - {height: 32, width: 64, steps: 4, batch: 2}
run: {log_every: 1, validate_every: 100, checkpoint_every: 2, threads: 1}
"""
ROWS = """
recipe: tiny.yaml
baseline: geometric loss
rows:
  geometric loss: [--weighting, geometric]
  semantic only: [--tasks, '[semantic]']
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / 'tiny.yaml'
    path.write_text(RECIPE)
    return path


def finish(folder, name, miou, abs_rel=None, weights=None):
    """Write what a training that is done leaves behind."""
    place = folder / name
    place.mkdir(parents=True)
    figures = {'semantic': {'miou': miou, 'pixel_accuracy': 0.5}} if miou is not None else {}
    if abs_rel is not None:
        figures['depth'] = {'abs_rel': abs_rel, 'delta1': 0.8}
    lines = [{'kind': 'train', 'step': step, 'weight': weights or {'semantic': 1.0, 'depth': 3.0},
              'frames_per_second': 2.0} for step in (1, 2)]
    lines.append({'kind': 'validation', 'step': 4, **figures})
    (place / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, lines)) + '\n')
    (place / 'config.yaml').write_text(RECIPE)
    (place / f'{name}.safetensors').write_bytes(b'')
    (place / f'{name}.json').write_text(json.dumps({'training': {'minutes': 0.1}}))


def test_a_recipe_is_compared_in_every_strategy(recipe):
    plan = read_comparison(recipe, 'all', 3, ('--stages', '[]'))
    assert [variant.name for variant in plan.variants] == [
        name for name in WEIGHTINGS if name != 'gradient_method']
    assert plan.variants[1].overrides == ('--weighting', plan.variants[1].name)
    assert plan.seeds == (0, 1, 2)
    assert plan.baseline == ('equal',)
    assert read_comparison(recipe, 'dwa, gradnorm', 1, ()).baseline == ('dwa',)
    with pytest.raises(ConfigurationError, match="strategies: 'dwb' does not exist"):
        read_comparison(recipe, 'dwb', 1, ())


def test_rows_may_differ_in_anything(recipe):
    path = recipe.with_name('rows.yaml')
    path.write_text(ROWS)
    plan = read_comparison(path, 'all', 1, ('--seed', '5'))
    assert plan.recipe == recipe
    assert plan.variants[1].overrides == ('--tasks', '[semantic]')
    assert run_name(plan.variants[0], 2) == 'geometric_loss_2'

    path.write_text(ROWS.replace('baseline: geometric loss', 'baseline: equal'))
    with pytest.raises(ConfigurationError, match="baseline 'equal' does not exist"):
        read_comparison(path, 'all', 1, ())

    path.write_text('rows: {a: 3}\nrecipe: x')
    with pytest.raises(ConfigurationError, match=r'rows.a is 3; it must be a valid list'):
        read_comparison(path, 'all', 1, ())


def test_the_table_has_mean_spread_and_gain_over_the_same_seed(recipe):
    folder = recipe.parent / 'out'
    path = recipe.with_name('rows.yaml')
    path.write_text(ROWS)
    plan = read_comparison(path, 'all', 2, ())
    finish(folder, 'geometric_loss_0', 0.4, 0.2)
    finish(folder, 'geometric_loss_1', 0.5, 0.4)
    finish(folder, 'semantic_only_0', 0.44)
    finish(folder, 'semantic_only_1', 0.5)
    rows = collect(plan, folder)

    # of mIoU and pixel accuracy: 10 % and 0 % for seed 0, nothing for seed 1
    assert gains(plan, rows, 'semantic only') == pytest.approx([5.0, 0.0])

    text = as_markdown(plan, rows)
    assert '| geometric loss | 0.450 +- 0.071 | 0.500 +- 0.000 | 0.300 +- 0.141 |' in text
    assert ('| semantic only | 0.470 +- 0.042 | 0.500 +- 0.000 | - | - | +2.5 +- 3.5 | 0.1 |'
            in text)

    lines = list(csv.DictReader(as_csv(plan, rows).splitlines()))
    assert [(line['row'], line['seed'], line['AbsRel']) for line in lines] == [
        ('geometric loss', '0', '0.2'), ('geometric loss', '1', '0.4'),
        ('semantic only', '0', ''), ('semantic only', '1', '')]
    assert float(lines[0]['minutes']) == 0.1

    write(plan, rows, folder, text)
    for name in ('compare.md', 'compare.csv', 'compare.png', 'weights.png'):
        assert (folder / name).stat().st_size > 100


def test_a_wrong_row_is_refused_before_anything_is_trained(recipe, tmp_path, capsys):
    path = recipe.with_name('rows.yaml')
    path.write_text(ROWS.replace('[semantic]', '[smell]'))
    assert cli.main(['compare', str(path), '--into', str(tmp_path / 'out')]) == 2
    assert 'smell' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    assert cli.main(['compare', str(recipe), '--seeds', '0']) == 2


def test_single_tasks_are_one_baseline_and_metrics_may_be_chosen(recipe):
    folder, path = recipe.parent / 'out', recipe.with_name('rows.yaml')
    path.write_text("""
recipe: tiny.yaml
baseline: [semantic only, depth only]
metrics: [mIoU, pixel accuracy, AbsRel]
per_task: true
rows:
  semantic only: [--tasks, '[semantic]']
  depth only: [--tasks, '[depth]']
  both: []
""")
    plan = read_comparison(path, 'all', 1, ())
    finish(folder, 'semantic_only_0', 0.4)
    finish(folder, 'depth_only_0', None, 0.2)
    finish(folder, 'both_0', 0.44, 0.1)

    # mIoU +10 % and pixel accuracy 0 % are 5 % of semantics; half the AbsRel is 50 % of depth
    assert gains(plan, collect(plan, folder), 'both') == pytest.approx([27.5])
    text = as_markdown(plan, collect(plan, folder))
    assert 'Delta_m over semantic only and depth only' in text
    assert 'delta1' not in text

    path.write_text(path.read_text().replace('AbsRel', 'AbsRell'))
    with pytest.raises(ConfigurationError, match='AbsRell'):
        read_comparison(path, 'all', 1, ())


def test_a_smaller_abs_rel_is_a_gain(recipe):
    folder, path = recipe.parent / 'out', recipe.with_name('rows.yaml')
    path.write_text(ROWS.replace("[--tasks, '[semantic]']", '[--weighting, equal]'))
    plan = read_comparison(path, 'all', 1, ())
    finish(folder, 'geometric_loss_0', 0.4, 0.2)
    finish(folder, 'semantic_only_0', 0.4, 0.1)

    # AbsRel is halved, mIoU, pixel accuracy and delta1 are the same
    assert gains(plan, collect(plan, folder), 'semantic only') == pytest.approx([50 / 4])


@pytest.mark.slow
def test_finished_runs_are_skipped_and_failed_runs_are_named(recipe, tmp_path, capsys):
    folder = tmp_path / 'out'
    words = ['compare', str(recipe), '--strategies', 'equal,dwa', '--seeds', '1', '--into',
             str(folder), '--data.cache', str(tmp_path / 'cache')]
    assert cli.main(words) == 0

    shown = capsys.readouterr().out
    assert '2/2' in shown
    assert '| equal | 0.' in (folder / 'compare.md').read_text()

    before = (folder / 'equal_0' / 'metrics.jsonl').read_bytes()
    (folder / 'dwa_0' / 'dwa_0.safetensors').unlink()  # as if it had been killed while exporting
    assert cli.main(words) == 0
    assert '1 of 2 trainings are done already' in capsys.readouterr().out
    assert (folder / 'equal_0' / 'metrics.jsonl').read_bytes() == before
    assert cli.main([*words, '--optimiser.lr', '0.5']) == 2
    assert 'equal_0 was trained with other settings: optimiser.lr: 1.0 -> 0.5' in (
        capsys.readouterr().err)
    assert (folder / 'dwa_0' / 'dwa_0.safetensors').is_file()

    (folder / 'dwa_0' / 'dwa_0.safetensors').unlink()
    (folder / 'dwa_0' / 'checkpoints').rename(folder / 'dwa_0' / 'old')
    (folder / 'dwa_0' / 'checkpoints').write_text('in the variant')
    assert cli.main(words) == 3
    assert '1 of 2 trainings failed: dwa_0' in capsys.readouterr().err


FORKING = """
import multiprocessing, signal, sys, time
from mtl_perception.training.trials import end_with

signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
end_with(sys.stdin)
time.sleep(0.3)  # the stream is being read
child = multiprocessing.get_context('fork').Process(target=int)
child.start()
child.join(10)
print(child.exitcode, flush=True)
time.sleep(30)
"""


def test_a_training_that_ends_with_its_caller_can_fork_processes_that_read():
    process = subprocess.Popen(
        [sys.executable, '-c', FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == '0\n'
        process.stdin.close()
        assert process.wait(20) == 75
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_signal_stops_the_running_training_and_starts_no_other(recipe, tmp_path):
    folder = tmp_path / 'out'
    process = subprocess.Popen(
        [sys.executable, '-m', 'mtl_perception.cli', 'compare', str(recipe), '--strategies',
         'equal,dwa,geometric', '--seeds', '1', '--into', str(folder), '--data.cache',
         str(tmp_path / 'cache'), '--stages', '[{height: 32, width: 64, steps: 99999, batch: 2}]'],
        stdout=subprocess.PIPE, text=True)
    log = folder / 'equal_0' / 'metrics.jsonl'
    until = time.monotonic() + 120
    while time.monotonic() < until and not (log.exists() and log.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=90)

    assert process.returncode == 75
    assert 'SIGINT: stopped; the same command goes on' in said
    assert 'checkpoint saved' in (folder / 'equal_0' / 'train.log').read_text()
    assert not (folder / 'dwa_0' / 'train.log').exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_comparison_goes_on_row_by_row(recipe, tmp_path, capsys):
    rows = recipe.with_name('rows.yaml')
    rows.write_text(ROWS + 'results: kept.jsonl\n')
    folder = tmp_path / 'out'
    words = ['compare', str(rows), '--seeds', '1', '--into', str(folder), '--data.cache',
             str(tmp_path / 'cache'), '--stages', '[{height: 32, width: 64, steps: 40, batch: 2}]']
    process = subprocess.Popen([sys.executable, '-m', 'mtl_perception.cli', *words])
    first = folder / 'geometric_loss_0' / 'geometric_loss_0.safetensors'
    second = folder / 'semantic_only_0' / 'metrics.jsonl'
    until = time.monotonic() + 200
    while time.monotonic() < until and not (second.exists() and second.stat().st_size):
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = first.stat().st_mtime_ns

    assert cli.main(words) == 0
    assert '1 of 2 trainings are done already' in capsys.readouterr().out
    assert first.stat().st_mtime_ns == before
    steps = [json.loads(line)['step'] for line in second.read_text().splitlines()
             if '"train"' in line]
    assert steps == list(range(1, 41))

    # the file of results alone is enough: nothing is trained again
    shown = (folder / 'compare.md').read_text()
    (folder / 'results.jsonl').rename(rows.with_name('kept.jsonl'))
    folder.rename(tmp_path / 'gone')
    assert cli.main(words) == 0
    assert '2 of 2 trainings are done already' in capsys.readouterr().out
    assert [path for path in folder.iterdir() if path.is_dir()] == []
    assert (folder / 'compare.md').read_text() == shown


@pytest.mark.parametrize('path', sorted(COMPARISONS.glob('*.yaml')), ids=lambda path: path.stem)
def test_every_committed_comparison_can_be_trained(path):
    plan = read_comparison(path, 'all', 1, ())
    for variant in plan.variants:
        config = load_config(plan.recipe, [*plan.overrides, *variant.overrides])
        check_network(config)
        small = path.stem.startswith('street_')
        assert not small or config.stages[0].steps in (300, 1200, 2400)


def test_a_result_is_of_its_settings_however_they_are_written(recipe):
    def digest(*words):
        return settings_digest(recipe, words)

    assert digest('--weighting=dwa') == digest('--weighting', 'dwa') != digest()
    assert digest('--weighting=famo') != digest('--weighting=dwa')
    assert digest('--run.device', 'cuda', '--data.cache=elsewhere') == digest()
    with pytest.raises(ConfigurationError, match='a value is missing'):
        digest('--weighting')
