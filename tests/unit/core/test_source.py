"""`core/source.py`: code around a location."""

from dnworker.core.source import add_reader, cell_number, lines_around, short_place, split_place

TEXT = "async def on_rows(event):\n    rows = event.payload\n    for row in rows:\n        float(row)\n    return\n"


def test_lines_around_a_line_of_a_file_come_with_their_numbers(tmp_path):
    file = tmp_path / "importer.py"
    file.write_text(TEXT)
    assert lines_around(f"{file}, line 4", "float(row)") == [
        (1, "async def on_rows(event):"),
        (2, "    rows = event.payload"),
        (3, "    for row in rows:"),
        (4, "        float(row)"),
        (5, "    return"),
    ]


def test_a_file_that_has_changed_since_shows_the_line_that_ran(tmp_path):
    file = tmp_path / "importer.py"
    file.write_text(TEXT)
    assert lines_around(f"{file}, line 4", "int(row)") == [(4, "int(row)")]
    file.write_text(TEXT.replace("float", "int"))
    assert len(lines_around(f"{file}, line 4", "int(row)")) == 5


def test_only_python_is_read(tmp_path):
    secret = tmp_path / "id_rsa"
    secret.write_text("key\n")
    assert lines_around(f"{secret}, line 1", "") == []
    assert lines_around(f"{tmp_path}/none.py, line 1", "x = 1") == [(1, "x = 1")]
    assert lines_around("outside the worker's code", "") == []
    assert lines_around(f"{tmp_path}, line 1", "") == []


def test_a_cell_is_read_by_who_knows_it():
    remove = add_reader({"cell [3]": TEXT}.get)
    assert lines_around("cell [3], line 1", "async def on_rows(event):", after=0) == [
        (1, "async def on_rows(event):")
    ]
    remove()
    remove()
    assert lines_around("cell [3], line 1", "x") == [(1, "x")]


def test_a_location_is_taken_apart():
    assert split_place("/a, line 2/b.py, line 41") == ("/a, line 2/b.py", 41)
    assert short_place("/a/importer.py, line 41") == "importer.py:41"
    assert short_place("cell [3], line 7") == "cell [3], line 7"
    assert (cell_number("cell [3], line 7"), cell_number("/cell [3].py, line 7")) == (3, None)
    assert short_place("outside the worker's code") == "outside the worker's code"
