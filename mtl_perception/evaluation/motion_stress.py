# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Moving objects under stress: turns, shadows, darkness, wrong calibration, lost frames."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion import MotionEstimator, MotionTracker, Pinhole
from mtl_perception.egomotion.pinhole import inverse
from mtl_perception.egomotion.static import textured_pixels
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.motion_evaluation import (
    FRAMES,
    RATE,
    Clip,
    EgoErrors,
    MotionHeadEvaluator,
)
from mtl_perception.evaluation.street_evaluation import SamplingPlan
from mtl_perception.inference.engine import Engine, MotionScorer
from mtl_perception.synthetic import Street

Image = NDArray[np.uint8]
Pose = NDArray[np.float64]

TURN_DEGREES = 1.5
"""Yaw from frame to frame while turning: 15 degrees a second."""
SHADOW_STEP_PX = 12
"""Pixels that a shadow moves from frame to frame."""
SHADOW_WIDTH_PX = 70
SHADOW_LIGHT = 0.55
"""Share of the light that is left in the shadow."""
DARK_LIGHT = 0.2
"""Light at night as a share of that of the day."""
DARK_NOISE = 4.0
"""Standard deviation of the noise at night, grey values."""
WRONG_FOCAL = 1.3
MISLEADING_DEGREES = 5.0
MISLEADING_M = 2.0
"""Error of a misleading initial pose."""
HIDDEN_SHARE = 0.67
"""Share of an image that is hidden to make the ego-motion fail."""
STANDING_M = 0.03
"""The camera counts as standing if it moves less than this over a clip, metres."""


def turned(image: Image, pose: Pose, age: int, camera: Pinhole) -> tuple[Image, Pose]:
    """Return the view of a turned camera; the older the frame, the larger the turn."""
    angle = np.radians(TURN_DEGREES) * age
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0],
                     [-np.sin(angle), 0, np.cos(angle)]])

    # a rotation alone moves pixels by the homography K R K^-1, whatever the depth
    from_turned = camera.matrix @ turn @ np.linalg.inv(camera.matrix)
    seen = cv2.warpPerspective(
        image, from_turned, (image.shape[1], image.shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)

    placed = pose.copy()
    placed[:3, :3] = pose[:3, :3] @ turn
    return seen.astype(np.uint8, copy=False), placed


def shadowed(image: Image, pose: Pose, age: int, camera: Pinhole) -> tuple[Image, Pose]:
    """Return the frame with a slanted shadow that passes from left to right."""
    height, width = image.shape[:2]
    left = width // 2 - SHADOW_WIDTH_PX // 2 - age * SHADOW_STEP_PX
    corners = np.array([[left, 0], [left + SHADOW_WIDTH_PX, 0],
                        [left + SHADOW_WIDTH_PX - 40, height], [left - 40, height]], np.int32)
    shade = cv2.fillPoly(np.ones((height, width), np.float32), [corners], SHADOW_LIGHT)
    return np.rint(image * cv2.blur(shade, (5, 5))[..., None]).astype(np.uint8), pose


def darkened(image: Image, pose: Pose, age: int, camera: Pinhole) -> tuple[Image, Pose]:
    """Return the frame with little light and the noise that comes with it."""
    noise = np.random.default_rng((age, int(image[0, 0, 0]))).normal(0, DARK_NOISE, image.shape)
    return np.clip(np.rint(image * DARK_LIGHT + noise), 0, 255).astype(np.uint8), pose


def unchanged(image: Image, pose: Pose, age: int, camera: Pinhole) -> tuple[Image, Pose]:
    """Return the frame unchanged."""
    return image, pose


CHANGES: dict[str, Callable[[Image, Pose, int, Pinhole], tuple[Image, Pose]]] = {
    'as driven': unchanged, 'turning': turned, 'passing shadow': shadowed, 'night': darkened}
OTHERS = ('standing still', 'wrong focal length', 'dropped frames')
CONDITIONS = (*CHANGES, *OTHERS)


def conditions(
    engine: Engine, head: MotionScorer, seeds: Sequence[int], plan: SamplingPlan,
    wanted: Sequence[str] = CONDITIONS,
    show: Callable[[Sequence[int]], Any] = lambda numbers: numbers,
) -> dict[str, dict[str, Any]]:
    """
    Return the metrics of :class:`.MotionHeadEvaluator` for each condition.

    :param engine: the network; its depth and semantics are predicted on the changed images.
    :param head: of the model.
    :param seeds: of the streets.
    :param plan: which frames of each street. Standing still has one clip for each street on which
        the camera stands somewhere.
    :param wanted: names of ``CONDITIONS``.
    :param show: wraps the seeds, for a progress bar.
    """
    evaluators = {name: MotionHeadEvaluator(head, engine) for name in wanted}
    for seed in show(seeds):
        street = Street(seed, plan.width, plan.height, RATE)
        for _, evaluated in plan.pairs(seed):
            last = max(evaluated, FRAMES - 1)
            for name, change in CHANGES.items():
                if name in evaluators:
                    evaluators[name].update(_clip(engine, street, last, change))

            # one clip serves both conditions
            if {'wrong focal length', 'dropped frames'} & evaluators.keys():
                clip = _clip(engine, street, last, unchanged)
                for name, other in _mishaps(clip):
                    if name in evaluators:
                        evaluators[name].update(other)

        if 'standing still' in evaluators:
            for last in _standing(street, plan):
                evaluators['standing still'].update(_clip(engine, street, last, unchanged))
    return {name: evaluator.compute() for name, evaluator in evaluators.items()}


def provoked(
    engine: Engine, seeds: Sequence[int], plan: SamplingPlan,
    show: Callable[[Sequence[int]], Any] = lambda numbers: numbers,
) -> dict[str, Any]:
    """
    Return how well the quality of an ego-motion detects failures that are provoked.

    The first frame of each clip is compared with the last without a guess, with a misleading one
    (five degrees aside, two metres off), and with most of it hidden behind noise.

    :param engine: the network.
    :param seeds: of the streets.
    :param plan: which frames of each street.
    :param show: wraps the seeds, for a progress bar.
    :return: of :class:`.EgoErrors`.
    :raises ConfigurationError: if the model has no semantics.
    """
    errors = EgoErrors()
    semantic = engine.manifest.task('semantic')
    if semantic is None:
        raise ConfigurationError(f'model {engine.manifest.name!r} has no semantics')

    angle = np.radians(MISLEADING_DEGREES)
    misleading = np.array([
        [np.cos(angle), 0, np.sin(angle), MISLEADING_M], [0, 1, 0, 0],
        [-np.sin(angle), 0, np.cos(angle), -MISLEADING_M], [0, 0, 0, 1]])

    for seed in show(seeds):
        street = Street(seed, plan.width, plan.height, RATE)
        rng = np.random.default_rng(seed)
        for _, evaluated in plan.pairs(seed):
            clip = _clip(engine, street, max(evaluated, FRAMES - 1), unchanged)
            tracker = MotionTracker(clip.camera, semantic.movable, semantic.sky)
            depth = clip.outputs[-1].depth
            ids = clip.outputs[-1].semantic
            assert depth is not None
            assert ids is not None

            earlier, newest = (
                np.asarray(cv2.cvtColor(clip.images[place], cv2.COLOR_RGB2GRAY), np.uint8)
                for place in (0, -1))

            # noise in the upper part hides most of the static scene
            hidden = earlier.copy()
            rows = slice(0, round(HIDDEN_SHARE * len(hidden)))
            hidden[rows] = rng.integers(0, 256, hidden[rows].shape, np.uint8)

            true = inverse(clip.poses[0]) @ clip.poses[-1]
            estimator = MotionEstimator(clip.camera, 'full')
            pixels = textured_pixels(newest, tracker.static(ids))
            for image, guess in ((earlier, None), (earlier, misleading), (hidden, None)):
                ego = estimator.estimate(newest, image, depth, pixels, guess)
                errors.update(ego.pose, true, ego.quality)
    return errors.compute()


def _clip(
    engine: Engine, street: Street, last: int,
    change: Callable[[Image, Pose, int, Pinhole], tuple[Image, Pose]],
) -> Clip:
    """Return the clip that ends at a frame, changed."""
    camera = Pinhole.from_matrix(street.intrinsics)
    frames = [street.render(number) for number in range(last - FRAMES + 1, last + 1)]
    changed = [change(frame.image, frame.pose, FRAMES - 1 - place, camera)
               for place, frame in enumerate(frames)]
    outputs = [engine.step(image, None, ('semantic', 'depth'))[0] for image, _ in changed]
    return Clip([image for image, _ in changed], outputs, [pose for _, pose in changed],
                frames[-1], camera)


def _mishaps(clip: Clip) -> Iterator[tuple[str, Clip]]:
    """Yield the clip with a wrong calibration, then without its middle frames."""
    camera = dataclasses.replace(
        clip.camera, fx=clip.camera.fx * WRONG_FOCAL, fy=clip.camera.fy * WRONG_FOCAL)
    yield 'wrong focal length', dataclasses.replace(clip, camera=camera)
    ends = (0, len(clip.images) - 1)
    yield 'dropped frames', dataclasses.replace(
        clip, images=[clip.images[place] for place in ends],
        outputs=[clip.outputs[place] for place in ends],
        poses=[clip.poses[place] for place in ends], stamps=ends)


def _standing(street: Street, plan: SamplingPlan) -> list[int]:
    """Return the last frame of the first clip in which the camera stands, empty if none."""
    count = int(plan.drive * RATE)
    places = np.stack([street.pose(number)[:3, 3] for number in range(count)])
    travel = np.linalg.norm(places[FRAMES - 1:] - places[:-FRAMES + 1], axis=1)
    still = np.flatnonzero(travel < STANDING_M)
    return [int(still[0]) + FRAMES - 1] if len(still) else []


def as_markdown(metrics: dict[str, dict[str, Any]]) -> str:
    """Return the metrics as a table."""
    lines = ['| condition | AUC | balanced accuracy | moving IoU | parked called moving | unknown '
             '| ego-motion good | believed | objects |', '|' + '---|' * 9]
    for name, row in metrics.items():
        motion, ego = row['motion']['residual'], row['ego_motion']
        groups = motion['groups']['size']

        # parked objects called moving, over all sizes
        parked = sum(one['objects'] - one['objects_moving'] for one in groups)
        wrong = sum((one['parked_called_moving'] or 0) * (one['objects'] - one['objects_moving'])
                    for one in groups)

        cells = [motion['auc'], motion['balanced_accuracy'], motion['iou_moving'],
                 wrong / parked if parked else None, motion['unknown'], ego['good'],
                 ego['believed']]
        shown = ['n/a' if cell is None else f'{cell:.3f}' for cell in cells]
        lines.append(f'| {name} | ' + ' | '.join(shown) + f' | {motion["objects"]} |')
    return '\n'.join(lines)
