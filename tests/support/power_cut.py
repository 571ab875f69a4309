"""A folder as a strict file system leaves it after a power cut, rebuilt from a trace of system calls.

What POSIX promises and no more: data of a file last from its fsync on, names in a directory from the
fsync of that directory on. Of everything later any part may be there: none, all, some of the writes,
half of one; of a directory's changes a beginning. (After ALICE: Pillai et al., "All file systems are not
created equal", OSDI 2014.)
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat", "close", "lseek", "write", "pwrite64", "ftruncate", "fallocate", "fsync", "fdatasync",
    "rename", "unlink", "unlinkat", "rmdir", "mkdir", "symlink",
)  # fmt: skip
"""What the agent changes files with; what else it might (`link`, `mmap`) it does not for durable ones."""
TRACE = ("-ttt", "-xx", "-s", "1000000", "-e", f"trace={','.join(CALLS)}")

_LINE = re.compile(r"(\d+) +(\d+\.\d+) (?:<\.\.\. )?(\w+)(.*)")
_RESULT = re.compile(r"(.*)\) += (-?\d+)")
_SECTOR = 512


@dataclass(frozen=True, slots=True)
class Operation:
    """One call that was done: arguments as strace prints them, and what it returned."""

    at_s: float
    call: str
    arguments: tuple[str, ...]
    result: int

    def text(self, index: int) -> bytes:
        """A string among the arguments."""
        return bytes.fromhex(self.arguments[index].strip('"').replace("\\x", ""))

    def path(self, index: int) -> str:
        """A path among them."""
        return self.text(index).decode()

    def number(self, index: int) -> int:
        """A number among them, -1 for AT_FDCWD."""
        word = self.arguments[index]
        return -1 if word == "AT_FDCWD" else int(word)


def operations(trace: Iterable[str]) -> Iterator[Operation]:
    """What succeeded, in the order in which it was done, from the lines of `strace -f` with TRACE."""
    begun: dict[str, str] = {}
    for line in trace:
        match = _LINE.match(line)
        if match is None:
            continue
        thread, at, call, rest = match.groups()
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>")
            continue
        if rest.startswith(" resumed>"):
            rest = begun.pop(thread, "(") + rest.removeprefix(" resumed>")
        done = _RESULT.match(rest)
        if done is not None and int(done[2]) >= 0:
            words = tuple(word.strip() for word in done[1].removeprefix("(").split(","))
            yield Operation(float(at), call, words, int(done[2]))


@dataclass(eq=False, slots=True)
class _File:
    data: bytearray
    durable: bytes
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """(offset, bytes) written, or (length, None) cut or grown, since the last fsync."""

    def write(self, offset: int, data: bytes | None) -> None:
        self.pending.append((offset, data))
        _apply(self.data, offset, data)

    def sync(self) -> None:
        self.durable = bytes(self.data)
        self.pending.clear()

    def left(self, chance: random.Random) -> bytes:
        kept = bytearray(self.durable)
        share = chance.choice((0.0, 0.5, 1.0))
        for offset, data in self.pending:
            if chance.random() >= share:
                continue
            if data and share < 1 and chance.random() < 0.3:
                data = data[: _SECTOR * chance.randint(0, len(data) // _SECTOR)]
            _apply(kept, offset, data)
        return bytes(kept)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    end = offset + len(data or b"")
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset:end] = data


@dataclass(eq=False, slots=True)
class _Link:
    target: str


@dataclass(eq=False, slots=True)
class _Folder:
    names: dict[str, "_Node"] = field(default_factory=dict)
    durable: dict[str, "_Node"] = field(default_factory=dict)
    pending: list[dict[str, "_Node | None"]] = field(default_factory=list)
    """Names that were set or, with None, taken away, each dict at once, since the last fsync."""

    def change(self, change: dict[str, "_Node | None"]) -> None:
        self.pending.append(change)
        _rename(self.names, change)

    def sync(self) -> None:
        self.durable = dict(self.names)
        self.pending.clear()

    def left(self, chance: random.Random) -> dict[str, "_Node"]:
        kept = dict(self.durable)
        known = len(self.pending)
        for change in self.pending[: chance.choice((0, chance.randint(0, known), known))]:
            _rename(kept, change)
        return kept


_Node = _File | _Folder | _Link


def _rename(names: dict[str, _Node], change: dict[str, _Node | None]) -> None:
    for name, node in change.items():
        names.pop(name, None)
        if node is not None:
            names[name] = node


class Disk:
    """One folder below `root`, which begins as durable as it lies in `baseline`."""

    def __init__(self, root: Path, baseline: Path) -> None:
        self._root = str(root)
        self._top = _read(baseline)
        self._open: dict[int, tuple[_Node, int]] = {}
        """Descriptor -> what it is of, and where its next write goes; -1: always at the end."""

    def do(self, operation: Operation) -> bool:
        """Whether it changed something here, or made it durable; what lies elsewhere is none of ours."""
        return bool(getattr(self, f"_{operation.call}")(operation))

    def write_out(self, folder: Path, chance: random.Random) -> None:
        """What a cut leaves now, as a new folder."""
        _write(self._top, folder, chance)

    def _place(self, path: str) -> tuple[_Folder, str] | None:
        """The directory of a path, and the name in it."""
        if not path.startswith(self._root + "/"):
            return None
        node: _Node | None = self._top
        *parents, name = path[len(self._root) + 1 :].rstrip("/").split("/")
        for parent in parents:
            node = node.names.get(parent) if isinstance(node, _Folder) else None
        return (node, name) if isinstance(node, _Folder) else None

    def _change(self, path: str, node: _Node | None) -> bool:
        place = self._place(path)
        if place is not None:
            place[0].change({place[1]: node})
        return place is not None

    def _file(self, done: Operation) -> _File | None:
        node, _ = self._open.get(done.number(0), (None, 0))
        return node if isinstance(node, _File) else None

    # One method a call.

    def _openat(self, done: Operation) -> bool:
        path, place = done.path(1), self._place(done.path(1))
        above, _ = self._open.get(done.number(0), (None, 0))
        if isinstance(above, _Folder) and not path.startswith("/"):
            place = (above, path)
        if path == self._root:
            self._open[done.result] = (self._top, 0)
        return place is not None and self._open_in(*place, done.arguments[2], done.result)

    def _open_in(self, parent: _Folder, name: str, flags: str, descriptor: int) -> bool:
        node, changed = parent.names.get(name), False
        if isinstance(node, _Link):
            return False  # the client of the metadata only reads through its link
        if node is None:
            if "O_CREAT" not in flags:
                return False
            node, changed = _File(bytearray(), b""), True
            parent.change({name: node})
        if isinstance(node, _File) and "O_TRUNC" in flags:
            node.write(0, None)
            changed = True
        self._open[descriptor] = (node, -1 if "O_APPEND" in flags else 0)
        return changed

    def _close(self, done: Operation) -> None:
        self._open.pop(done.number(0), None)

    def _lseek(self, done: Operation) -> None:
        node, place = self._open.get(done.number(0), (None, 0))
        if node is not None and place >= 0:
            self._open[done.number(0)] = (node, done.result)

    def _write(self, done: Operation) -> bool:
        file = self._file(done)
        if file is not None:
            _, place = self._open[done.number(0)]
            data = done.text(1)[: done.result]
            file.write(len(file.data) if place < 0 else place, data)
            self._open[done.number(0)] = (file, place if place < 0 else place + len(data))
        return file is not None

    def _pwrite64(self, done: Operation) -> bool:
        file = self._file(done)
        if file is not None:
            file.write(done.number(3), done.text(1)[: done.result])
        return file is not None

    def _ftruncate(self, done: Operation) -> bool:
        file = self._file(done)
        if file is not None:
            file.write(done.number(1), None)
        return file is not None

    def _fallocate(self, done: Operation) -> bool:
        file, end = self._file(done), done.number(2) + done.number(3)
        if file is not None and end > len(file.data):
            file.write(end, None)
        return file is not None

    def _fsync(self, done: Operation) -> bool:
        node, _ = self._open.get(done.number(0), (None, 0))
        if isinstance(node, _File | _Folder):
            node.sync()
        return node is not None

    _fdatasync = _fsync

    def _rename(self, done: Operation) -> bool:
        old, new = self._place(done.path(0)), self._place(done.path(1))
        if old is None or new is None:
            return False
        node = old[0].names[old[1]]
        if old[0] is new[0]:
            old[0].change({old[1]: None, new[1]: node})
        else:
            new[0].change({new[1]: node})
            old[0].change({old[1]: None})
        return True

    def _unlink(self, done: Operation) -> bool:
        return self._change(done.path(0), None)

    _rmdir = _unlink

    def _unlinkat(self, done: Operation) -> bool:
        node, _ = self._open.get(done.number(0), (None, 0))
        if isinstance(node, _Folder):
            node.change({done.path(1): None})
        return isinstance(node, _Folder)

    def _mkdir(self, done: Operation) -> bool:
        return self._change(done.path(0), _Folder())

    def _symlink(self, done: Operation) -> bool:
        return self._change(done.path(1), _Link(done.path(0)))


def _read(path: Path) -> _Folder:
    folder = _Folder()
    for child in path.iterdir():
        if child.is_symlink():
            folder.names[child.name] = _Link(str(child.readlink()))
        elif child.is_dir():
            folder.names[child.name] = _read(child)
        else:
            content = child.read_bytes()
            folder.names[child.name] = _File(bytearray(content), content)
    folder.sync()
    return folder


def _write(node: _Folder, path: Path, chance: random.Random) -> None:
    path.mkdir()
    for name, child in node.left(chance).items():
        if isinstance(child, _Folder):
            _write(child, path / name, chance)
        elif isinstance(child, _Link):
            (path / name).symlink_to(child.target)
        else:
            (path / name).write_bytes(child.left(chance))


def points(root: Path, baseline: Path, done: Sequence[Operation]) -> list[int]:
    """After how many of the calls something in the folder had just changed or become durable."""
    disk = Disk(root, baseline)
    return [count for count, operation in enumerate(done, 1) if disk.do(operation)]


def after(root: Path, baseline: Path, done: Sequence[Operation]) -> Disk:
    """The disk once `done` was done."""
    disk = Disk(root, baseline)
    for operation in done:
        disk.do(operation)
    return disk
