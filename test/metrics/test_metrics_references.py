# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics equal those of Cityscapes' scripts and of the COCO tools, in corner cases too."""

import math

import cv2
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error

from mtl_perception.datasets.cityscapes import ids_for
from mtl_perception.metrics import (
    BoundaryMetrics,
    DetectionMetrics,
    InverseDepthMetrics,
    SegmentationMetrics,
)

CLASSES = 19


def cityscapes_files(kind, random):
    """Return three pairs of prediction and truth, (11, 13) uint8 in the numbers of the files."""
    pairs = []
    for number in range(3):
        prediction, truth = random.integers(0, 34, (2, 11, 13), np.uint8)

        if kind == 'one class':
            prediction[:] = truth[:] = 7
        elif kind == 'perfect':
            prediction = truth.copy()
        # missing labels and classes
        elif kind == 'nothing is labelled':
            truth[:] = 0
        elif kind == 'one frame is not labelled' and number == 1:
            truth[:] = 3
        elif kind == 'a class is never true':
            truth[truth == 26] = 7
        elif kind == 'a class is never predicted':
            prediction[prediction == 26] = 7
        elif kind == 'one labelled pixel':
            truth[:] = 0
            if number == 2:
                truth[4, 4] = 24

        pairs.append((prediction, truth))
    return pairs


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('kind', [
    'random', 'one class', 'perfect', 'nothing is labelled', 'one frame is not labelled',
    'a class is never true', 'a class is never predicted', 'one labelled pixel'])
def test_segmentation_equals_that_of_the_cityscapes_scripts(tmp_path, kind, seed):
    scripts = pytest.importorskip(
        'cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling')
    from cityscapesscripts.helpers.labels import labels
    args = scripts.args
    args.evalInstLevelScore = False
    matrix = scripts.generateMatrix(args)

    ours = np.full(256, 255, np.uint8)
    for number, kept in ids_for(CLASSES).items():
        if 0 <= number < 34:
            ours[number] = kept

    metrics = SegmentationMetrics([str(number) for number in range(CLASSES)])
    for number, (prediction, truth) in enumerate(
            cityscapes_files(kind, np.random.default_rng(seed))):
        paths = [str(tmp_path / f'{number}{name}.png') for name in ('p', 't')]
        for path, values in zip(paths, (prediction, truth)):
            cv2.imwrite(path, values)
        scripts.evaluatePair(*paths, matrix, {}, {}, args)
        metrics.update(ours[prediction], ours[truth])

    wanted = {label.trainId: scripts.getIouScoreForLabel(label.id, matrix, args)
              for label in labels if 0 <= label.trainId < CLASSES and label.id >= 0}
    result = metrics.compute()
    absent = {int(name) for name in result['absent']}
    if len(absent) > CLASSES - 2:  # a single class tells nothing
        absent = set(range(CLASSES))
        wanted = {}

    for number, iou in wanted.items():
        if number in absent:  # the scripts give 0 to an absent class that is predicted
            assert result['iou'][str(number)] is None
            assert math.isnan(iou) or iou == 0
        else:
            assert result['iou'][str(number)] == pytest.approx(iou, abs=1e-12)

    known = {number: iou for number, iou in wanted.items() if number not in absent}
    if known:
        assert result['miou'] == pytest.approx(scripts.getScoreAverage(known, args))
    else:
        assert result['miou'] is None

    assert len(known) == {'one class': 0, 'nothing is labelled': 0, 'one labelled pixel': 0,
                          'a class is never true': CLASSES - 1}.get(kind, CLASSES)


def coco_metrics(coco, images):
    """Return COCO's AP and AP50 of images of (found, scores, kinds, true, true kinds)."""
    annotations, results = [], []
    for number, (found, scores, kinds, true, true_kinds) in enumerate(images, 1):
        for box, kind in zip(true, true_kinds):
            annotations.append({
                'id': len(annotations) + 1, 'image_id': number, 'category_id': int(kind) + 1,
                'bbox': [*box[:2], *(box[2:] - box[:2])], 'iscrowd': 0,
                'area': float((box[2:] - box[:2]).prod())})
        results += [{'image_id': number, 'category_id': int(kind) + 1, 'score': float(score),
                     'bbox': [*box[:2], *(box[2:] - box[:2])]}
                    for box, score, kind in zip(found, scores, kinds)]

    wanted = coco.COCO({
        'images': [{'id': number, 'width': 100, 'height': 100}
                   for number in range(1, len(images) + 1)],
        'annotations': annotations,
        'categories': [{'id': number, 'name': str(number)} for number in (1, 2)]})
    evaluation = coco.COCOeval_faster(wanted, wanted.loadRes(results), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


@pytest.mark.parametrize('kind', [
    'a class without objects', 'an image without boxes', 'an image without objects', 'perfect',
    'all wrong', 'equal scores in an image', 'more than a hundred boxes'])
def test_box_metrics_equal_those_of_the_coco_tools_in_corner_cases(kind):
    coco = pytest.importorskip('faster_coco_eval')
    random = np.random.default_rng(1)
    images = []
    for number in range(4):
        low = random.uniform(0, 60, (5, 2))
        true = np.hstack([low, low + random.uniform(8, 30, (5, 2))])
        kinds = random.integers(0, 2, 5)
        found, scores = true + random.normal(0, 2, true.shape), random.random(5)
        said = kinds.copy()

        if kind == 'a class without objects':
            kinds[:] = 0
        elif kind == 'an image without boxes' and number == 1:
            found, scores, said = np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)
        elif kind == 'an image without objects' and number == 1:
            true, kinds = np.zeros((0, 4)), np.zeros(0, int)
        # good, bad and too many predictions
        elif kind == 'perfect':
            found = true.copy()
        elif kind == 'all wrong':
            found = true + 200
        elif kind == 'more than a hundred boxes':
            found = np.repeat(found, 30, 0) + random.normal(0, 3, (150, 4))
            found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
            scores, said = random.random(150), np.repeat(said, 30)

        if kind == 'equal scores in an image':
            scores = np.full(len(found), 0.1 + 0.2 * number)
        images.append((found, scores, said, true, kinds))

    metrics = DetectionMetrics(('a', 'b'))
    for image in images:
        metrics.update(*image)
    result = metrics.compute()

    assert (result['ap'], result['ap50']) == pytest.approx(coco_metrics(coco, images), abs=1e-6)


def test_without_objects_average_precision_is_none_where_coco_returns_minus_one():
    coco = pytest.importorskip('faster_coco_eval')
    image = (np.float64([[1, 2, 9, 9]]), np.array([0.5]), np.array([0]), np.zeros((0, 4)),
             np.zeros(0, int))
    metrics = DetectionMetrics(('a', 'b'))
    metrics.update(*image)

    assert metrics.compute()['ap'] is None
    assert coco_metrics(coco, [image]) == (-1, -1)


@pytest.mark.parametrize('unit', ['inverse_depth', 'disparity_px'])
@pytest.mark.parametrize('kind', ['random', 'perfect', 'one pixel', 'mostly unknown'])
def test_inverse_depth_equals_that_of_scikit_learn(kind, unit):
    random = np.random.default_rng(4)
    truth = random.uniform(1, 80, (3, 7, 9))
    prediction = truth * random.uniform(0.6, 1.6, truth.shape)
    if kind == 'perfect':
        prediction = truth.copy()
    elif kind == 'one pixel':
        truth.flat[1:] = np.nan
    elif kind == 'mostly unknown':
        truth[random.random(truth.shape) < 0.9] = np.inf

    camera = {} if unit == 'inverse_depth' else {'focal_px': 700.0, 'baseline_m': 0.5}
    factor = 1.0 if unit == 'inverse_depth' else 350.0

    metrics = InverseDepthMetrics(unit, **camera)
    for found, wanted in zip(prediction, truth):
        metrics.update(found, wanted)
    known = np.isfinite(truth)
    wanted, found = factor / truth[known], factor / prediction[known]
    result = metrics.compute()

    assert result['abs_err'] == pytest.approx(mean_absolute_error(wanted, found))
    assert result['rel_err'] == pytest.approx(mean_absolute_percentage_error(wanted, found))

    empty = InverseDepthMetrics(unit, **camera)
    empty.update(prediction[0], np.full((7, 9), np.nan))

    assert empty.compute()['abs_err'] is None


def outline(ids, kind, truth):
    """Return the places of an outline, pixel by pixel."""
    places, (height, width) = [], ids.shape
    for row in range(height):
        for column in range(width):
            if ids[row, column] != kind or truth[row, column] == 255:
                continue
            around = [(row + down, column + right) for down, right in (
                (1, 0), (-1, 0), (0, 1), (0, -1))]
            if any(0 <= r < height and 0 <= c < width and truth[r, c] != 255
                   and ids[r, c] != kind for r, c in around):
                places.append((row, column))
    return places


def met(some, others, tolerance):
    return sum(any(max(abs(row - r), abs(column - c)) <= tolerance for r, c in others)
               for row, column in some)


@pytest.mark.parametrize('tolerance', [0, 1, 2])
@pytest.mark.parametrize('kind', ['random', 'blobs', 'perfect', 'one class', 'all ignored'])
def test_outlines_equal_those_of_a_search_pixel_by_pixel(kind, tolerance):
    random = np.random.default_rng(2)
    metrics = BoundaryMetrics(['a', 'b', 'c'], tolerance)
    counts = np.zeros((3, 4), int)
    for _ in range(3):
        truth, prediction = random.integers(0, 3, (2, 9, 12), np.uint8)
        if kind == 'blobs':
            truth = random.integers(0, 3, (3, 4), np.uint8).repeat(3, 0).repeat(3, 1)
            prediction = np.roll(truth, 1, 1)
        elif kind == 'perfect':
            prediction = truth.copy()
        elif kind == 'one class':
            truth[:] = prediction[:] = 1

        # the mask of unlabelled pixels, which covers everything in one case
        truth[random.random(truth.shape) < (1.1 if kind == 'all ignored' else 0.1)] = 255

        metrics.update(prediction, truth)
        for number in range(3):
            found, wanted = (outline(ids, number, truth) for ids in (prediction, truth))
            counts[number] += (len(found), met(found, wanted, tolerance), len(wanted),
                               met(wanted, found, tolerance))

    measures = []
    for number, (predicted, right, true, reached) in enumerate(counts):
        expected = None
        if true:
            precision, recall = right / predicted if predicted else 0, reached / true
            expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
            measures.append(expected)
        assert metrics.compute()['f_of']['abc'[number]] == (
            None if expected is None else pytest.approx(expected))

    assert metrics.compute()['f'] == (pytest.approx(np.mean(measures)) if measures else None)

    if kind == 'perfect':
        assert metrics.compute()['f'] == 1.0
    if kind in ('one class', 'all ignored'):
        assert metrics.compute()['f'] is None
