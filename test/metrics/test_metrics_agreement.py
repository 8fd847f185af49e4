# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics agree with those of scikit-learn, on random and on degenerate inputs."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    jaccard_score,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    roc_auc_score,
)

from mtl_perception.metrics import DepthMetrics, MotionMetrics, SegmentationMetrics
from mtl_perception.metrics.motion import area_under_curve

CLASSES = 5


def masks(kind, generator):
    """Return (prediction, truth) of three frames, (3, 9, 11) uint8 each."""
    shape = (3, 9, 11)
    prediction = generator.integers(0, CLASSES, shape, np.uint8)
    truth = generator.integers(0, CLASSES, shape, np.uint8)

    if kind == 'perfect':
        prediction = truth.copy()
    elif kind == 'one class':
        prediction[:] = truth[:] = 3
    elif kind == 'all wrong':
        prediction = ((truth + 1) % CLASSES).astype(np.uint8)
    elif kind == 'a class is never true':
        truth[truth == 2] = 4
    elif kind == 'a class is never predicted':
        prediction[prediction == 2] = 0
    # missing labels
    elif kind == 'a frame without labels':
        truth[1] = 255
    elif kind == 'one labelled pixel':
        truth[:] = 255
        truth[2, 4, 4] = 1

    # a fifth of the pixels has no label
    truth[generator.random(shape) < (0.0 if kind == 'one labelled pixel' else 0.2)] = 255
    return prediction, truth


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('kind', [
    'random', 'perfect', 'one class', 'all wrong', 'a class is never true',
    'a class is never predicted', 'a frame without labels', 'one labelled pixel'])
def test_segmentation_agrees_with_scikit_learn(kind, seed):
    prediction, truth = masks(kind, np.random.default_rng(seed))
    metrics = SegmentationMetrics([str(number) for number in range(CLASSES)])
    for found, wanted in zip(prediction, truth):
        metrics.update(found, wanted)

    known = truth < CLASSES
    found, wanted = prediction[known], truth[known]
    present = np.unique(wanted)
    result = metrics.compute()

    np.testing.assert_array_equal(
        metrics.confusion[:, :CLASSES], confusion_matrix(wanted, found, labels=range(CLASSES)))
    assert result['absent'] == [str(n) for n in range(CLASSES) if n not in present]
    if len(present) < 2:  # scikit-learn gives a number, which tells nothing
        assert {result[name] for name in ('miou', 'miou_per_image', 'pixel_accuracy')} == {None}
        return
    assert result['pixel_accuracy'] == pytest.approx(accuracy_score(wanted, found))

    ious = jaccard_score(wanted, found, labels=present, average=None, zero_division=0)

    assert [result['iou'][str(number)] for number in present] == pytest.approx(ious.tolist())
    assert result['miou'] == pytest.approx(ious.mean())

    # each image's own mean: over all pixels and the classes in its ground truth or prediction
    means = [
        jaccard_score(labels.ravel(), image.ravel(), average='macro', labels=[
            kind for kind in np.union1d(labels, image) if kind < CLASSES])
        for image, labels in zip(prediction, truth) if (labels < CLASSES).any()]

    assert result['miou_per_image'] == pytest.approx(np.mean(means))


@pytest.mark.parametrize('kind', ['random', 'perfect', 'one pixel', 'one value', 'mostly unknown'])
def test_depth_agrees_with_scikit_learn(kind):
    generator = np.random.default_rng(7)
    truth = generator.uniform(0.5, 79, (4, 6, 7)).astype(np.float32)
    prediction = (truth * generator.uniform(0.5, 1.5, truth.shape)).clip(0.1, 80)

    if kind == 'perfect':
        prediction = truth.copy()
    elif kind == 'one value':
        prediction[:] = truth[:] = 10
    elif kind == 'one pixel':
        truth.flat[1:] = np.nan
    elif kind == 'mostly unknown':
        truth[generator.random(truth.shape) < 0.9] = np.inf

    metrics = DepthMetrics(80.0)
    for found, wanted in zip(prediction, truth):
        metrics.update(found, wanted)

    known = np.isfinite(truth)
    wanted, found = truth[known].astype(np.float64), prediction[known].astype(np.float64)
    result = metrics.compute()

    assert result['mae'] == pytest.approx(mean_absolute_error(wanted, found))
    assert result['abs_rel'] == pytest.approx(mean_absolute_percentage_error(wanted, found))
    assert result['rmse'] == pytest.approx(mean_squared_error(wanted, found) ** 0.5)
    assert result['pixels'] == known.sum()


@pytest.mark.parametrize('kind', ['random', 'ties', 'all equal', 'separated', 'reversed', 'two'])
def test_area_under_the_curve_agrees_with_scikit_learn(kind):
    generator = np.random.default_rng(11)
    positive = generator.random(60) < 0.3
    scores = generator.random(60)
    if kind == 'ties':
        scores = np.round(scores * 4) / 4
    elif kind == 'all equal':
        scores[:] = 0.5
    elif kind in ('separated', 'reversed'):
        scores = positive * (1.0 if kind == 'separated' else -1.0)
    elif kind == 'two':
        positive, scores = np.array([True, False]), np.array([0.2, 0.9])

    assert area_under_curve(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_motion_of_objects_and_pixels_agrees_with_scikit_learn():
    generator = np.random.default_rng(13)
    instance = np.arange(1, 21).repeat(100).reshape(40, 50)
    moves = generator.random(21) < 0.4
    score = generator.random((40, 50)) * 0.6 + moves[instance] * 0.25
    truth = moves[instance].astype(np.uint8)
    motion = (score > 0.5).astype(np.uint8)

    metrics = MotionMetrics([1])
    metrics.update(motion, score, truth, np.ones((40, 50), np.uint8), instance)
    result = metrics.compute()
    means = np.array([score[instance == number].mean() for number in range(1, 21)])

    assert result['auc'] == pytest.approx(roc_auc_score(moves[1:], means))
    assert result['balanced_accuracy'] == pytest.approx(
        balanced_accuracy_score(moves[1:], means > 0.5))
    assert result['iou_moving'] == pytest.approx(jaccard_score(truth.ravel(), motion.ravel()))
    assert result['iou_all_movable'] == pytest.approx(truth.mean())
