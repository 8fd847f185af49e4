# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl search``: its journal, and what is left of a search that was killed."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from mtl_perception import cli
from mtl_perception.errors import (
    CheckpointError,
    ConfigurationError,
    DataError,
    DeviceError,
    StorageError,
)
from mtl_perception.search.plan import SearchConfig
from mtl_perception.search.results import table_of
from mtl_perception.search.search import Search
from mtl_perception.signals import StopRequest
from mtl_perception.training import trials
from mtl_perception.training.config import load_config
from mtl_perception.training.recipe import load_recipe
from mtl_perception.training.trials import STOP, Running, run_trial

RECIPE = """
name: tiny
tasks: [semantic, depth]
network: {encoder: resnet10, frames: 1, finest_stride: 8}
data:
  train_seeds: '0:3'
  validation_seeds: '10000:10001'
  workers: 0
  cache: CACHE
  window: 1
  plan: {width: 64, height: 32, clips: 2, frames: 2, drive: 50}
stages: [{height: 32, width: 64, steps: 4, batch: 2}]
run: {log_every: 1, validate_every: 2, checkpoint_every: 1}
"""
SEARCH = {
    'recipe': 'recipe.yaml', 'weights': {'semantic': [0.1, 1000], 'depth': [0.1, 100]},
    'figures': ['mIoU', 'delta1'], 'trials': 10}


def pretend(job, seconds=0.03):
    """Do what a training leaves behind, in a fraction of the time; done trials are not done."""
    place = Path(job.folder) / job.name
    if (place / f'{job.name}.safetensors').exists():
        return 0
    place.mkdir(parents=True, exist_ok=True)
    with (Path(job.folder) / 'evaluated').open('a', encoding='utf-8') as stream:
        stream.write(job.name + '\n')
    time.sleep(seconds)
    weights = yaml.safe_load(job.words[job.words.index(
        '--weighting_options.handcrafted.weights') + 1])
    good = math.exp(-(math.log10(weights['semantic'] / weights['depth']) - 1) ** 2)
    (place / f'{job.name}.json').write_text(json.dumps({'metrics': {'validation': {
        'semantic': {'miou': good}, 'depth': {'delta1': 0.25}}}}))
    (place / f'{job.name}.part').write_bytes(b'model')
    (place / f'{job.name}.part').rename(place / f'{job.name}.safetensors')
    return 0


@pytest.fixture
def config(tmp_path):
    (tmp_path / 'recipe.yaml').write_text(RECIPE.replace('CACHE', str(tmp_path / 'cache')))
    (tmp_path / 'search.yaml').write_text(yaml.safe_dump(SEARCH))
    return tmp_path / 'search.yaml'


def searched(config, folder, train=pretend, workers=1, executor=None):
    """Run a search in this process."""
    search = Search(load_recipe(config, [], SearchConfig), config.parent / 'recipe.yaml', folder,
                    train)
    search.open()
    with executor or ThreadPoolExecutor(workers) as pool, StopRequest() as stop:
        assert search.run(pool, stop)
    search.write()
    search.close()
    return search


def told(folder):
    """Return number -> genome and fitness, of the journal; each only once."""
    path = folder / 'journal.jsonl'  # read without Journal, which would mend it
    entries = [json.loads(line.split(' ', 1)[1]) for line in path.read_text().split('\n')[:-1]
               ] if path.exists() else []
    genomes = {entry['number']: entry['genome'] for entry in entries if entry['kind'] == 'asked'}
    found = [(entry['number'], genomes[entry['number']], entry['fitness'])
             for entry in entries if entry['kind'] == 'told']

    assert len({number for number, *_ in found}) == len(found)

    return sorted(found)


@pytest.mark.parametrize('change', [
    {'wieghts': {}},
    {'weights': {}}, {'weights': {'semantic': [1.0]}}, {'weights': {'semantic': [2.0, 1.0]}},
    {'trials': 0}, {'parents': 9}], ids=str)
def test_an_impossible_search_is_refused(config, change):
    config.write_text(yaml.safe_dump(SEARCH | change))
    assert cli.main(['search', str(config), '--into', str(config.parent / 'out')]) == 2


def test_a_search_writes_tables_plots_and_the_best_recipe(config, tmp_path):
    search = searched(config, tmp_path / 'out')
    best = search.evolution.best()
    assert max(result.fitness for result in search.results.values()) == search.results[
        best.number].fitness

    recipe = load_config(tmp_path / 'out' / 'best.yaml')
    weights = recipe.weighting_options['handcrafted']['weights']
    assert weights['semantic'] == pytest.approx(
        search.config.values(best.genome)['weight of semantic'])
    assert recipe.network.start == ''

    table = (tmp_path / 'out' / 'search.md').read_text()
    assert table.count('\n') == 12
    assert table.count('| best |') == 1
    for name in ('genome.png', 'fitness.png', 'search.csv'):
        assert (tmp_path / 'out' / name).stat().st_size > 100


def test_several_workers_find_the_same(config, tmp_path):
    searched(config, tmp_path / 'one')
    searched(config, tmp_path / 'three', workers=3)
    assert told(tmp_path / 'one') == told(tmp_path / 'three')


def test_trainings_start_with_the_best_weights_of_earlier_generations(config, tmp_path):
    search = searched(config, tmp_path / 'out')
    for trial in search.evolution.trials:
        words = search.words(trial)
        if trial.generation == 0:
            assert '--network.start' not in words
            continue
        before = [one for one in search.evolution.trials if one.generation < trial.generation]
        best = max(before, key=lambda one: search.results[one.number].fitness)
        start = words[words.index('--network.start') + 1]
        assert start.endswith(f'trial_{best.number:04d}.safetensors')


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_search import pretend, searched
searched(Path({config!r}), Path({folder!r}), workers={workers})
"""


def test_a_search_that_is_killed_repeatedly_repeats_no_finished_trial(config, tmp_path):
    searched(config, tmp_path / 'whole')
    folder = tmp_path / 'killed'
    journal = folder / 'journal.jsonl'
    generator = random.Random(0)
    kills = 0
    workers = 2
    code = KILLED.format(tests=str(Path(__file__).parent), config=str(config),
                         folder=str(folder), workers=workers)

    while True:
        # kill the search a little after its next two trials
        before = told(folder)
        process = subprocess.Popen([sys.executable, '-c', code], start_new_session=True)
        until = time.monotonic() + 60
        while (process.poll() is None and time.monotonic() < until
               and len(told(folder)) < min(len(before) + 2, 10)):
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break

        kills += 1
        after = told(folder)  # a trial may end before one of a smaller number
        assert [trial for trial in after if trial in before] == before
        if kills > 2:
            subprocess.run([sys.executable, '-c', code], check=True)
            break

    assert kills >= 2
    assert told(folder) == told(tmp_path / 'whole')

    evaluated = (folder / 'evaluated').read_text().split()
    assert set(evaluated) == {f'trial_{number:04d}' for number in range(10)}
    assert len(evaluated) - 10 <= kills * workers  # only what was under way is done again

    # the control: without journal and models everything is done again
    journal.unlink()
    for trial in folder.glob('trial_*'):
        shutil.rmtree(trial)
    searched(config, folder)

    assert len((folder / 'evaluated').read_text().split()) == len(evaluated) + 10


def test_another_configuration_is_refused_but_more_trials_are_not(config, tmp_path):
    searched(config, tmp_path / 'out')
    config.write_text(yaml.safe_dump(SEARCH | {'trials': 12}))
    assert len(searched(config, tmp_path / 'out').results) == 12

    config.write_text(yaml.safe_dump(SEARCH | {'mutation': 0.5}))
    for changed, words in (
            ({'mutation': 0.5}, r'mutation: 0.15 -> 0.5\. Choose another --into'),
            ({'seed': 5}, 'seed: 0 -> 5'), ({'transfer': False}, 'transfer: True -> False'),
            ({'figures': ['mIoU']}, 'figures: '), ({'overrides': ['--seed', '3']}, 'overrides: '),
            ({'weights': {'semantic': [1, 2], 'depth': [1, 2]}}, 'weights: ')):
        config.write_text(yaml.safe_dump(SEARCH | changed))
        with pytest.raises(ConfigurationError, match=words):
            searched(config, tmp_path / 'out')


def test_other_trainings_under_the_same_name_are_refused(config, tmp_path):
    searched(config, tmp_path / 'out')
    recipe = config.parent / 'recipe.yaml'
    recipe.write_text(recipe.read_text().replace('log_every: 1', 'log_every: 2'))
    searched(config, tmp_path / 'out')  # learns the same
    recipe.write_text(recipe.read_text().replace('steps: 4', 'steps: 4000'))

    with pytest.raises(ConfigurationError, match=r'stages: .*4000'):
        searched(config, tmp_path / 'out')


def test_trials_without_a_journal_are_refused(config, tmp_path):
    searched(config, tmp_path / 'out')
    (tmp_path / 'out' / 'journal.jsonl').unlink()
    with pytest.raises(ConfigurationError, match='trial_0000 of a search whose journal'):
        searched(config, tmp_path / 'out')


def ending(code, number=1):
    def train(job):
        if job.name != f'trial_{number:04d}':
            return pretend(job)
        if isinstance(code, Exception):
            raise code
        return code

    return train


def test_a_diverged_training_has_no_fitness_and_does_not_end_the_search(config, tmp_path):
    search = searched(config, tmp_path / 'out', ending(6))
    assert math.isnan(search.results[1].fitness)
    assert len(search.results) == 10
    assert 'failed, exit code 6' in (tmp_path / 'out' / 'search.md').read_text()


@pytest.mark.parametrize(('code', 'error'), [
    (5, StorageError), (3, DataError), (4, CheckpointError), (7, DeviceError),
    (2, ConfigurationError), (1, ConfigurationError), (-9, ConfigurationError),
    (RuntimeError('the worker died'), ConfigurationError)])
def test_an_error_unrelated_to_the_genome_ends_the_search_and_the_trial_is_repeated(
        config, tmp_path, code, error):
    with pytest.raises(error, match=r'trial_0001: the training ended with exit code'):
        searched(config, tmp_path / 'out', ending(code))
    assert {number for number, *_ in told(tmp_path / 'out')} <= {0, 2, 3}

    found = searched(config, tmp_path / 'out')  # the disk has room again
    whole = searched(config, tmp_path / 'whole')
    assert told(tmp_path / 'out') == told(tmp_path / 'whole')
    assert not any(math.isnan(result.fitness) for result in found.results.values())
    assert found.evolution.best() == whole.evolution.best()


def test_a_training_that_is_killed_once_is_resumed(config, tmp_path):
    killed = []

    def train(job):
        if job.name == 'trial_0001' and not killed:
            killed.append(job)
            return -9
        return pretend(job)

    assert len(searched(config, tmp_path / 'out', train).results) == 10


@pytest.mark.parametrize(('figures', 'words'), [
    (['mIoU', 'AP50'], "figures has ['AP50']"), (['AbsRel'], "figures has ['AbsRel']")])
def test_unknown_metrics_and_metrics_to_minimise_are_refused_before_the_first_trial(
        config, tmp_path, capsys, figures, words):
    config.write_text(yaml.safe_dump(SEARCH | {'figures': figures}))
    assert cli.main(['search', str(config), '--into', str(tmp_path / 'out')]) == 2

    said = capsys.readouterr().err
    assert words in said
    assert 'delta1' in said
    assert not (tmp_path / 'out').exists()


def test_the_live_table_shows_the_newest_trials_and_the_best(config, tmp_path):
    search = searched(config, tmp_path / 'out')
    best = str(search.evolution.best().number)
    for most in (1, 4, 20):
        table = table_of(search.results, search.evolution, ['mIoU'], 10, most)
        shown = [*table.columns[0].cells]
        assert len(shown) == min(10, max(most, 1))
        assert best in shown
        assert '9' in shown or most == 1


def slowly(job):
    return pretend(job, 0.6)


def test_two_workers_of_a_dask_cluster_take_less_time_per_trial(config, tmp_path):
    distributed = pytest.importorskip('distributed', reason='the extra dask is not installed')
    import cloudpickle
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    seconds = {}

    for workers in (1, 2):
        folder = tmp_path / str(workers)
        with distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True,
                dashboard_address=None) as cluster, distributed.Client(cluster) as client:
            client.wait_for_workers(workers)
            searched(config, folder, slowly,
                     executor=client.get_executor(pure=False, retries=0))

        # seconds per trial, without the start of the workers
        ended = [json.loads(line.split(' ', 1)[1]).get('ended')
                 for line in (folder / 'journal.jsonl').read_text().splitlines()]
        ended = [time_ for time_ in ended if time_]
        seconds[workers] = (ended[-1] - ended[0]) / (len(ended) - 1)

    assert told(tmp_path / '1') == told(tmp_path / '2')
    assert seconds[1] > 0.6
    assert seconds[2] < 0.8 * seconds[1]


def test_a_training_stopped_before_it_begins_does_not_count_as_failed(config, tmp_path):
    job = Running(str(config.parent / 'recipe.yaml'), str(tmp_path), 'trial_0000', (), 0.0)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run_trial, job)
        while not (tmp_path / 'trial_0000' / 'train.log').exists():
            time.sleep(0.01)
        (tmp_path / 'trial_0000' / STOP).touch()
        assert done.result(timeout=60) == 75

    assert not (tmp_path / 'trial_0000' / 'checkpoints').exists()


@pytest.mark.parametrize('end', [
    'raise SystemExit(129)', 'raise SystemExit(130)',
    *(f'import os, signal; signal.signal({number}, 0); os.kill(os.getpid(), {number})'
      for number in (1, 2, 15))])
def test_a_training_that_a_signal_ends_before_it_listens_does_not_count_as_failed(
        config, tmp_path, monkeypatch, end):
    monkeypatch.setattr(trials, '_CHILD', end)
    job = Running(str(config.parent / 'recipe.yaml'), str(tmp_path), 'trial_0000', (), 0.0)
    assert run_trial(job) == 75


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_signal_stops_the_trainings_too_and_the_same_command_resumes(config, tmp_path):
    config.write_text(yaml.safe_dump(SEARCH | {'trials': 1, 'population': 1, 'parents': 1}))
    words = [sys.executable, '-m', 'mtl_perception.cli', 'search', str(config), '--into',
             str(tmp_path / 'out'), '--overrides',
             '["--stages", "[{height: 32, width: 64, steps: 150, batch: 2}]", '
             '"--run.checkpoint_every", "500", "--run.validate_every", "500"]']
    log = tmp_path / 'out' / 'trial_0000' / 'metrics.jsonl'
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 300
    while time.monotonic() < until and not (log.exists() and log.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)

    assert process.returncode == 75
    assert 'SIGTERM: stopped after 0 of 1 trials' in said
    assert 'checkpoint saved' in (log.parent / 'train.log').read_text()
    assert subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert len(told(tmp_path / 'out')) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_trainings_killed_in_the_middle_resume(config, tmp_path):
    """Two generations of real trainings; the search is killed with -9 in the second trial."""
    config.write_text(yaml.safe_dump(
        SEARCH | {'trials': 4, 'population': 2, 'offspring': 2, 'overrides': [
            '--stages', '[{height: 32, width: 64, steps: 12, batch: 2}]']}))
    words = [sys.executable, '-m', 'mtl_perception.cli', 'search', str(config), '--into',
             str(tmp_path / 'out')]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    second = tmp_path / 'out' / 'trial_0001' / 'metrics.jsonl'
    until = time.monotonic() + 300
    while time.monotonic() < until and not (second.exists() and second.stat().st_size):
        time.sleep(0.02)

    assert second.exists()

    process.kill()
    process.wait()
    first = tmp_path / 'out' / 'trial_0000' / 'trial_0000.safetensors'
    before = (first.stat().st_mtime_ns, told(tmp_path / 'out'))

    assert len(before[1]) == 1
    assert subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert first.stat().st_mtime_ns == before[0]

    found = told(tmp_path / 'out')
    assert found[:1] == before[1]
    assert len(found) == 4
    assert all(0 < fitness < 1 for *_, fitness in found)

    log = (tmp_path / 'out' / 'trial_0001' / 'train.log').read_text()
    assert 'resuming after step' in log

    config_of = yaml.safe_load((tmp_path / 'out' / 'trial_0002' / 'config.yaml').read_text())
    assert config_of['network']['start'].endswith('.safetensors')
    assert os.access(tmp_path / 'out' / 'best.yaml', os.R_OK)
    assert not [*(tmp_path / 'out').glob('trial_*/checkpoints')]  # only the models are kept
