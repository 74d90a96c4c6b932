"""The archive that the kernel unpacks."""

from __future__ import annotations

import stat

from labelgen.witness import initramfs


def _archive(entries: list[initramfs.Entry]) -> bytes:
    return b"".join(initramfs.records(entries))


def _read(archive: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    found: dict[str, tuple[int, bytes, tuple[int, int]]] = {}
    place = 0
    while True:
        assert archive[place : place + 6] == b"070701"
        fields = [int(archive[place + 6 + 8 * n : place + 14 + 8 * n], 16) for n in range(13)]
        name_end = place + 110 + fields[11]
        name = archive[place + 110 : name_end - 1].decode()
        start = name_end + -name_end % 4
        end = start + fields[6]
        if name == initramfs.TRAILER:
            return found
        found[name] = (fields[1], archive[start:end], (fields[9], fields[10]))
        place = end + -end % 4


def test_files_are_kept_whole_with_their_modes() -> None:
    entries = [initramfs.file("init", b"x" * 5, 0o755), initramfs.file("/mod/a.ko", b"")]
    read = _read(_archive(entries))
    assert read["init"] == (stat.S_IFREG | 0o755, b"xxxxx", (0, 0))
    assert read["mod/a.ko"][1] == b""


def test_folders_come_before_what_they_hold() -> None:
    names = list(_read(_archive([initramfs.file("a/b/c", b"")])))
    assert names == ["a", "a/b", "a/b/c"]


def test_the_console_is_a_device_node() -> None:
    mode, _, device = _read(_archive([initramfs.console()]))["dev/console"]
    assert stat.S_ISCHR(mode) and device == (5, 1)
