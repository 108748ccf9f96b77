import gc
import stat
import struct
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gliomask import InputError
from gliomask.io import archives
from gliomask.io.archives import Unpacked, extracted


def zipped(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_files_and_folders_come_out_as_they_went_in_and_go_again(tmp_path: Path) -> None:
    path = zipped(tmp_path / "case.zip", {"study/a.dcm": b"one", "study/b/ä c.dcm": b"two" * 1000, "top": b""})
    with extracted(path) as folder:
        found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == {"study/a.dcm": b"one", "study/b/ä c.dcm": b"two" * 1000, "top": b""}
    assert not folder.exists()
    assert path.exists()


def test_files_are_there_for_as_many_readers_as_are_to_come(tmp_path: Path) -> None:
    archive = Unpacked(zipped(tmp_path / "case.zip", {"a": b"x"}))
    archive.readers = 2
    with archive, archive:  # one reader, who looks twice
        assert (archive.folder / "a").read_bytes() == b"x"
    assert (archive.folder / "a").exists()
    with archive:
        pass
    assert not archive.folder.exists()
    with archive:  # one more, as when a page computes a result again
        assert (archive.folder / "a").read_bytes() == b"x"
    assert not archive.folder.exists()


def test_readers_at_the_same_time_count_one_by_one(tmp_path: Path) -> None:
    archive = Unpacked(zipped(tmp_path / "case.zip", {"a": b"x"}))
    archive.readers = 2
    both = threading.Barrier(2, timeout=20)

    def read(_: int) -> bytes:
        with archive:
            both.wait()
            return (archive.folder / "a").read_bytes()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(read, range(2))) == [b"x", b"x"]
    assert not archive.folder.exists()


def test_files_make_room_between_readers_where_the_disk_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Unpacked(zipped(tmp_path / "case.zip", {"a": b"x"}))
    archive.readers = 9
    monkeypatch.setattr(archives, "MAX_BYTES", 2**62)
    for _ in range(2):
        with archive:
            assert (archive.folder / "a").exists()
        assert not archive.folder.exists()


def test_the_folder_goes_with_the_archives_last_user(tmp_path: Path) -> None:
    archive = Unpacked(zipped(tmp_path / "case.zip", {"a": b"x"}))
    archive.readers = 9
    with archive:
        folder = archive.folder
    assert folder.exists()
    del archive
    gc.collect()
    assert not folder.parent.exists()


def test_the_folder_goes_when_the_block_fails(tmp_path: Path) -> None:
    path = zipped(tmp_path / "case.zip", {"a": b"x"})
    with pytest.raises(RuntimeError, match="on purpose"), extracted(path) as folder:
        raise RuntimeError("on purpose")
    assert not folder.exists()


def test_archives_inside_and_resource_forks_are_left_out(tmp_path: Path) -> None:
    path = zipped(tmp_path / "case.zip", {"a.dcm": b"x", "inner.ZIP": b"PK", "__MACOSX/._a.dcm": b"fork"})
    with extracted(path) as folder:
        assert [p.name for p in folder.rglob("*")] == ["a.dcm"]


def with_link(path: Path) -> None:
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")


def encrypted(path: Path) -> None:
    content = bytearray(zipped(path, {"a.dcm": b"secret"}).read_bytes())
    content[6] |= 1  # the flag of the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    path.write_bytes(content)


def twice(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.dcm", b"1")
        archive.writestr("a.dcX", b"2")
    path.write_bytes(path.read_bytes().replace(b"a.dcX", b"a.dcm"))


def cut(path: Path) -> None:
    zipped(path, {"a.dcm": bytes(range(256)) * 50}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes()[:500])


def damaged(path: Path) -> None:
    content = bytearray(zipped(path, {"a.dcm": bytes(range(256)) * 50}, zipfile.ZIP_STORED).read_bytes())
    content[100] ^= 0xFF
    path.write_bytes(content)


def damaged_lzma(path: Path) -> None:
    content = bytearray(zipped(path, {"a.dcm": bytes(range(256)) * 50}, zipfile.ZIP_LZMA).read_bytes())
    content[60:100] = bytes(40)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_bytes(b""), "not a zip archive"),
        (lambda p: p.write_text("no archive"), "not a zip archive"),
        (lambda p: zipped(p, {}), "holds no files"),
        (lambda p: zipped(p, {"folder/": b""}), "holds no files"),
        (lambda p: zipped(p, {"inner.zip": b"PK"}), "holds no files"),
        (lambda p: zipped(p, {"../a.dcm": b"x"}), r"'\.\./a\.dcm' points outside"),
        (lambda p: zipped(p, {"a/../../b.dcm": b"x"}), "points outside"),
        (lambda p: zipped(p, {"/etc/a.dcm": b"x"}), "points outside"),
        (lambda p: zipped(p, {"..\\a.dcm": b"x"}), "points outside"),
        (lambda p: zipped(p, {"C:\\a.dcm": b"x"}), "points outside"),
        (with_link, "link or special file"),
        (encrypted, "encrypted"),
        (twice, "twice"),
        (cut, "damaged or cut short"),
        (damaged, "damaged or cut short"),
        (damaged_lzma, "damaged or cut short"),
        (lambda p: p.mkdir(), "could not be unpacked"),
        (lambda p: zipped(p, {"a": b"x", "a/b": b"x"}), "could not be unpacked"),
    ],
)
def test_what_is_refused_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], reason: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = tmp_path / "case.zip"
    make(path)
    with pytest.raises(InputError, match=reason) as caught, extracted(path):
        pass
    assert str(path) in str(caught.value)
    assert not list((tmp_path / "temporary").iterdir())
    assert not (tmp_path / "a.dcm").exists()


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 2)
    path = zipped(tmp_path / "case.zip", {str(i): b"" for i in range(3)})
    with pytest.raises(InputError, match="holds 3 files; at most 2"), extracted(path):
        pass


@pytest.mark.parametrize(("name", "limit"), [("MAX_BYTES", 5000), ("RATIO_FROM_BYTES", 5000)])
def test_bombs_are_stopped_by_the_bytes_that_come_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    monkeypatch.setattr(archives, name, limit)
    monkeypatch.setattr(archives, "CHUNK", 1000)
    monkeypatch.setattr(archives, "MAX_RATIO", 2)
    path = zipped(tmp_path / "bomb.zip", {"a": bytes(4000), "b": bytes(4000)})
    with pytest.raises(InputError, match=r"bomb\.zip: unpacks to more than .* MiB"), extracted(path):
        pass


def test_a_bomb_whose_header_lies_about_its_size_is_stopped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(zipped(tmp_path / "bomb.zip", {"a": bytes(100_000)}).read_bytes())
    small = struct.pack("<L", 10)
    content[22:26] = small
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = small
    (tmp_path / "bomb.zip").write_bytes(content)
    monkeypatch.setattr(archives, "MAX_BYTES", 5000)
    with pytest.raises(InputError, match=r"bomb\.zip: (unpacks to more|not a zip archive, damaged)"), extracted(tmp_path / "bomb.zip"):
        pass
