"""`core/json_rows.py`: a difference as rows, equal parts folded."""

from hypothesis import given

from dnworker.core.json_rows import ROWS, difference, path_text
from tests.unit.core.test_json_diff import VALUES, rows


def lines(left, right):
    return difference(left, right).lines(("✓", "✗"))


def test_the_one_changed_row_among_400_stands_between_two_folds():
    left, right = {"file": "a.csv", "rows": rows(400)}, {"file": "a.csv", "rows": rows(400, 317)}
    for row in (*left["rows"], *right["rows"]):
        del row["stock"]
    found = difference(left, right)
    assert found.where == "rows[317].price"
    assert found.lines(("✓", "✗")) == [
        '  "file": "a.csv",',
        '  "rows": [ ▸ 317 equal objects',
        '    { "ean": "4006380000317",',
        '✓     "price": "12.50" },',
        '✗     "price": "12,50" },',
        "    ▸ 82 equal objects ]",
    ]
    folds = [row.fold for row in found.rows if row.fold]
    assert [(fold.path, fold.start, fold.count) for fold in folds] == [
        (("rows",), 0, 317),
        (("rows",), 318, 82),
    ]


def test_what_came_and_went_is_told_from_what_changed():
    assert lines({"a": 1, "b": [1, 2], "c": 0}, {"b": [2, {"d": None}], "c": 0, "e": True}) == [
        '✓ "a": 1,',
        '  "b": [',
        "✓   1,",
        "    2,",
        '✗   {"d":null} ],',
        '  "c": 0,',
        '✗ "e": true',
    ]


def test_many_equal_fields_are_folded_after_the_first():
    left = {**{f"k{n}": n for n in range(9)}, "z": 1}
    assert lines(left, left | {"z": 2}) == ['  "k0": 0,', "  ▸ 8 equal fields", '✓ "z": 1', '✗ "z": 2']


def test_equal_objects_and_lists_of_an_object_are_folded():
    left = {"a": {"b": 1}, "c": [1, 2], "d": [], "z": 1}
    assert lines(left, left | {"d": [1], "z": 2})[:2] == [
        '  "a": { ▸ 1 equal field },',
        '  "c": [ ▸ 2 equal numbers ],',
    ]


def test_a_changed_item_at_the_end_of_a_list_closes_it_on_both_rows():
    assert lines({"a": [1, 2]}, {"a": [1, 3]}) == ['  "a": [', "    1,", "✓   2 ]", "✗   3 ]"]


def test_long_texts_are_shown_around_their_first_difference():
    left, right = (
        {"a": f"{'x' * 5000}12.50{'y' * 5000}", "b": 0},
        {"a": f"{'x' * 5000}12,50{'y' * 5000}", "b": 0},
    )
    old, new = lines(left, right)[:2]
    assert "12.50" in old
    assert "12,50" in new
    assert len(old) < 300


def test_secrets_are_not_shown():
    shown = "\n".join(
        lines(
            {
                "password": "a",
                "api_key": "b",
                "x": {"token": "c", "deep": {"secret": "s"}},
                "n": [{"token": "t"}],
            },
            {"password": "d", "api_key": "b", "x": 1, "n": [{"token": "u"}], "new": {"token": "v"}},
        )
    )
    assert '"password": "***"' in shown
    assert not any(f'"{secret}"' in shown for secret in "abcdstuv")


def test_a_large_difference_has_a_bounded_number_of_rows():
    found = difference([[n] for n in range(5000)] + [0], [[n, n] for n in range(5000)] + [0])
    assert len(found.rows) <= ROWS
    assert found.rows[-1].fold is not None
    assert "more rows differ" in found.rows[-1].fold.text


def test_differences_are_named_by_their_place():
    def where(left, right):
        return difference(left, right).where

    assert where({"a": 1}, {"a": 1}) == "no difference"
    assert where({"r": [{"a": 1, "b": 1, "c": 0}]}, {"r": [{"a": 2, "b": 2, "c": 0}]}) == "r[0]"
    assert where({"a": 1, "b": 1, "c": 0}, {"a": 2, "b": 2, "c": 0}) == "2 places"
    assert where(1, 2) == "everything"
    assert path_text(("a b", 0, "c", 'd"')) == '["a b"][0].c["d\\""]'


@given(VALUES, VALUES)
def test_there_are_marked_rows_exactly_where_something_differs(left, right):
    found = difference(left, right)
    assert any(row.mark for row in found.rows) == (found.changes > 0)
