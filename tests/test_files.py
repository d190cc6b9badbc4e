"""Files are whole or not there."""

import os

import pytest

from minimind.files import replace_text, write_aside


def test_a_file_is_replaced_as_a_whole_and_nothing_stays_beside_it(tmp_path):
    path = tmp_path / "notes.txt"
    replace_text(path, "old\n")
    with write_aside(path) as part:
        part.write_bytes(b"half")
        assert path.read_text() == "old\n"  # until the block ends, readers see the old file
        part.write_bytes(b"new \xff")
    assert path.read_bytes() == b"new \xff"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "notes.txt"
    replace_text(path, "old")
    with pytest.raises(RuntimeError, match="the disk is full"), write_aside(path) as part:  # noqa: PT012
        part.write_text("ne")
        raise RuntimeError("the disk is full")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_what_a_killed_writer_left_is_no_hindrance(tmp_path):
    (tmp_path / "model.part").mkdir()
    (tmp_path / "model.part" / "stale").touch()
    with write_aside(tmp_path / "model") as part:
        part.mkdir()
        (part / "weights").write_text("1")
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["weights"]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "stale").touch()
    with write_aside(tmp_path / "model") as part:
        part.mkdir()
        (part / "weights").write_text("1")
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["weights"]
    assert os.listdir(tmp_path) == ["model"]


def test_text_keeps_its_line_ends(tmp_path):
    replace_text(tmp_path / "text", "é\r\n\n")
    assert (tmp_path / "text").read_bytes() == b"\xc3\xa9\r\n\n"


def test_a_durable_file_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (steps.append("fsync"), fsync(number)))
    monkeypatch.setattr(os, "replace", lambda old, new: (steps.append("replace"), replace(old, new)))
    replace_text(tmp_path / "quick", "1")
    replace_text(tmp_path / "durable", "1", durable=True)
    assert steps == ["replace", "fsync", "replace"]
