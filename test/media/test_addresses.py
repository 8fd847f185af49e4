# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Paths of this machine and addresses of network cameras."""

import argparse
import http.server
import importlib
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from video_files import film

from mtl_perception import cli
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.media import network_stream
from mtl_perception.media.addresses import is_address, local_path, without_password
from mtl_perception.media.network_stream import NetworkStream


@pytest.mark.parametrize('text', [
    'rtsp://camera/stream', 'rtsp://user:secret@10.0.0.2:554/h264?ch=1', 'http://camera/a.mp4',
    'HTTPS://camera/a', 'udp://239.0.0.1:5000', 'srt://camera:9000'])
def test_an_address_is_no_path(text):
    assert is_address(text)
    with pytest.raises(ConfigurationError, match='is an address, wanted a path'):
        local_path(text)


@pytest.mark.parametrize('text', [
    'drive.mp4', '2024-11-14T22:57:44.mp4', '/data/22:57', './rtsp:/camera', 'C://', '://x', ''])
def test_a_path_is_no_address(text):
    assert not is_address(text)
    assert local_path(text) == Path(text)


def test_the_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))

    assert local_path('~/drive.mp4') == tmp_path / 'drive.mp4'
    with pytest.raises(ConfigurationError, match='write the path in full'):
        local_path('~nobody-of-that-name/drive.mp4')


def test_a_password_is_not_shown():
    address = 'rtsp://user:se:cret@10.0.0.2/stream'

    assert without_password(address) == 'rtsp://user:***@10.0.0.2/stream'
    assert without_password('rtsp://10.0.0.2:554/a@b') == 'rtsp://10.0.0.2:554/a@b'
    with pytest.raises(ConfigurationError) as refusal:
        local_path(address)
    assert 'cret' not in str(refusal.value)


@pytest.mark.parametrize('verb', sorted(cli.COMMANDS))
def test_every_path_of_every_command_takes_the_tilde(verb, monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    parser = argparse.ArgumentParser()
    importlib.import_module(
        f'mtl_perception.commands.{verb.replace("-", "_")}').add_arguments(parser)

    actions = [*parser._actions]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            actions += [one for sub in action.choices.values() for one in sub._actions]
    assert not [action.dest for action in actions if action.type is Path]


def test_an_address_as_an_option_is_refused_before_anything_is_done(capsys):
    with pytest.raises(SystemExit) as ending:
        cli.main(['predict', 'rtsp://user:secret@camera/stream'])

    said = capsys.readouterr().err
    assert ending.value.code == 2
    assert 'camera_source plays addresses' in said
    assert 'secret' not in said


def grey(level):
    return np.full((64, 96, 3), level, np.uint8)


@pytest.fixture
def clip(tmp_path):
    """Return a video of three frames that can be read as it comes."""
    return film(tmp_path / 'clip.mkv', [grey(60 * number) for number in range(3)], codec='mjpeg')


@pytest.fixture
def web(tmp_path, clip):
    """Return the address of a server of the folder."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words):
            super().__init__(*words, directory=str(tmp_path))

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


def test_an_http_address_is_played_to_its_end(web):
    stream = NetworkStream(f'{web}/clip.mkv')
    images = [stream.read() for _ in range(4)]
    stream.close()

    np.testing.assert_allclose([image.mean() for image in images[:3]], [0, 60, 120], atol=3)
    assert images[3] is None


def serve(connections, content):
    """Send a file to so many clients, one after the other, and return the port."""
    server = socket.create_server(('127.0.0.1', 0))

    def run():
        with server:
            for _ in range(connections):
                client, _ = server.accept()
                with client:
                    client.sendall(content)
    threading.Thread(target=run, daemon=True).start()
    return server.getsockname()[1]


def test_a_connection_that_was_lost_is_opened_again(clip, monkeypatch):
    monkeypatch.setattr(network_stream, 'PAUSE_S', 0.01)
    monkeypatch.setattr(network_stream, 'RETRY_S', 1.0)
    stream = NetworkStream(f'tcp://127.0.0.1:{serve(2, clip.read_bytes())}')

    images = [stream.read() for _ in range(6)]
    np.testing.assert_allclose([image.mean() for image in images], [0, 60, 120] * 2, atol=3)
    with pytest.raises(DataError, match=r'127\.0\.0\.1:\d+: cannot be played \(.*refused'):
        stream.read()


@pytest.mark.parametrize('address', [
    'rtsp://user:secret@127.0.0.1:1/stream', 'http://127.0.0.1:1/a.mp4', 'nonsense://camera/a'])
def test_an_address_that_cannot_be_opened_is_named_without_its_password(address):
    with pytest.raises(DataError, match='cannot be played') as refusal:
        NetworkStream(address)

    assert 'secret' not in str(refusal.value)
    assert '127.0.0.1' in str(refusal.value) or 'camera' in str(refusal.value)
