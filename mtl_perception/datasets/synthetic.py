# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clips of the synthetic street, rendered once and read from disk afterwards."""

import hashlib
import io
import json
import shutil
import tokenize
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt

from mtl_perception import synthetic
from mtl_perception.datasets.gaps import with_gaps_filled
from mtl_perception.datasets.sample import Sample, stacked
from mtl_perception.datasets.seeds import check_seeds
from mtl_perception.errors import ConfigurationError, DataError, StorageError
from mtl_perception.files import part_of, remove_abandoned
from mtl_perception.parallel import in_processes
from mtl_perception.settings import FROM_LIST, checked_dataclass, one_of
from mtl_perception.synthetic.street import CAMERA_HEIGHTS
from mtl_perception.tasks import LOOKS, STREET_DETECTION

_FORMAT = 2
_KINDS = {
    'image': np.uint8, 'semantic': np.uint8, 'depth': np.float16, 'motion': np.uint8,
    'instance': np.uint16}
_BOXES = 'detection'
_STRUCTURE = {
    tokenize.ENCODING: '', tokenize.NEWLINE: '\n', tokenize.INDENT: '>', tokenize.DEDENT: '<'}

SMALLEST_BOX = 20
"""Objects with fewer visible pixels in the rendered frame have no box."""


class StreetLike(Protocol):
    """What is needed of a street: frames with an image, all labels, and boxes."""

    def render(self, index: int) -> Any:
        """Return frame ``index``."""


CameraHeight = Annotated[float, Field(ge=0.3, le=3)]


@checked_dataclass
class ClipPlan:
    """
    The frames of each street seed to render, and how.

    :param width: columns of a frame.
    :param height: rows of a frame.
    :param rate: frames per second of the drive.
    :param antialias: whether colours are antialiased.
    :param clips: clips per seed, spread evenly over the drive.
    :param frames: frames T per clip.
    :param gaps: possible distances between the frames of a clip, in frames of the drive; one is
        drawn per clip. At 10 frames/s, 1 to 3 is 0.1 to 0.3 s.
    :param drive: used length of a seed's drive, in frames.
    :param heights: lowest and highest camera, metres; each seed's is drawn uniformly in between.
        Depth labels are then scaled to the street's mean height, because one image does not show
        the height: a camera twice as high sees the same road at twice the distance. With the
        robot's own height, inference undoes the scaling. Empty keeps the street's heights.
    :param look: ``classic``, or ``roads`` with fences and what else real roads show.
    :param classic_share: share of the seeds, drawn at random, whose street has the classic look
        in place of that above; the classes are those of the look above.
    """

    width: PositiveInt = 384
    height: PositiveInt = 224
    rate: PositiveFloat = 10.0
    antialias: bool = True
    clips: PositiveInt = 4
    frames: PositiveInt = 2
    gaps: Annotated[tuple[PositiveInt, ...], FROM_LIST, Field(min_length=1)] = (1, 2, 3)
    drive: PositiveInt = 600
    heights: Annotated[tuple[CameraHeight, ...], FROM_LIST, Field(max_length=2)] = ()
    look: Annotated[str, one_of(LOOKS)] = LOOKS[0]
    classic_share: Annotated[float, Field(ge=0, le=1)] = 0.0

    def __post_init__(self) -> None:
        """Refuse a drive that is too short, and heights that are not a range."""
        shortest = (self.frames - 1) * max(self.gaps) + self.clips
        if self.drive < shortest:
            raise ConfigurationError(
                f'plan.drive is {self.drive}; it must be at least {shortest} frames for these '
                'clips')
        if self.heights and not (len(self.heights) == 2 and self.heights[0] <= self.heights[1]):
            raise ConfigurationError(
                f'plan.heights is {list(self.heights)}; it must be empty, or the lowest and the '
                'highest camera')

    def height_of(self, seed: int) -> float | None:
        """Return the height of a seed's camera in metres, None where the street draws it."""
        if not self.heights:
            return None
        lowest, highest = self.heights
        return float(np.random.default_rng((seed, 21)).uniform(lowest, highest))

    def height_ratio(self, seed: int) -> float:
        """Return the height of a seed's camera over that which its depth is scaled to."""
        height = self.height_of(seed)
        return 1.0 if height is None else height / (sum(CAMERA_HEIGHTS) / 2)

    def look_of(self, seed: int) -> str:
        """Return the look of a seed's street, one of :data:`.LOOKS`."""
        if not self.classic_share:
            return self.look
        drawn = float(np.random.default_rng((seed, 22)).random())
        return LOOKS[0] if drawn < self.classic_share else self.look

    def indices(self, seed: int) -> NDArray[np.int64]:
        """Return the (clips, frames) indices of the frames of one seed, the same every time."""
        generator = np.random.default_rng((seed, self.clips, self.frames))

        # One start in each of equally long sections keeps the clips apart from one another.
        longest = (self.frames - 1) * max(self.gaps)
        section = (self.drive - longest) / self.clips
        starts = ((np.arange(self.clips) + generator.random(self.clips)) * section).astype(int)
        gaps = generator.choice(np.array(self.gaps), self.clips)
        return np.asarray(starts[:, None] + gaps[:, None] * np.arange(self.frames))


class StreetClips:
    """
    Clips of T frames from many street seeds, each rendered once into a cache on disk.

    Seeds 0 to 9999 are reserved for training, 10000 to 10999 for model selection (validation),
    20000 and up for tests; a seed of another split is refused.

    The cache holds one folder per seed with the arrays ``image`` (clips, T, H, W, 3) uint8,
    ``semantic``, ``motion`` (clips, T, H, W) uint8, ``instance`` uint16 and ``depth`` float16, and
    ``detection`` (clips, T, M, 5) float32; reading maps them into memory. Its name contains a
    digest of the street's source code and of the plan, so the cache of another street is never
    mistaken for this one. A seed appears in it whole or not at all, so rendering can be stopped at
    any time and resumes where it was.

    :param cache: folder of all caches; made if missing.
    :param seeds: street seeds.
    :param split: ``train``, ``validation`` or ``test``.
    :param plan: which frames, and how.
    :param code: digest of the street's source, by default that of the present code; with an older
        one, clips that were rendered by that code are read and no new ones are rendered.
    :param street: class of the street, called with seed, width, height, rate and antialias.
    :param gap: widest gap of trees and fences that is filled, see :func:`.with_gaps_filled`.
    :raises ConfigurationError: if a seed belongs to another split.
    """

    def __init__(
            self, cache: Path, seeds: Sequence[int], split: str, plan: ClipPlan,
            code: str = '', street: Callable[..., StreetLike] | None = None, gap: int = 0,
    ) -> None:
        check_seeds(seeds, split)
        self.seeds = list(seeds)
        self.plan = plan
        self.code = code or street_code()
        self.folder = cache.expanduser() / f'street-{self.code}-{_digest(asdict(plan))}'
        self._street = street
        self._gap = gap

    def __len__(self) -> int:
        return len(self.seeds) * self.plan.clips

    def __getitem__(self, index: int) -> Sample:
        """
        Return one clip.

        :param index: 0 to ``len(self) - 1``; the clips of a seed follow one another.
        :raises DataError: if the clip has not been rendered or cannot be read.
        """
        seed, clip = self.seeds[index // self.plan.clips], index % self.plan.clips
        folder = self._folder_of(seed)
        try:
            arrays = {
                kind: np.load(folder / f'{kind}.npy', mmap_mode='r', allow_pickle=False)[clip]
                for kind in (*_KINDS, _BOXES)}
        except (OSError, ValueError) as error:
            raise DataError(
                f'{folder}: clip {clip} cannot be read ({error}); remove the folder and render '
                'it again') from error

        arrays['semantic'] = with_gaps_filled(np.asarray(arrays['semantic']), self._gap)
        # Stored with 16 bits; negative ids, unknown in other data sets, need a sign.
        arrays['instance'] = arrays['instance'].astype(np.int32)
        return Sample(**{kind: np.asarray(array) for kind, array in arrays.items()},
                      height_ratio=self.plan.height_ratio(seed))

    @property
    def drives(self) -> list[Hashable]:
        """The seed of each clip: the clips of a street resemble one another."""
        return [seed for seed in self.seeds for _ in range(self.plan.clips)]

    def missing(self) -> list[int]:
        """Return the seeds that have not been rendered yet."""
        if not self.folder.is_dir():
            return list(self.seeds)
        present = {path.name for path in self.folder.iterdir()}
        return [seed for seed in self.seeds if self._folder_of(seed).name not in present]

    def render(self, workers: int = 1) -> Iterator[int]:
        """
        Render the missing seeds and yield each one when it is done.

        What renderings that were killed have left is removed, see :func:`.remove_abandoned`.

        :param workers: number of processes; 0 renders in this one.
        :raises DataError: if they need another version of the street's code.
        :raises StorageError: if the cache cannot be written.
        """
        remove_abandoned(self.folder)
        seeds = self.missing()
        if not seeds:
            return
        if self.code != street_code():
            raise DataError(
                f'{len(seeds)} street seeds are not in {self.folder}, and the code that drew it '
                f'({self.code}) is not the present one ({street_code()}); check that version out, '
                'or start a new run')

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / 'plan.json').write_text(json.dumps(asdict(self.plan), indent=2))
            yield from self._rendered(seeds, workers)
        except OSError as error:
            raise StorageError(f'{self.folder}: cannot be written ({error})') from error

    def _rendered(self, seeds: Sequence[int], workers: int) -> Iterator[int]:
        """Render seeds in this process or in others, and yield each one when it is done."""
        jobs = [(self._folder_of(seed), seed, self.plan, self._street) for seed in seeds]
        if workers < 1:
            for job in jobs:
                yield _render_seed(*job)
            return

        yield from in_processes(
            _render_job, jobs, workers, tuple, lambda job: f'street seed {job[1]}')

    def _folder_of(self, seed: int) -> Path:
        return self.folder / f'seed_{seed:06d}'


def street_code() -> str:
    """
    Return a digest of the source code that draws the street, 10 hexadecimal digits.

    Comments, docstrings and blank lines do not count.
    """
    folder = Path(synthetic.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob('*.py')):
        digest.update(code_alone(path.read_bytes()).encode())
    return digest.hexdigest()[:10]


def code_alone(source: bytes) -> str:
    """Return the tokens of Python source, without comments, docstrings and spacing."""
    kept: list[str] = []
    starts_line = True
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        docstring = starts_line and token.type in (tokenize.STRING, tokenize.NEWLINE)
        if docstring or token.type in (tokenize.COMMENT, tokenize.NL):
            continue
        kept.append(_STRUCTURE.get(token.type, token.string))
        starts_line = token.type in _STRUCTURE

    return ''.join(kept)


def _render_job(_: Any, job: tuple[Any, ...]) -> int:
    """Call :func:`_render_seed` in another process."""
    return _render_seed(*job)


def _render_seed(
        folder: Path, seed: int, plan: ClipPlan,
        street_class: Callable[..., StreetLike] | None) -> int:
    """Render the clips of one seed into a folder that appears only when it is complete."""
    shape = (plan.clips, plan.frames, plan.height, plan.width)
    arrays = {
        kind: np.empty((*shape, 3) if kind == 'image' else shape, dtype)
        for kind, dtype in _KINDS.items()}
    boxes: list[NDArray[np.float32]] = []

    try:
        height = plan.height_of(seed)
        options: dict[str, Any] = {} if height is None else {'camera_height': height}
        if (look := plan.look_of(seed)) != LOOKS[0]:
            options['look'] = look
        scale = np.float32(1 / plan.height_ratio(seed))
        street = (street_class or _street_class())(
            seed, width=plan.width, height=plan.height, rate=plan.rate, antialias=plan.antialias,
            **options)

        for clip, indices in enumerate(plan.indices(seed)):
            for position, index in enumerate(indices):
                frame = street.render(int(index))
                boxes.append(_boxes(frame))
                for kind, array in arrays.items():
                    array[clip, position] = getattr(frame, kind)
                arrays['depth'][clip, position] = frame.depth * scale
    except Exception as error:  # of any kind, so that the message names the seed
        raise DataError(
            f'street seed {seed} cannot be rendered ({type(error).__name__}: {error}); leave it '
            'out of the seeds, and report it') from error

    # Two trainings may render the same seed at the same time, each into its own folder.
    temporary = part_of(folder)
    temporary.mkdir(parents=True)
    arrays[_BOXES] = stacked(boxes).reshape(plan.clips, plan.frames, -1, 5)

    try:
        for kind, array in arrays.items():
            np.save(temporary / f'{kind}.npy', array)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # the other training was first, with the same clips
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return seed


def _boxes(frame: Any) -> NDArray[np.float32]:
    """Return the (M, 5) boxes of the objects with enough visible pixels."""
    visible = np.bincount(frame.instance.ravel())
    rows = [
        (box.x_min, box.y_min, box.x_max + 1, box.y_max + 1,
         STREET_DETECTION.semantic_ids.index(box.class_id))
        for box in frame.boxes if visible[box.instance] >= SMALLEST_BOX]
    return np.array(rows, np.float32).reshape(-1, 5)


def _street_class() -> Callable[..., StreetLike]:
    """Return the default class of streets."""
    street: Callable[..., StreetLike] = synthetic.Street
    return street


def _digest(plan: dict[str, Any]) -> str:
    # Settings that came later count only where they are used: older caches keep their names.
    later = {'heights': (), 'look': LOOKS[0], 'classic_share': 0.0}
    plan = {key: value for key, value in plan.items()
            if key not in later or value != later[key]}
    text = json.dumps({'format': _FORMAT, **plan}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
