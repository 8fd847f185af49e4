# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a model: damaged, foreign or contradictory ones are refused, writing is atomic."""

import dataclasses
import json
import math
import os
import shutil
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from mtl_perception.errors import (
    CheckpointError,
    StorageError,
)
from mtl_perception.inference.manifest_checks import check_manifest
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import Manifest, read_model, write_model
from mtl_perception.tasks import STREET_DEPTH


@pytest.fixture
def copied(tiny_model, tmp_path):
    """Return a copy of the model that a test may damage."""
    for suffix in ('.safetensors', '.json'):
        shutil.copy(tiny_model.with_suffix(suffix), tmp_path / f'copy{suffix}')
    return tmp_path / 'copy.safetensors'


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        load_network(path)
    return caught.value.code, str(caught.value)


def change_weights(path, change):
    """Change the weights and write the model again with a digest that is right."""
    manifest, content = read_model(path)
    weights = load(content)
    change(weights)
    write_model(manifest, save(weights), path)


def change_manifest(path, **fields):
    file = path.with_suffix('.json')
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


# --- what is refused -------------------------------------------------------------------------

def test_a_missing_file_is_named_with_its_full_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text = refusal('nowhere.safetensors')
    assert code == 'M01'
    assert str(tmp_path / 'nowhere.safetensors') in text
    assert refusal(tmp_path)[0] == 'M01'


@pytest.mark.parametrize('name', ['a' * 300, '~no such user/model.safetensors'])
def test_an_invalid_model_name_is_refused(name):
    code, text = refusal(name)
    assert code == 'M01'
    assert 'cannot be looked up' in text


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_a_file_without_permission_is_refused(copied):
    copied.chmod(0)
    assert refusal(copied)[0] == 'M01'


def test_a_model_without_its_manifest_is_refused(copied):
    copied.with_suffix('.json').unlink()
    code, text = refusal(copied)
    assert code == 'M07'
    assert 'keep both files together' in text


@pytest.mark.parametrize(('content', 'hint'), [
    (b'', 'an empty file'), (b'<!DOCTYPE html><p>404', 'an HTML page'),
    (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
    (b'PK\x03\x04' + bytes(50), 'a pickle, which is never loaded'),
    (b'\x80\x04' + bytes(50), 'a pickle, which is never loaded'), (bytes(100), '')])
def test_a_foreign_file_is_refused_with_a_guess_of_its_kind(copied, content, hint):
    copied.write_bytes(content)
    code, text = refusal(copied)
    assert code == 'M03'
    assert hint in text


def test_a_file_that_is_cut_anywhere_is_refused(copied):
    content = copied.read_bytes()
    for part in range(1, 16):
        copied.write_bytes(content[:len(content) * part // 16])
        assert refusal(copied)[0] == 'M03'


def test_a_flipped_bit_anywhere_is_refused(copied):
    content = bytearray(copied.read_bytes())
    random = np.random.default_rng(0)
    # the header, the first and the last byte, and anywhere else
    places = [0, len(content) - 1, *random.integers(0, 5000, 50),
              *random.integers(0, len(content), 248)]
    with copied.open('r+b', buffering=0) as file:
        for place in places:
            bit = 1 << random.integers(8)
            file.seek(place)
            file.write(bytes([content[place] ^ bit]))
            assert refusal(copied)[0] == 'M03'
            file.seek(place)
            file.write(bytes([content[place]]))
    load_network(copied)  # as a control: without a flip it loads


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(copied, value):
    def change(weights):
        weights['encoder.layer3.0.conv1.weight'].view(-1)[7] = value

    change_weights(copied, change)
    code, text = refusal(copied)
    assert code == 'M08'
    assert '1 of 294912 numbers of encoder.layer3.0.conv1.weight' in text


def test_weights_of_another_network_are_refused_with_the_keys(copied):
    change_weights(copied, lambda weights: weights.pop('decoders.depth.score.0.bias'))
    code, text = refusal(copied)
    assert code == 'M06'
    assert '1 missing: decoders.depth.score.0.bias' in text

    def rename(weights):
        weights['decoders.depht.score.0.bias'] = torch.zeros(1)

    change_weights(copied, rename)
    assert '1 unexpected: decoders.depht.score.0.bias' in refusal(copied)[1]


def test_weights_of_another_shape_are_refused_with_both_shapes(copied):
    def change(weights):
        weights['decoders.semantic.score.0.weight'] = torch.zeros(19, 256, 1, 1)

    change_weights(copied, change)
    code, text = refusal(copied)
    assert code == 'M06'
    assert ('decoders.semantic.score.0.weight is (19, 256, 1, 1), wanted (12, 256, 1, 1)' in text)


def test_the_weights_of_a_deeper_encoder_are_refused_in_few_words(copied):
    manifest, content = read_model(copied)
    network = dataclasses.replace(manifest.network, encoder='resnet50')
    write_model(dataclasses.replace(manifest, network=network), content, copied)
    code, text = refusal(copied)

    assert code == 'M06'
    assert 'missing' in text
    assert len(text) < 2000


def header(text):
    return struct.pack('<Q', len(text)) + text


@pytest.mark.parametrize('content', [
    header(b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}') + bytes(4),
    header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4000000000]}}') + bytes(4),
    header(b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}}'),
    struct.pack('<Q', 2 ** 63) + b'{}', struct.pack('<Q', 10) + b'{}', header(b'{"a":1}'),
    header(b'\xff\xfe'), b'\x80\x04.', b'PK\x03\x04'])
def test_a_file_that_claims_more_than_it_holds_is_refused(copied, content):
    write_model(read_model(copied)[0], content, copied)
    code, text = refusal(copied)
    assert code == 'M02'
    assert len(text) < 500


def test_a_deeply_nested_manifest_is_refused(copied):
    copied.with_suffix('.json').write_text('[' * 100_000)
    assert refusal(copied)[0] == 'M07'


@pytest.mark.parametrize(('fields', 'code', 'hint'), [
    ({'format': 2}, 'M07', 'not a manifest of format 1'),
    ({'height': 65}, 'M06', 'nearest that fits is 64 x 96'),
    ({'height': '64'}, 'M07', "height is '64'"),
    ({'height': 32 * 10 ** 6, 'width': 32 * 10 ** 6}, 'M05', 'wanted at most'),
    ({'std': [1, 0, 1]}, 'M07', 'std is'),
    ({'mean': [1, 2]}, 'M07', 'mean is'),
    ({'focal_px': 0}, 'M07', 'focal_px is'),
    ({'camera_height': -1}, 'M07', 'camera_height is'),
    ({'camera_height': 'high'}, 'M07', 'camera_height is'),
    ({'focal_px': None}, 'M07', 'focal_px is'),
    ({'sha256': ''}, 'M03', 'wants nothing'),
    ({'tasks': []}, 'M07', 'belongs to other weights'),
    ({'network': {'encoder': 'resnet9'}}, 'M07', 'belongs to other weights'),
    ({'network': 7}, 'M07', 'not a valid manifest'),
    ({'colour': 'red'}, 'M07', 'colour')])
def test_an_impossible_manifest_is_refused(copied, fields, code, hint):
    change_manifest(copied, **fields)
    found, text = refusal(copied)
    assert found == code
    assert hint in text


@pytest.mark.parametrize(('task', 'fields', 'hint'), [
    ('semantic', {'sky': 99}, 'sky is 99, wanted the id of one of its 12 classes'),
    ('semantic', {'sky': 12}, 'sky is 12'),
    ('semantic', {'sky': -7}, 'sky is -7'),
    ('semantic', {'movable': [99]}, r'movable is [99], wanted ids of its 12 classes'),
    ('semantic', {'movable': ['car']}, "movable is ['car']"),
    ('semantic', {'movable': [[8]]}, 'movable is [[8]]'),
    ('semantic', {'movable': [8, 8]}, 'movable is [8, 8]'),
    ('semantic', {'palette': [[999, 0, 0]] * 12}, 'wanted colours of 0 to 255'),
    ('semantic', {'classes': [None] * 12}, 'wanted names'),
    ('motion', {'semantic_ids': [0, 12]}, 'semantic_ids is [0, 12]'),
    ('motion', {'semantic_ids': [0]}, 'semantic_ids is [0]'),
    ('depth', {'maximum': -5}, 'maximum is -5'), ('depth', {'sky': 0}, 'sky is 0'),
    ('depth', {'maximum': math.nan}, 'maximum is nan'),
    ('depth', {'maximum': math.inf}, 'maximum is inf'),
    ('depth', {'inverse': -3}, 'inverse is -3'),
    ('depth', {'inverse': math.nan}, 'inverse is nan'),
    ('depth', {'inverse': math.inf}, 'inverse is inf')])
def test_an_impossible_task_is_refused(copied, task, fields, hint):
    tasks = json.loads(copied.with_suffix('.json').read_text())['tasks']
    change_manifest(copied, tasks=[
        one | fields if one['name'] == task else one for one in tasks])
    found, text = refusal(copied)
    assert found == 'M07'
    assert f'task {task!r}' in text
    assert hint in text


@pytest.mark.parametrize(('task', 'fields'), [
    ('semantic', {'sky': -1, 'movable': []}), ('depth', {'maximum': 0}),
    ('depth', {'inverse': -1}), ('depth', {'inverse': 0.54})])
def test_a_task_may_be_without_sky_limit_or_logarithm(copied, task, fields):
    tasks = json.loads(copied.with_suffix('.json').read_text())['tasks']
    change_manifest(copied, tasks=[
        one | fields if one['name'] == task else one for one in tasks])
    manifest, _ = read_model(copied)
    check_manifest(manifest)


def test_an_unknown_encoder_is_refused_with_the_nearest_name(copied):
    network = json.loads(copied.with_suffix('.json').read_text())['network']
    change_manifest(copied, network={**network, 'encoder': 'resnet-10'})
    code, text = refusal(copied)

    assert code == 'M06'
    assert "did you mean 'resnet10'" in text


def test_classes_that_do_not_fit_the_weights_are_refused(copied):
    manifest, content = read_model(copied)
    semantic = manifest.tasks[0]
    shorter = dataclasses.replace(
        semantic, classes=semantic.classes[:5], palette=semantic.palette[:5])
    write_model(
        dataclasses.replace(manifest, tasks=(shorter, *manifest.tasks[1:])), content, copied)
    code, text = refusal(copied)

    assert code == 'M07'
    assert "'semantic': 5" in text
    assert "'semantic': 12" in text


def test_the_hashed_bytes_are_the_loaded_ones(copied, monkeypatch):
    """A file that is replaced after it was read changes nothing."""
    original = read_model(copied)[1]
    monkeypatch.setattr(
        Manifest, 'from_json', staticmethod(lambda text, source, real=Manifest.from_json: (
            copied.write_bytes(b'swapped'), real(text, source))[1]))

    assert read_model(copied)[1] == original


def test_batch_counters_of_the_normalisation_may_be_missing(copied):
    change_weights(copied, lambda weights: [
        weights.pop(key) for key in list(weights) if key.endswith('num_batches_tracked')])
    assert load_network(copied)[1].encoder.bn1.num_batches_tracked == 0


# --- writing ---------------------------------------------------------------------------------

def test_a_model_is_written_with_the_digest_of_its_weights(tiny_model, tmp_path):
    manifest, content = read_model(tiny_model)
    path = tmp_path / 'new' / 'model.safetensors'
    written = write_model(dataclasses.replace(manifest, sha256='old'), content, path)

    assert read_model(path) == (written, content)
    assert written == manifest
    assert sorted(file.name for file in path.parent.iterdir()) == [
        'model.json', 'model.safetensors']


def test_a_failed_write_leaves_the_old_model_usable(copied, monkeypatch):
    manifest, content = read_model(copied)

    def full(_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(StorageError, match='No space left'):
        write_model(manifest, b'other', copied)
    assert read_model(copied) == (manifest, content)
    assert len(list(copied.parent.iterdir())) == 2


def test_a_disk_too_full_for_the_manifest_leaves_the_old_model_usable(copied, monkeypatch):
    manifest, content = read_model(copied)
    calls, real = [], os.fsync

    def full_at_the_second(number):
        calls.append(number)
        if len(calls) == 2:
            raise OSError(28, 'No space left on device')
        real(number)

    monkeypatch.setattr(os, 'fsync', full_at_the_second)
    with pytest.raises(StorageError, match='No space left'):
        write_model(manifest, b'other', copied)
    assert read_model(copied) == (manifest, content)
    assert len(list(copied.parent.iterdir())) == 2


def test_a_stop_between_the_two_files_is_noticed(copied, monkeypatch):
    manifest, _ = read_model(copied)
    replaced = []
    replace = os.replace

    def stop_at_the_second(path, target):
        if replaced:
            raise OSError('stopped')
        replaced.append(target)
        replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr('mtl_perception.files.os.replace', stop_at_the_second)
        with pytest.raises(StorageError):
            write_model(manifest, b'other weights', copied)

    assert refusal(copied)[0] == 'M03'


def test_a_model_must_end_in_safetensors(tiny_model, tmp_path):
    with pytest.raises(StorageError, match=r'ends in \.safetensors'):
        write_model(read_model(tiny_model)[0], b'', tmp_path / 'model.bin')


def test_the_manifest_survives_the_round_trip(tiny_model):
    manifest = read_model(tiny_model)[0]
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.task('depth') == STREET_DEPTH
