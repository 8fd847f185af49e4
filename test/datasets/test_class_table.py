# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How the classes of models and data sets are matched, by hand for the sets that are read."""

import pytest

from mtl_perception.datasets import camvid, cityscapes, nyu, pandaset, synthia, woodscape
from mtl_perception.datasets.class_table import MEANINGS, map_classes, read_class_map
from mtl_perception.errors import ConfigurationError
from mtl_perception.tasks import STREET_DETECTION, STREET_SEMANTIC, Task


def classes(*names):
    return Task('semantic', 'classes', names, ((0, 0, 0),) * len(names))


def test_the_street_on_camvid_has_all_classes_but_the_fence():
    found = map_classes(STREET_SEMANTIC, camvid.SEMANTIC)

    assert found.task.classes == camvid.SEMANTIC.classes
    assert found.parts['road'] == ['road', 'road_marking']
    assert found.parts['tree'] == ['vegetation', 'terrain']
    assert found.parts['bicyclist'] == ['cyclist']
    assert (found.lacking, found.unmatched) == (['fence'], [])

    # The ids: the street's terrain (5) counts as CamVid's tree (5), its sky (11) as 0.
    assert found.model[[5, 11, 1, 200]].tolist() == [5, 0, 3, 255]
    assert found.labels[:12].tolist() == [*range(11), 255]
    assert (found.task.movable, found.task.sky) == (camvid.SEMANTIC.movable, 0)


def test_the_street_on_cityscapes_joins_what_it_does_not_tell_apart():
    found = map_classes(STREET_SEMANTIC, cityscapes.SEMANTIC)

    assert found.parts['car + truck + bus'] == ['car']
    assert found.parts['rider + motorcycle + bicycle'] == ['cyclist']
    assert found.parts['traffic light + traffic sign'] == ['traffic_sign']
    assert found.lacking == ['wall', 'fence', 'train']

    names = cityscapes.SEMANTIC.classes
    assert found.labels[names.index('truck')] == found.model[8]  # the street's car
    assert [found.task.classes[kind] for kind in found.task.movable] == [
        'person', 'rider + motorcycle + bicycle', 'car + truck + bus', 'train']


def test_seven_categories_and_nineteen_classes_meet_in_the_categories():
    down = map_classes(cityscapes.SEMANTIC, cityscapes.CATEGORIES)
    up = map_classes(cityscapes.CATEGORIES, cityscapes.SEMANTIC)

    assert down.parts['human'] == ['person', 'rider']
    assert down.parts['vehicle'] == ['car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle']
    assert up.parts['car + truck + bus + train + motorcycle + bicycle'] == ['vehicle']
    assert up.parts['person + rider'] == ['human']
    assert (up.lacking, down.lacking, up.unmatched, down.unmatched) == ([], [], [], [])


def test_the_street_on_pandaset_counts_cyclists_as_persons():
    found = map_classes(STREET_SEMANTIC, pandaset.SEMANTIC)
    assert found.parts == {
        'road': ['road'], 'road marking': ['road_marking'], 'sidewalk': ['sidewalk'],
        'building': ['building'], 'vegetation': ['vegetation', 'terrain'], 'car': ['car'],
        'person': ['person', 'cyclist']}
    assert found.unmatched == ['pole', 'traffic_sign', 'sky']


def test_what_woodscape_calls_void_holds_the_rest_of_a_models_classes():
    found = map_classes(STREET_SEMANTIC, woodscape.SEMANTIC)
    assert {'sky', 'building', 'sidewalk'} <= set(found.parts['void'])
    assert found.parts['vehicle'] == ['car']
    assert (found.lacking, found.unmatched) == (['curb'], [])


def test_synthia_tells_markings_and_persons_apart():
    found = map_classes(STREET_SEMANTIC, synthia.SEMANTIC)
    assert found.parts['lane marking'] == ['road_marking']
    assert found.parts['pedestrian + bicycle'] == ['person', 'cyclist']


def test_boxes_are_mapped_like_masks():
    found = map_classes(STREET_DETECTION, cityscapes.DETECTION)
    assert found.parts['car + truck + bus'] == ['car']
    assert found.lacking == ['train']


def test_a_street_and_rooms_have_nothing_in_common():
    with pytest.raises(ConfigurationError, match=r'no class of the model, .* --class-map FILE'):
        map_classes(STREET_SEMANTIC, nyu.SEMANTIC)


def test_names_that_the_table_does_not_know_match_if_they_are_equal():
    found = map_classes(classes('Wet-Road', 'crate'), classes('crate', 'wet road', 'pallet'))
    assert found.parts == {'crate': ['crate'], 'wet road': ['Wet-Road'], 'pallet': []}


def test_every_class_of_the_roads_that_are_read_is_in_the_table():
    known = [camvid.SEMANTIC, cityscapes.SEMANTIC, synthia.SEMANTIC, pandaset.SEMANTIC,
             STREET_SEMANTIC]
    names = {name.replace('_', ' ') for task in known for name in task.classes}
    assert names - {'sky'} <= set(MEANINGS)


def test_a_class_map_in_yaml_goes_before_the_table(tmp_path):
    path = tmp_path / 'map.yaml'
    path.write_text('cyclist: []\nbuilding: [building, wall]\ncar: car\n')
    found = map_classes(STREET_SEMANTIC, cityscapes.SEMANTIC, read_class_map(path))

    assert found.parts['building + wall'] == ['building']
    assert found.parts['car'] == ['car']
    assert 'cyclist' in found.unmatched
    assert {'truck', 'bus'} <= set(found.lacking)
    assert found.parts['person + rider + motorcycle + bicycle'] == ['person']


@pytest.mark.parametrize('text', ['1: car', 'car: {a: b}', 'car: [1]', 'no: car'])
def test_a_class_map_that_is_none_is_refused_with_its_line(tmp_path, text):
    path = tmp_path / 'map.yaml'
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r'map\.yaml: .*wanted MODEL CLASS: DATA CLASS'):
        read_class_map(path)
