# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl search``: evolve the weights of the tasks' losses, one training per trial."""

import contextlib
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from mtl_perception.errors import (
    CheckpointError,
    ConfigurationError,
    DataError,
    DeviceError,
    NumericError,
    PerceptionError,
    StorageError,
)
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.search.evolution import Evolution, Trial
from mtl_perception.search.journal import Journal
from mtl_perception.search.plan import SearchConfig, overrides_of
from mtl_perception.search.results import Result, table_of, why_not, write
from mtl_perception.signals import STOPPED, StopRequest
from mtl_perception.training.config import load_config, to_plain, to_yaml
from mtl_perception.training.recipe_diff import recipe_changes
from mtl_perception.training.trials import (
    STOP,
    Running,
    last_words,
    metrics_of,
    model_of,
    run_trial,
    trial_name,
)

JOURNAL = 'journal.jsonl'
STOPS = 5
"""How often a training may be stopped or killed from outside before the search ends."""
LOST = -1
"""Stands for the exit code of a training whose worker died."""
SPARE_LINES = 6
"""Lines of the terminal that the rows of the live table leave free."""
CHECK_STOP_S = 0.5
"""Seconds between two checks for a stop signal."""


class Search:
    """
    Trials of an evolution, each a training in its own process, and the journal of them.

    :param config: of the search.
    :param recipe: of the trainings.
    :param folder: of journal, runs and results.
    :param train: runs a trial, see :func:`mtl_perception.training.trials.run_trial`.
    """

    def __init__(
            self, config: SearchConfig, recipe: Path, folder: Path,
            train: Callable[[Running], int] = run_trial) -> None:
        self.config = config
        self.recipe = recipe
        self.folder = folder
        self.evolution = Evolution(
            config.genes(), config.population, config.offspring, config.parents, config.mutation,
            config.seed, config.meaning)

        self.results: dict[int, Result] = {}
        self._train = train
        self._journal: Journal | None = None
        self._waiting: list[Trial] = []
        self._stops: dict[int, int] = {}

    def open(self) -> None:
        """
        Read the journal and restore the evolution from it.

        :raises ConfigurationError: if it belongs to another search or to other trainings.
        :raises CheckpointError: if it is damaged, or another version wrote it.
        """
        self._journal = journal = Journal(self.folder / JOURNAL)
        if journal.torn:
            print(f'{journal.path}: the last line was cut off and is dropped', file=sys.stderr)

        now = self.config.plain()
        training = load_config(self.recipe, self.config.overrides)
        if not journal.entries:
            if left := sorted(self.folder.glob('trial_*')):
                raise ConfigurationError(
                    f'{self.folder} holds {left[0].name} of a search whose {JOURNAL} is gone; '
                    'remove the folder or choose another --into')
            journal.add({'kind': 'search', 'config': now, 'training': to_plain(training)})

        # Trials under other settings cannot be compared; only their number may change.
        before = journal.entries[0].get('config', {})
        found = [f'{key}: {before.get(key)} -> {now[key]}' for key in now
                 if before.get(key) != now[key] and key != 'trials']
        found = found or recipe_changes(journal.entries[0].get('training', {}), training)
        if found:
            raise ConfigurationError(
                f'{self.folder} holds a search with other settings, whose trials cannot be '
                f'compared with new ones: {"; ".join(found)}. Choose another --into')

        # The evolution is deterministic: the same calls draw the same genomes.
        asked: dict[int, Trial] = {}
        for entry in journal.entries[1:]:
            if entry['kind'] == 'asked':
                trial = self.evolution.ask()
                if trial is None or [*trial.genome] != entry['genome']:
                    raise CheckpointError(
                        f'{journal.path}: trial {entry["number"]} is not what this version draws '
                        'under these settings; start again in another folder',
                        ReasonCode.MODEL_ARCHITECTURE)
                asked[trial.number] = trial
            elif entry['kind'] == 'told':
                self._note(asked.pop(entry['number']), entry)

        # trials without an outcome were under way when the search ended
        self._waiting = list(asked.values())

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def words(self, trial: Trial) -> list[str]:
        """Return the overrides of a trial's recipe."""
        words = [*self.config.overrides, *overrides_of(self.config, trial.genome)]
        parent = self._parent(trial)
        if parent is not None:
            words += ['--network.start', str(model_of(self.folder, parent.trial.number))]
        return words

    def _parent(self, trial: Trial) -> Result | None:
        """Return the best trial of earlier generations, whose weights this one starts with."""
        before = [result for result in self.results.values()
                  if result.trial.generation < trial.generation and math.isfinite(result.fitness)]
        if not before or not self.config.transfer:
            return None
        return max(before, key=lambda result: (result.fitness, -result.trial.number))

    def run(self, executor: Executor, stop: StopRequest) -> bool:
        """
        Run the trials that are left.

        :param executor: runs the trials.
        :param stop: checked twice a second; trials under way are then stopped too.
        :return: whether all trials have been run.
        :raises PerceptionError: if a training fails for a reason other than its weights, such as a
            full disk; the trial then runs again next time.
        """
        running: dict[Future[int], Trial] = {}
        with self._shown() as show, contextlib.ExitStack() as left:
            left.callback(self._stop, running)  # also when this ends with an error

            while True:
                while not stop.received and (trial := self._next(len(running))) is not None:
                    running[executor.submit(self._train, self._running(trial))] = trial
                if not running:
                    return not stop.received

                # the timeout keeps a stop signal from waiting for a whole training
                done, _ = wait(running, CHECK_STOP_S, FIRST_COMPLETED)
                for job in done:
                    trial = running.pop(job)
                    if self._ended(trial, job):
                        show(trial)
                    else:
                        self._waiting.append(trial)

                if stop.received:
                    self._stop(running)

    def _stop(self, running: dict[Future[int], Trial]) -> None:
        """Cancel waiting trials and ask running ones to stop; they write a checkpoint."""
        for job in [job for job in running if job.cancel()]:
            self._waiting.append(running.pop(job))
        for trial in running.values():
            place = self.folder / trial_name(trial.number)
            place.mkdir(parents=True, exist_ok=True)
            (place / STOP).touch()

    def _ended(self, trial: Trial, job: Future[int]) -> bool:
        """Record a trial that has ended; return False if it has to run again or be resumed."""
        try:
            code, why = job.result(), ''
        except PerceptionError:
            raise
        except Exception as error:  # noqa: BLE001 - of any executor, such as a dead worker
            code, why = LOST, f'{type(error).__name__}: {error}'

        # a training that diverged is a result, too: its genome is bad
        if code in (0, NumericError.exit_code):
            self._finished(trial, code)
            return True

        # stopped or killed from outside: try again, but not without end
        if code == STOPPED or code < 0:
            self._stops[trial.number] = self._stops.get(trial.number, 0) + 1
            if self._stops[trial.number] <= STOPS:
                return False

        # everything else is wrong for all trials alike, so the search ends with that error
        kind = {one.exit_code: one for one in (
            DataError, CheckpointError, StorageError, DeviceError)}.get(code, ConfigurationError)
        raise kind(
            f'{self.folder / trial_name(trial.number)}: the training ended with exit code {code}: '
            f'{why or last_words(self.folder, trial.number) or "no output"}. Solve that; the same '
            'command runs the trial again')

    def _next(self, running: int) -> Trial | None:
        """Return the next trial, None if there is none for now."""
        if self._waiting:
            return self._waiting.pop(0)
        if len(self.results) + running >= self.config.trials:
            return None
        trial = self.evolution.ask()
        if trial is not None:
            self._add({'kind': 'asked', 'number': trial.number, 'genome': [*trial.genome]})
        return trial

    def _running(self, trial: Trial) -> Running:
        return Running(str(self.recipe), str(self.folder), trial_name(trial.number),
                       tuple(self.words(trial)), time.time())

    def _finished(self, trial: Trial, code: int) -> None:
        """Record the outcome of a trial in the journal."""
        metrics = metrics_of(self.folder, trial.number) if code == 0 else {}
        entry = {
            'kind': 'told', 'number': trial.number, 'exit_code': code, 'figures': metrics,
            'fitness': self.config.fitness_of(metrics), 'ended': time.time()}
        self._add(entry)
        self._note(trial, entry)

        # the model is exported; the checkpoints of fifty trials would fill a disk
        if code == 0:
            shutil.rmtree(
                self.folder / trial_name(trial.number) / 'checkpoints', ignore_errors=True)

    def _note(self, trial: Trial, entry: dict[str, Any]) -> None:
        """Give the outcome of a trial to the evolution."""
        fitness = float(entry['fitness'])
        self.evolution.tell(trial.number, fitness)
        self.results[trial.number] = Result(
            trial, self.config.values(trial.genome), entry['figures'], fitness,
            entry['exit_code'])

    def _add(self, entry: dict[str, Any]) -> None:
        assert self._journal is not None  # it is open
        self._journal.add(entry)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[Callable[[Trial], None]]:
        """Yield a function that shows a finished trial: in a live table, or as a line of text."""
        console = Console()
        total = self.config.trials

        def say(trial: Trial) -> None:
            result = self.results[trial.number]
            words = '  '.join(f'{name} {value:.4g}' for name, value in result.values.items())
            how = f'fitness {result.fitness:.4f}' if math.isfinite(result.fitness) else (
                why_not(result, self.config.figures))
            print(f'{len(self.results)}/{total}  trial {trial.number}  {words}  {how}', flush=True)

        if not console.is_terminal:
            yield say
            return

        def table() -> Table:
            return table_of(self.results, self.evolution, self.config.figures, total,
                            console.height - SPARE_LINES)

        with Live(table(), console=console) as live:
            yield lambda trial: live.update(table())

    def write(self) -> None:
        """
        Write tables, plots and the recipe of the best trial.

        :raises StorageError: if a file cannot be written.
        """
        best = self.evolution.best()
        text = ''
        if best is not None:
            words = [*self.config.overrides, *overrides_of(self.config, best.genome)]
            text = to_yaml(load_config(self.recipe, [*words, '--name', 'best']))
        write(self.folder, self.results, self.evolution, self.config.figures, text)


@contextlib.contextmanager
def open_executor(scheduler: str, workers: int) -> Iterator[Executor]:
    """
    Yield the executor that runs trials: threads here, or the workers of a Dask cluster.

    :raises ConfigurationError: if there is no such cluster, or Dask is not installed.
    """
    if not scheduler:
        with ThreadPoolExecutor(workers) as pool:
            yield pool
        return

    # Dask is an optional dependency
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigurationError(
            f'--scheduler needs the package distributed ({error}); pip install '
            "'mtl_perception[dask]' brings it") from error

    try:
        client = Client(scheduler, timeout=20)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f'--scheduler is {scheduler!r}, where no Dask scheduler answers ({error})') from error

    # pure=False: two trials with equal arguments are two trainings
    with client, client.get_executor(pure=False, retries=0) as executor:
        yield executor
