# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading the sqlite3 file of a rosbag2."""

import sqlite3
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from mtl_perception.bags.entries import Damage, Entry, RecordedTopic
from mtl_perception.cdr import STAMP, read_stamp
from mtl_perception.errors import DataError
from mtl_perception.reason_codes import ReasonCode


class SqliteFile:
    """
    A ``.db3`` file, see :class:`mtl_perception.bags.entries.StorageFile`.

    :param path: of the file.
    :raises DataError: ``B06`` if it is not such a file, or its list of topics is damaged.

    A killed recorder leaves its last messages in a ``-wal`` file, which is read too; if that is
    impossible, or if there is a ``-journal``, the file counts as cut.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, RecordedTopic] = {}
        self.entries: list[Entry] = []
        self.damage = Damage()

        try:
            if not path.stat().st_size:
                raise sqlite3.DatabaseError('it is empty')
            self._database = self._open()
            # A damaged name or definition is some other text; Python's own reader would raise.
            self._database.text_factory = lambda text: text.decode('utf-8', 'replace')
            names = self._topics()
            size, = self._database.execute('PRAGMA page_size').fetchone()
        except (OSError, sqlite3.Error) as error:
            raise DataError(
                f'{path}: cannot be read as a rosbag2 ({error}); it is cut short or damaged: '
                'sqlite3\'s ".recover" may save what is there', ReasonCode.BAG_STORAGE) from error

        # bytes 28 to 31 of the header: the size of the database in pages
        with path.open('rb') as file:
            claimed = int.from_bytes(file.read(32)[28:], 'big')
        if not self.damage.cut and claimed * size > path.stat().st_size:
            self.damage.cut = f'it has {path.stat().st_size} bytes of {claimed * size}'

        # of a damaged table, everything before the damage is kept
        try:
            for number, topic, logged_ns in self._database.execute(
                    'SELECT id, topic_id, timestamp FROM messages ORDER BY id'):
                if topic in names and isinstance(logged_ns, int):
                    self.entries.append(Entry(
                        names[topic], logged_ns, read_stamp(self._head(number)), number))
        except (OSError, sqlite3.Error) as error:
            self.damage.cut = f'from message {len(self.entries) + 1} on it is damaged ({error})'

    def read(self, entry: Entry) -> memoryview:
        """
        Return a serialised message.

        :raises DataError: ``B02``, if that is impossible.
        """
        try:
            row = self._database.execute(
                'SELECT data FROM messages WHERE id = ?', (entry.place,)).fetchone()
            return memoryview(row[0])
        except (sqlite3.Error, TypeError) as error:
            raise DataError(
                f'{self.path}: message {entry.place} is damaged ({error})',
                ReasonCode.BAG_DAMAGED) from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _open(self) -> sqlite3.Connection:
        """Return the database, with the ``-wal`` file beside it if that can be read."""
        name = f'file:{quote(str(self.path.resolve()))}?mode=ro'
        beside = [self.path.with_name(self.path.name + end) for end in ('-wal', '-journal')]
        if left := [one.name for one in beside if one.is_file() and one.stat().st_size]:
            with suppress(sqlite3.Error):
                database = sqlite3.connect(name, uri=True)
                database.execute('SELECT count(*) FROM topics').fetchone()
                return database
            self.damage.cut = f'the end of it is in {left[0]}, which cannot be read here'
        return sqlite3.connect(f'{name}&immutable=1', uri=True)

    def _topics(self) -> dict[int, str]:
        """Return number -> name of the topics."""
        definitions: dict[str, str] = {}
        # older files have no such table
        with suppress(sqlite3.OperationalError):
            definitions = dict(self._database.execute(
                'SELECT topic_type, encoded_message_definition FROM message_definitions'))

        # A column of this database may hold anything, whatever its declared type.
        rows = [
            (number, name, kind) for number, name, kind in self._database.execute(
                'SELECT id, name, type FROM topics ORDER BY id')
            if isinstance(name, str) and isinstance(kind, str)]
        for _, name, kind in rows:
            definition = definitions.get(kind, '')
            self.topics.setdefault(name, RecordedTopic(
                kind, definition if isinstance(definition, str) else ''))
        return {number: name for number, name, _ in rows}

    def _head(self, number: int) -> memoryview:
        """Return the first bytes of a message, without the pages that hold its pixels."""
        if hasattr(self._database, 'blobopen'):  # from Python 3.11 on
            with self._database.blobopen('messages', 'data', number, readonly=True) as blob:
                return memoryview(blob.read(STAMP))
        row = self._database.execute(
            'SELECT substr(data, 1, ?) FROM messages WHERE id = ?', (STAMP, number)).fetchone()
        return memoryview(row[0])
