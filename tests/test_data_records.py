"""Reading data files: good rows come out, bad ones are named by file and line."""

import json

import pytest

from minimind.data import find_files, read_records
from minimind.errors import UserError

GOOD = '{"text": "Once upon a time"}'


def write(path, *lines):
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\n")
    return path


def texts(source, **options):
    return [record.text for record in read_records(source, **options)]


def test_rows_come_with_their_text_file_and_line(tmp_path):
    path = write(tmp_path / "a.jsonl", GOOD, "", '{"text": "zwei – 日本", "source": "book"}', "  ")
    first, second = read_records(path)
    assert (first.text, first.path, first.line) == ("Once upon a time", path, 1)
    assert (second.text, second.line) == ("zwei – 日本", 3)


def test_windows_line_ends_and_byte_order_marks_are_not_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n" + GOOD.encode() + b"\r\n")
    assert texts(path) == ["Once upon a time"] * 2


def test_a_text_file_is_one_document(tmp_path):
    path = write(tmp_path / "a.txt", "First line.", "", "Second line.")
    assert texts(path) == ["First line.\n\nSecond line.\n"]


def test_other_line_separators_inside_a_text_do_not_cut_the_row(tmp_path):
    text = "one\u2028two\x85three"
    path = write(tmp_path / "a.jsonl", json.dumps({"text": text}, ensure_ascii=False))
    assert texts(path) == [text]


BAD = {
    "broken JSON": ('{"text": "oops', "broken JSON: Unterminated string starting at column 10"),
    "two objects": ('{"text": "a"} {"text": "b"}', "broken JSON: Extra data"),
    "a list": ('["text"]', r'expected a JSON object such as \{"text": …\}, found \["text"\]'),
    "a wrong field": ('{"txt": "a", "id": 3}', "the field 'text' is missing; found 'txt', 'id'"),
    "no field": ("{}", "the field 'text' is missing; found no field"),
    "a number": ('{"text": 3}', "'text' must be a string, found 3"),
    "null": ('{"text": null}', "'text' must be a string, found null"),
    "an empty text": ('{"text": ""}', "'text' is empty"),
    "only spaces": ('{"text": " \\n"}', "'text' is empty"),
    "not UTF-8": (b'{"text": "caf\xe9"}', "not UTF-8: byte 0xe9 at column 14"),
    "half a character": ('{"text": "\\ud83d"}', r"'text' has half a character \(\\ud83d, a lone surrogate\)"),
    "endless nesting": ('{"text": ' + "[" * 100_000, "broken JSON: nested too deeply"),
    "an endless number": ('{"text": ' + "1" * 5000 + "}", "broken JSON: a number has thousands of digits"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, kind):
    row, message = BAD[kind]
    path = write(tmp_path / "a.jsonl", GOOD, row, GOOD)
    with pytest.raises(UserError, match=rf"1 bad row: .*a\.jsonl:2: {message}.*--skip-bad-rows") as caught:
        texts(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", BAD)
def test_bad_rows_can_be_left_out_and_are_listed(tmp_path, kind):
    path = write(tmp_path / "a.jsonl", GOOD, BAD[kind][0], GOOD)
    records = read_records(path, skip_bad_rows=True)
    assert [record.line for record in records] == [1, 3]
    assert (records.report.good, records.report.bad) == (2, 1)
    assert len(records.report.problems) == 1
    assert records.report.problems[0].startswith(f"{path}:2: ")


def test_the_first_three_bad_rows_are_named_and_all_are_counted(tmp_path):
    path = write(tmp_path / "a.jsonl", GOOD, *["{}"] * 5)
    with pytest.raises(UserError, match=r"5 bad rows: .*:2: .*:3: .*:4: .*\(and 2 more\)") as caught:
        texts(path)
    assert ":5:" not in str(caught.value)


def test_leaving_out_every_row_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"2 bad rows: .*no good row is left"):
        texts(write(tmp_path / "a.jsonl", "{}", "{"), skip_bad_rows=True)


def test_a_file_of_blank_lines_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"a\.jsonl: no rows, only blank lines"):
        texts(write(tmp_path / "a.jsonl", "", " "))


def test_rows_are_read_one_at_a_time(tmp_path):
    path = write(tmp_path / "a.jsonl", GOOD, "{}")
    records = read_records(path)
    assert next(records).line == 1
    assert (records.report.good, records.report.bad) == (1, 0)


def test_an_unknown_kind_is_named(tmp_path):
    with pytest.raises(UserError, match="no kind of record is named 'poem'; there are pretrain"):
        read_records(write(tmp_path / "a.jsonl", GOOD), kind="poem")


def test_a_file_a_folder_a_glob_and_a_list_are_found_in_order(tmp_path):
    a, b, c = (write(tmp_path / name, GOOD) for name in ("a.jsonl", "b.txt", "c.jsonl"))
    write(tmp_path / "notes.md", "not data")
    assert find_files(a) == [a]
    assert find_files(str(tmp_path)) == [a, b, c]
    assert find_files(tmp_path / "*.jsonl") == [a, c]
    assert find_files([c, str(a)]) == [c, a]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    path = write(tmp_path / "a[1].jsonl", GOOD)
    assert find_files(path) == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", r"missing\.jsonl: no such file or folder"),
        ("*.jsonl", r"\*\.jsonl: no file matches"),
        ("folder", r"folder: the folder has no \.jsonl and no \.txt file"),
        ("empty.txt", r"empty\.txt: the file is empty"),
        ("table.csv", r"table\.csv: data files are \.jsonl .* or \.txt"),
    ],
)
def test_a_source_without_data_is_named_before_reading(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.txt").touch()
    write(tmp_path / "table.csv", "text")
    with pytest.raises(UserError, match=message):
        read_records(tmp_path / name)


def test_naming_nothing_is_an_error():
    with pytest.raises(UserError, match="no data file was named"):
        find_files([])
