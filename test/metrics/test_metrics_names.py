# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names, direction and text of the main metrics."""

from mtl_perception.metrics import (
    COMPARED,
    LOWER_IS_BETTER,
    MAIN_METRICS,
    METRICS,
    main_metrics,
    metric_text,
)


def test_a_key_a_label_and_a_row_name_one_metric():
    for names in (
            [(metric.task, metric.key) for metric in METRICS],
            [metric.label for metric in MAIN_METRICS],
            [metric.row or metric.label for metric in METRICS if not metric.per_class]):
        assert len(set(names)) == len(names)

    assert {metric.task for metric in MAIN_METRICS} == {
        'semantic', 'depth', 'motion', 'instance', 'detection'}


def test_the_errors_of_depth_are_the_only_main_metrics_that_shrink():
    assert [metric.label for metric in MAIN_METRICS if metric.label in LOWER_IS_BETTER] == [
        'AbsRel', 'Abs Err', 'Rel Err']


def test_baselines_threshold_metrics_and_those_of_single_papers_are_not_compared():
    assert {metric.label for metric in MAIN_METRICS} - COMPARED == {
        'all movable', 'instance precision', 'box recall', 'Abs Err', 'Rel Err',
        'motion pixel accuracy'}


def test_main_metrics_come_in_the_order_of_the_table_and_leave_out_what_has_no_value():
    validation = {
        'step': 40,
        'depth': {'delta1': 0.75, 'abs_rel': 0.25, 'rmse': 4.0},
        'semantic': {'miou': 1, 'pixel_accuracy': None}}

    found = main_metrics(validation)

    assert list(found.items()) == [('mIoU', 1.0), ('AbsRel', 0.25), ('delta1', 0.75)]
    assert isinstance(found['mIoU'], float)


def test_a_metric_is_printed_with_three_decimals():
    assert metric_text(0.98765) == '0.988'
