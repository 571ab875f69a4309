"""The spool: what the server has not yet acknowledged, in numbered streams, bounded in bytes.

Numbers of a stream are contiguous from 1 and durable before anything is published. When the bound is
reached, the least valuable record goes first and a gap record takes its number, so that the server's
contiguous acknowledgement always moves.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import zstandard

from edge_agent.db import Database
from fleet_contract.messages import Gap, Message, Record, Stream


class Value(IntEnum):
    """What a record is worth when not all can be kept; the lowest goes first."""

    AUDIT_SAMPLE = 0
    NEAR_SAMPLE = 1
    REJECT_SAMPLE = 2
    WANTED_SAMPLE = 3
    WINDOW = 4
    PARTS = 5
    EVENT = 6
    GAP = 9


@dataclass(frozen=True, slots=True)
class Stamp:
    """When and in which boot a record was made."""

    boot_id: str
    monotonic_s: float
    time_s: float
    clock_synchronised: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A record in the spool; `bytes` is what record and image take there."""

    stream: Stream
    number: int
    through: int
    record: Record
    bytes: int


_OVERHEAD = 100
"""What a row costs beside its content, about, in bytes."""
_LEVEL = 1
"""Records are compressed: verdicts to an eighth, so that a day of 30 parts a second fits the bound."""
NO_NUMBER = 2**62
"""Above all numbers."""


class Spool:
    """Thread-safe through its database."""

    def __init__(self, db: Database, limit_bytes: int, stamp: Callable[[], Stamp]) -> None:
        self._db, self._limit, self._stamp = db, limit_bytes, stamp
        with db.transaction():
            self.id = db.get("spool_id") or uuid.uuid4().hex
            db.set("spool_id", self.id)

    def append(
        self, stream: Stream, body: Message, value: Value, image: bytes | None = None
    ) -> int:
        """Stores a record and returns its number; may drop what is worth least."""
        with self._db.transaction():
            number = self.last(stream) + 1
            self._set_last(stream, number)
            record = self._record(number, number, body=body.model_dump(mode="json"))
            self._insert(stream, record, value, image)
            self._shrink()
        return number

    def last(self, stream: Stream) -> int:
        """The highest number given in `stream`; 0 before the first."""
        rows = self._db.rows("SELECT last FROM streams WHERE stream = ?", stream)
        return int(rows[0][0]) if rows else 0

    def first(self, stream: Stream) -> int:
        """The lowest number that waits; the next one to come where none does."""
        rows = self._db.rows("SELECT min(number) FROM records WHERE stream = ?", stream)
        return self.last(stream) + 1 if rows[0][0] is None else int(rows[0][0])

    def usage(self) -> tuple[int, int]:
        """Records and bytes that wait."""
        records, size = self._db.rows("SELECT records, bytes FROM usage")[0]
        return int(records), int(size)

    def pending(
        self, stream: Stream, after: int, records: int, size: int, before: int = NO_NUMBER
    ) -> list[Entry]:
        """The next entries that cover numbers above `after`, and begin below `before`.

        At most `records`, together about `size` bytes; the first one comes even where it is larger.
        """
        rows = self._db.rows(
            "SELECT number, through, record, bytes FROM records"
            " WHERE stream = ?1 AND number < ?4 AND number >= coalesce((SELECT number FROM records"
            " WHERE stream = ?1 AND number = (SELECT max(number) FROM records"
            " WHERE stream = ?1 AND number <= ?2) AND through > ?2), ?2 + 1)"
            " ORDER BY number LIMIT ?3",
            stream, after, records, before,
        )  # fmt: skip
        entries: list[Entry] = []
        total = 0
        for number, through, packed, length in rows:
            text = zstandard.decompress(packed)
            total += len(text)
            if entries and total > size:
                break
            entries.append(Entry(stream, number, through, Record.model_validate_json(text), length))
        return entries

    def image(self, number: int) -> bytes | None:
        """The image of a sample; None where it is gone or a gap."""
        rows = self._db.rows(
            "SELECT image FROM records WHERE stream = ? AND number = ?", Stream.SAMPLES, number
        )
        return rows[0][0] if rows else None

    def ack(self, stream: Stream, contiguous: int) -> None:
        """The server has stored everything up to `contiguous`: it may go.

        A number beyond the last one given means that this database is older than what the server
        saw (restored from a copy): numbering goes on after it, so that no new record is taken for
        a duplicate.
        """
        with self._db.transaction():
            for number, length in self._db.rows(
                "SELECT number, bytes FROM records WHERE stream = ? AND through <= ?",
                stream, contiguous,
            ):  # fmt: skip
                self._delete(stream, number, length)
            self._trim_gap(stream, contiguous)
            if contiguous > self.last(stream):
                self._set_last(stream, contiguous)

    def _trim_gap(self, stream: Stream, contiguous: int) -> None:
        # A record that was stored and then dropped here may lie inside a gap's numbers.
        for number, through, length in self._db.rows(
            "SELECT number, through, bytes FROM records WHERE stream = ? AND number <= ? AND through > ?",
            stream, contiguous, contiguous,
        ):  # fmt: skip
            self._delete(stream, number, length)
            self._insert_gap(stream, contiguous + 1, through)

    def _shrink(self) -> None:
        while self.usage()[1] > self._limit:
            rows = self._db.rows(
                "SELECT stream, number, through, bytes FROM records WHERE value < ?"
                " ORDER BY value, number LIMIT 1",
                Value.GAP,
            )
            if not rows:
                return
            stream, number, through, length = rows[0]
            self._delete(stream, number, length)
            self._insert_gap(Stream(stream), *self._merged(stream, number, through))

    def _merged(self, stream: str, number: int, through: int) -> tuple[int, int]:
        # Neighbouring gaps become one, so that gaps do not fill the spool themselves.
        for first, last, length in self._db.rows(
            "SELECT number, through, bytes FROM records WHERE stream = ? AND value = ?"
            " AND (through = ? OR number = ?)",
            stream, Value.GAP, number - 1, through + 1,
        ):  # fmt: skip
            self._delete(stream, first, length)
            number, through = min(number, first), max(through, last)
        return number, through

    def _insert_gap(self, stream: Stream, number: int, through: int) -> None:
        gap = Gap(records=through - number + 1, reason="the spool was full")
        self._insert(stream, self._record(number, through, gap=gap), Value.GAP, None)

    def _record(
        self,
        number: int,
        through: int,
        body: dict[str, object] | None = None,
        gap: Gap | None = None,
    ) -> Record:
        stamp = self._stamp()
        return Record(
            number=number,
            through=through,
            boot_id=stamp.boot_id,
            monotonic_s=stamp.monotonic_s,
            time_s=stamp.time_s,
            clock_synchronised=stamp.clock_synchronised,
            body=body,
            gap=gap,
        )

    def _insert(self, stream: Stream, record: Record, value: Value, image: bytes | None) -> None:
        packed = zstandard.compress(record.model_dump_json().encode(), _LEVEL)
        length = len(packed) + len(image or b"") + _OVERHEAD
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
                (stream, record.number, record.through, value, length, packed, image),
            )
            db.execute("UPDATE usage SET records = records + 1, bytes = bytes + ?", (length,))

    def _delete(self, stream: str, number: int, length: int) -> None:
        with self._db.transaction() as db:
            db.execute("DELETE FROM records WHERE stream = ? AND number = ?", (stream, number))
            db.execute("UPDATE usage SET records = records - 1, bytes = bytes - ?", (length,))

    def _set_last(self, stream: Stream, number: int) -> None:
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO streams VALUES (?, ?) ON CONFLICT (stream) DO UPDATE SET last = excluded.last",
                (stream, number),
            )
