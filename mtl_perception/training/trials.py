# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One trial of ``mtl search`` or ``mtl compare``: a training in its own process and folder."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mtl_perception.errors import ConfigurationError, DataError, StorageError
from mtl_perception.metrics import main_metrics
from mtl_perception.signals import HUNG_UP, INTERRUPTED, SIGNALS, STOPPED
from mtl_perception.training.run_lock import exclusive

STOP = 'stop'
"""A file of this name in the folder of a run asks its training to stop."""
WAIT_S = 90.0
"""Seconds that the training of a killed search may take to write its checkpoint and end."""


@dataclass(frozen=True)
class Running:
    """
    A trial as a worker needs it.

    :param recipe: path of the recipe.
    :param folder: of the search.
    :param name: of the run, and its folder.
    :param words: settings in place of the recipe's.
    :param asked: when the trial was submitted, seconds since 1970.
    """

    recipe: str
    folder: str
    name: str
    words: tuple[str, ...]
    asked: float


def trial_name(number: int) -> str:
    """Return the name of a trial's run."""
    return f'trial_{number:04d}'


def model_of(folder: Path, number: int) -> Path:
    """Return the path of the model that a trial exports last."""
    name = trial_name(number)
    return folder / name / f'{name}.safetensors'


def metrics_of(folder: Path, number: int) -> dict[str, float]:
    """
    Return the main metrics of the model that a trial exported.

    :raises DataError: if its manifest cannot be read.
    """
    path = model_of(folder, number).with_suffix('.json')
    try:
        metrics = json.loads(path.read_text(encoding='utf-8'))['metrics']['validation']
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f'{path}: holds no validation of the trial ({error}); remove its folder, then the '
            'same command runs the trial again') from error
    return main_metrics(metrics)


def last_words(folder: Path, number: int) -> str:
    """Return the last line that the training of a trial printed, empty if there is none."""
    with contextlib.suppress(OSError):
        text = (folder / trial_name(number) / 'train.log').read_text(encoding='utf-8')
        return next(reversed(text.strip().splitlines()), '')
    return ''


def run_trial(job: Running) -> int:
    """
    Train one trial, or resume it; a finished trial is not repeated.

    The training ends with the calling process, however that ends, and when a file named
    :data:`STOP` appears in its folder.

    :return: the exit code of ``mtl train``.
    :raises StorageError: if its output cannot be written.
    """
    place = Path(job.folder) / job.name
    if (place / f'{job.name}.safetensors').is_file():
        return 0
    if not _free(place):
        return STOPPED

    stop = place / STOP
    resume = ['--resume'] if any((place / 'checkpoints').glob('*.ckpt')) else []
    words = [sys.executable, '-c', _CHILD, 'train', *resume, job.recipe, *job.words, '--name',
             job.name, '--output', job.folder]

    # the pipe to the child closes when this process dies, see end_with
    try:
        stop.unlink(missing_ok=True)
        with (place / 'train.log').open('a', encoding='utf-8') as log:
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True)
            while process.poll() is None:

                if stop.exists():
                    process.send_signal(signal.SIGTERM)
                    process.wait()
                time.sleep(0.05)
    except OSError as error:
        raise StorageError(f'{place}: cannot be written ({error})') from error

    # a signal that comes before the training listens to it ends the process at once
    early = (*(-number for number in SIGNALS), HUNG_UP, INTERRUPTED)
    return STOPPED if process.returncode in early else process.returncode


_CHILD = """
import os, signal, sys, threading
from mtl_perception.training.trials import end_with
end_with(sys.stdin)
from mtl_perception.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


def end_with(stream: IO[Any]) -> None:
    """
    Ask this process to stop once a stream has ended: its other end was held by the caller.

    :param stream: a pipe that is open for reading.
    """
    def watch() -> None:
        # stream.read() would hold the lock of the stream, which a process that is forked to read
        # clips waits for without end when it closes its copy
        while os.read(stream.fileno(), 1):
            pass
        # to the process: its main thread may sleep, and only a signal of its own wakes it
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _free(place: Path) -> bool:
    """Wait until no training holds a folder; return False on a timeout."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            with exclusive(place):
                return True
        except ConfigurationError:
            if time.monotonic() > until:
                return False
            time.sleep(0.2)
