"""`explain`: pages by code and by words, as text for a terminal and as Markdown for a notebook."""

from __future__ import annotations

import json
import logging

import pytest

from dnworker.cli.main import main
from dnworker.cli.text import ErrorCodes
from dnworker.core.errors import (
    HandlerFailed,
    JournalError,
    ManifestError,
    NotFound,
    UsageError,
    code_of,
    with_code,
)
from dnworker.core.handler_error import describe
from dnworker.explain.pages import answer, page_of, pages
from scripts.website.messages import FOLDER, site_pages


def test_a_code_is_taken_in_any_case_and_with_the_brackets_of_a_message():
    assert page_of("DN104") is page_of("dn104") is page_of("(DN104)") is page_of("(DN104):")


def test_the_code_of_a_rule_of_manifests_leads_to_the_page_of_its_family():
    assert page_of("CAP-FLAG-001").code == page_of("[CAP-FLAG-002],").code == "DN416"


def test_a_code_that_there_is_not_names_the_nearest():
    with pytest.raises(UsageError, match=r"there is no message 'DN1044'; did you mean DN104: ") as caught:
        page_of("DN1044")
    assert caught.value.code == "DN909"


def test_words_are_searched_in_titles_and_texts():
    found = answer(["dead", "letter"])
    assert found.pages[0].code == "DN319"


def test_words_that_no_page_has_are_refused():
    with pytest.raises(UsageError, match="no page has 'xylophone'"):
        answer(["xylophone"])


def test_without_words_all_titles_are_listed_by_group():
    found = answer([])
    assert found.is_list
    assert len(found.pages) == len(pages())
    assert found.text.startswith("Cells and magics\n  DN101  ")
    assert "**Cells and magics**\n\n- `DN101` " in found.markdown


def test_a_page_in_a_terminal_has_neither_marks_nor_comments():
    text = page_of("DN104").text
    assert text.startswith("DN104: a cell magic below the first line\n\n")
    assert "```" not in text
    assert "<!--" not in text
    assert "**" not in text
    assert "\n    %%worker bridge\n" in text


@pytest.mark.parametrize("code", sorted(pages()))
def test_no_page_shows_what_is_for_tests_only(code):
    for shown in (page_of(code).text, page_of(code).markdown):
        assert "<!--" not in shown
        assert "-->" not in shown


def test_the_command_shows_a_page(capsys):
    assert main(["explain", "DN104"]) == 0
    assert capsys.readouterr().out == page_of("DN104").text + "\n"


def test_the_command_shows_several_pages_in_order(capsys):
    assert main(["explain", "DN201", "DN104"]) == 0
    said = capsys.readouterr().out
    assert said.index("DN201: ") < said.index("DN104: ")


def test_the_command_answers_in_json(capsys):
    assert main(["explain", "DN104", "--json"]) == 0
    (page,) = json.loads(capsys.readouterr().out)["pages"]
    assert page["code"] == "DN104"
    assert page["text"] == page_of("DN104").markdown


def test_an_error_of_a_command_ends_in_its_code(capsys):
    assert main(["explain", "DN999"]) == 1
    assert capsys.readouterr().err.endswith(" (DN909)\n")
    assert main(["explain", "DN999", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "DN909"


def test_a_line_that_no_command_understands_ends_in_its_code(capsys):
    with pytest.raises(SystemExit):
        main(["explian"])
    assert capsys.readouterr().err.endswith(" (DN901)\n")


def test_the_text_of_an_error_stays_without_its_code():
    exc = UsageError("no", code="DN104")
    assert (str(exc), exc.args, with_code(exc)) == ("no", ("no",), "no (DN104)")


def test_a_code_stands_at_the_end_of_the_first_line():
    exc = HandlerFailed(["on_ping raised"])
    assert with_code(exc) == "a handler failed (DN312):\n  on_ping raised"


def test_a_code_stands_once():
    exc = NotFound("there is none (DN301)", code="DN301")
    assert with_code(exc) == "there is none (DN301)"


def test_the_rule_of_a_manifest_is_code_enough():
    exc = ManifestError(["capability.yaml:1:1: no name [CAP-VALID-001]"])
    assert with_code(exc) == str(exc)


def test_an_error_of_others_has_no_code():
    class Theirs(Exception):
        code = "DN104"

    assert code_of(Theirs()) is None
    assert with_code(Theirs("no")) == "no"


def test_no_code_of_a_users_class_is_run():
    class Nosy(UsageError):
        @property
        def code(self):
            raise AssertionError("it was asked")

    assert code_of(Nosy("no")) is None


def test_what_a_handler_raised_has_its_code_in_the_trace():
    error = describe(UsageError("no", code="DN104"))
    assert error.text == "UsageError: no (DN104)"
    assert error.message == "no"  # which turns and states of workers are told


def test_the_pages_of_the_site_are_these():
    """`python -m scripts.website.messages` writes them."""
    assert {file.name: file.read_text() for file in FOLDER.glob("*.md")} == site_pages()


def test_what_serve_logs_of_an_error_has_its_code():
    values = ("events.db", JournalError("it is locked"), 3)
    record = logging.LogRecord("dnworker", logging.ERROR, "", 0, "%s: %s, %d", values, None)
    assert ErrorCodes().filter(record)
    assert record.getMessage() == "events.db: it is locked (DN702), 3"
