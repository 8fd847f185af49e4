# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import PositiveFloat

from mtl_perception.errors import ConfigurationError
from mtl_perception.settings import (
    FROM_LIST,
    arguments_of,
    checked,
    checked_dataclass,
    one_of,
    parse_yaml,
    read_yaml,
    write_yaml,
)


@checked_dataclass
class Lens:
    focal_px: PositiveFloat
    kind: Annotated[str, one_of(['pinhole', 'fisheye'])] = 'pinhole'
    centre: Annotated[tuple[float, float], FROM_LIST] = (0.0, 0.0)


class Camera:
    def __init__(self, name: str, rate: float = 10.0, lens: str = '') -> None:
        self.name = name


def test_every_mistake_is_listed_with_its_place_and_what_is_wanted():
    with pytest.raises(ConfigurationError) as refused:
        checked(Lens, {'focal_px': -1, 'kind': 'pinhol', 'centre': [1, 'x'], 'foo': 1}, 'a.yaml')

    text = str(refused.value)
    assert text.startswith('a.yaml: focal_px is -1; it must be greater than 0; ')
    assert "kind is 'pinhol'; did you mean 'pinhole'? There are ['pinhole', 'fisheye']" in text
    assert "centre[1] is 'x'; it must be a valid number" in text
    assert "foo does not exist; did you mean 'focal_px'?" in text

    with pytest.raises(ConfigurationError, match=r'^a.yaml: focal_px is missing$'):
        checked(Lens, {}, 'a.yaml')
    with pytest.raises(ConfigurationError, match='it must be a table of keys and values'):
        checked(Lens, [1], 'a.yaml')
    with pytest.raises(ConfigurationError, match=r'^Lens: focal_px is -1; it must'):
        Lens(focal_px=-1)
    assert checked(Lens, {'focal_px': 3, 'centre': [1, 2.5]}, '') == Lens(3.0, centre=(1.0, 2.5))


def test_the_arguments_of_a_constructor_are_a_table_without_defaults():
    table = arguments_of(Camera, {'lens': None})
    assert checked(table, {'name': 'left'}, 'camera') == {'name': 'left'}
    for content, message in (
            ({}, 'camera: name is missing'), ({'name': 'a', 'lens': 'b'}, 'lens does not exist'),
            ({'name': 'a', 'rate': True}, 'rate is True; it must be a valid number')):
        with pytest.raises(ConfigurationError, match=message):
            checked(table, content, 'camera')


def test_numbers_with_an_exponent_are_numbers_and_texts_stay_texts():
    assert parse_yaml('[1e-3, 2E5, .5e+1, 1.0e3]', '') == [0.001, 2e5, 5.0, 1000.0]
    assert parse_yaml('[1e, e5, 0x1e5, 12e4a]', '') == ['1e', 'e5', 0x1e5, '12e4a']

    content = {'code': '12e4', 'rate': 1e-7, 'name': '007', 7: [1, 2]}
    assert parse_yaml(write_yaml(content), '') == content
    assert parse_yaml(write_yaml(content, one_line=True), '') == content
    assert '\n' not in write_yaml(content, one_line=True).strip()


@pytest.mark.parametrize(('content', 'message'), [
    (b'a: [', 'not readable as YAML'), (b'- 1', 'expected keys and values, found'),
    (b'\xff\xfe', 'not a readable')])
def test_a_file_that_holds_no_settings_names_itself(tmp_path, content, message):
    path = tmp_path / 'broken.yaml'
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=rf'broken\.yaml: {message}'):
        read_yaml(path)
    with pytest.raises(ConfigurationError, match=r'nowhere\.yaml: does not exist; wanted a YAML'):
        read_yaml(Path('nowhere.yaml'))
    with pytest.raises(ConfigurationError, match='is a folder; wanted a YAML file'):
        read_yaml(tmp_path)
