# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings by other programs, and by recorders that were killed."""

import json
import shutil
import sqlite3

import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('torch')

from bag_files import arrays_of, diagnostics, image, write_bag
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from mtl_perception import cli
from mtl_perception.bags.reader import Bag

COUNT = 12


def evaluate(tmp_path, bag, model, *words):
    """Return the exit code and the report."""
    code = cli.main(['evaluate', str(model), '--bag', str(bag), '--threads', '1', '--device',
                     'cpu', '--output', str(tmp_path / 'out'), *words])
    path = tmp_path / 'out' / 'report.json'
    return code, json.loads(path.read_text()) if path.exists() else {}


def replaced(recorded, topic, change):
    """Return messages with the arrays of a topic changed by change(array, number)."""
    messages, number = [], 0
    for name, message, logged in recorded:
        if name == topic:
            stamp = message.header.stamp
            kind = {'mono8': np.uint8, '16UC1': np.uint16, '32FC1': np.float32}[message.encoding]
            array = message.data.view(kind).reshape(message.height, message.width)
            message = image(change(array, number), stamp.sec * 10 ** 9 + stamp.nanosec)
            number += 1
        messages.append((name, message, logged))

    assert number

    return messages


def test_the_wal_file_of_a_killed_recorder_is_read(tmp_path, recorded, tiny_model):
    whole = write_bag(tmp_path / 'whole', recorded, StoragePlugin.SQLITE3)
    expected = evaluate(tmp_path, whole, tiny_model)[1]
    file = next(whole.glob('*.db3'))
    connection = sqlite3.connect(file)
    connection.execute('PRAGMA journal_mode=WAL')
    connection.execute('PRAGMA wal_autocheckpoint=0')
    rows = list(connection.execute('SELECT * FROM messages'))
    connection.execute('DELETE FROM messages WHERE id > 40')
    connection.commit()
    connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    marks = ','.join('?' * len(rows[0]))
    connection.executemany(f'INSERT INTO messages VALUES ({marks})', rows[40:])
    connection.commit()
    killed = tmp_path / 'killed'
    killed.mkdir()
    for path in whole.iterdir():  # while the recorder is alive
        shutil.copy(path, killed / path.name)

    assert (killed / f'{file.name}-wal').stat().st_size

    connection.close()
    code, report = evaluate(tmp_path, killed, tiny_model)

    assert (code, report['incomplete']) == (0, False)
    assert report['semantic'] == expected['semantic']
    assert report['frames_in'] == COUNT

    (killed / f'{file.name}-wal').rename(killed / f'{file.name}-journal')  # of another mode
    assert evaluate(tmp_path, killed, tiny_model)[0] == 3

    code, report = evaluate(tmp_path, killed, tiny_model, '--allow-truncated')
    assert (code, report['incomplete']) == (0, True)


def test_depth_in_millimetres_is_read_in_metres(tmp_path, recorded, bag, tiny_model):
    def millimetres(depth, _):
        return np.nan_to_num(np.round(depth * 1000), posinf=0).clip(0, 65535).astype(np.uint16)

    for topic in ('/depth/image', '/truth/depth/image'):
        changed = write_bag(tmp_path / topic.replace('/', '_'),
                            replaced(recorded, topic, millimetres))
        role = 'true_depth' if 'truth' in topic else 'depth'
        with Bag(bag) as one, Bag(changed) as other:
            pairs = zip(one.records((), [role]), other.records((), [role]), strict=True)
            for before, after in pairs:
                old = arrays_of(before)[role]
                new = arrays_of(after)[role]
                there = np.isfinite(old) & (old < 65)
                np.testing.assert_allclose(new[there], old[there], atol=6e-4)

    assert np.isnan(after.truth.depth).any()  # the sky


@pytest.mark.parametrize(('topic', 'change', 'words'), [
    ('/truth/semantic/image', lambda ids, _: np.stack([ids] * 3, -1), 'wanted (height, width)'),
    ('/semantic/image', lambda ids, _: np.stack([ids] * 3, -1), 'wanted (height, width)'),
    ('/truth/depth/image', lambda depth, _: depth.astype(np.uint8), 'of uint8, wanted')])
def test_a_map_of_another_kind_is_left_out_and_reported(
        tmp_path, recorded, tiny_model, topic, change, words, capsys):
    path = write_bag(tmp_path / 'bag', replaced(recorded, topic, change))
    code, report = evaluate(tmp_path, path, tiny_model)
    assert code == 0
    assert any(words in reason for reason in report['skipped'][topic])
    assert words in capsys.readouterr().out


def test_a_wrong_true_label_is_an_error_as_in_a_data_set(tmp_path, recorded, tiny_model, capsys):
    def wrong(ids, number):
        ids = ids.copy()
        ids[3, 5] = 77 if number == 4 else 255
        return ids

    path = write_bag(tmp_path / 'bag', replaced(recorded, '/truth/semantic/image', wrong))

    assert evaluate(tmp_path, path, tiny_model)[0] == 3

    said = capsys.readouterr().err
    assert 'truth/semantic/image at 17000000' in said
    assert 'label 77 at row 3, column 5 is not one of 0-11, 255' in said


def test_truth_of_two_sizes_is_evaluated_at_one(tmp_path, recorded, bag, tiny_model):
    expected = evaluate(tmp_path, bag, tiny_model)[1]
    path = write_bag(tmp_path / 'large', replaced(
        recorded, '/truth/depth/image', lambda depth, _: depth.repeat(2, 0).repeat(2, 1)))
    code, report = evaluate(tmp_path, path, tiny_model)
    assert code == 0
    assert report['depth']['abs_rel'] == pytest.approx(expected['depth']['abs_rel'])


def counters(topic, received, published, **more):
    return {'topic': topic, 'received': received, 'published': published, 'in_flight': 0, **more}


def test_the_counters_are_those_of_the_evaluated_camera(tmp_path, recorded, tiny_model):
    others = [one for one in recorded if 'diagnostics' not in one[0]]
    logged = recorded[-1][2]
    told = diagnostics({
        'front': counters('/front/image_raw', 80, 70, **{'dropped.O01_superseded': 10}),
        'foreign': {'in_flight': 3},
        'own': counters('/image_raw', 12, 11, **{
            'dropped.O01_superseded': 1, 'age_ms.p50': 'nan'})})
    path = write_bag(tmp_path / 'bag', [*others, ('/diagnostics', told, logged)])
    code, report = evaluate(tmp_path, path, tiny_model)

    assert code == 0
    assert (report['frames_in'], report['published'], report['dropped']) == (
        12, 11, {'O01_superseded': 1})
    assert report['accounting']['adds_up']
    assert report['age_at_publish_ms']['p50'] is None  # not NaN, which is no JSON


def test_the_error_for_a_compressed_part_of_a_bag_names_its_folder(
        tmp_path, recorded, tiny_model, capsys):
    whole = write_bag(tmp_path / 'bag', recorded, compress=CompressionMode.FILE)
    part = next(whole.glob('*.zstd'))
    model = str(tiny_model)
    for command in (['evaluate', model, '--bag'], ['predict', '--model', model]):
        assert cli.main([*command, str(part)]) == 3
        assert 'name the folder that it is in' in capsys.readouterr().err

    assert evaluate(tmp_path, whole, tiny_model)[0] == 0  # the control


def test_images_without_stamps_are_refused(tmp_path, recorded, tiny_model, capsys):
    zero = [(name, image(np.zeros((64, 96, 3), np.uint8), 0), logged)
            if name == '/image_raw' else (name, message, logged)
            for name, message, logged in recorded]
    assert evaluate(tmp_path, write_bag(tmp_path / 'bag', zero), tiny_model)[0] == 3
    assert 'all 12 messages on /image_raw have the stamp 0' in capsys.readouterr().err


def test_one_unmatched_stream_is_not_hidden_by_the_others(
        tmp_path, recorded, tiny_model, capsys):
    messages = [(name, image(np.ones((64, 96), np.float32), 10 ** 15 + number), logged)
                if name == '/truth/depth/image' and number % 2 else (name, message, logged)
                for number, (name, message, logged) in enumerate(recorded)]
    assert evaluate(tmp_path, write_bag(tmp_path / 'bag', messages), tiny_model)[0] == 3
    assert 'messages of true_depth have the stamp of an image' in capsys.readouterr().err
