"""What the build makes of notebooks and pages: text that a site can show, and an error where a tutorial fails."""

from __future__ import annotations

import nbformat
import pytest

from dnworker_jupyter.display.html import SHEET
from scripts.website import llms, tutorials
from scripts.website.notebook_page import WIDGET, page_of
from scripts.website.pages import Page, navigation, plain


def notebook(*outputs, text="See [more](02-more.ipynb) and ![a picture](../docs/images/a.png)."):
    cell = nbformat.v4.new_code_cell("run()", outputs=list(outputs))
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), cell])


def shown(**data):
    return nbformat.v4.new_output(
        "display_data", data={name.replace("_", "/"): of for name, of in data.items()}
    )


def test_links_of_a_notebook_lead_from_its_page():
    assert "See [more](02-more.md) and ![a picture](../../images/a.png)." in page_of(notebook())


def test_what_was_printed_in_pieces_is_one_block_without_colours():
    pieces = [nbformat.v4.new_output("stream", text=text) for text in ("\x1b[31mone\n", "two\x1b[0m\n")]
    assert "``` { .text .output }\none\ntwo\n```" in page_of(notebook(*pieces))


def test_a_page_has_the_sheet_of_traces_once_and_in_the_colours_of_the_site():
    trace = f"{SHEET}<div class='dnt'><table><tr><td>1</td></tr></table>\n\n</div>"
    text = page_of(notebook(shown(text_html=trace, text_plain="1"), shown(text_html=trace, text_plain="1")))
    assert text.count("<style>") == 1
    assert '[data-md-color-scheme="slate"] .dnt' in text
    assert text.count('<table class="rows">') == 2
    assert "</table>\n\n" not in text  # an empty line would end the HTML


def test_the_panel_is_a_picture_and_progress_that_is_over_is_left_out():
    panel = shown(text_plain="worker", text_html="<p>static</p>")
    panel.data[WIDGET] = {"model_id": "1"}
    text = page_of(
        notebook(panel, shown(text_plain="%capability export: done after 0.6 s", text_html="<i></i>"))
    )
    assert "](../../images/panel.png)" in text
    assert "static" not in text
    assert "done after" not in text


def test_a_page_with_a_script_is_refused():
    with pytest.raises(ValueError, match="has a script"):
        page_of(notebook(shown(text_html="<script>1</script>", text_plain="1")))


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A project with no notebooks yet."""
    for name in ("NOTEBOOKS", "RUNS", "PAGES"):
        monkeypatch.setattr(tutorials, name, tmp_path / name.lower())
    (tmp_path / "notebooks").mkdir()
    return tmp_path


def write(places, name, code):
    cells = [nbformat.v4.new_markdown_cell(f"# {name}"), nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), places / "notebooks" / f"{name}.ipynb")


@pytest.mark.kernel
def test_a_run_is_kept_until_its_notebook_changes_and_pages_of_notebooks_that_are_gone_go(places):
    write(places, "one", "import time; print('at', time.time_ns())")
    (places / "pages").mkdir()
    (places / "pages" / "gone.md").write_text("")
    (places / "pages" / "index.md").write_text("")
    tutorials.build()
    page = places / "pages" / "one.md"
    first = page.read_text()
    assert "# one" in first
    assert {file.name for file in (places / "pages").iterdir()} == {"one.md", "index.md"}
    tutorials.build()
    assert page.read_text() == first
    write(places, "one", "import time; print('later', time.time_ns())")
    tutorials.build()
    assert "later" in page.read_text()
    assert len([*(places / "runs").iterdir()]) == 1


@pytest.mark.kernel
def test_the_run_of_a_notebook_with_a_longer_name_is_kept(places):
    (places / "runs").mkdir()
    longer = places / "runs" / f"one-more-{'a' * tutorials.DIGITS}.ipynb"
    longer.write_text("")
    write(places, "one", "1")
    tutorials.build()
    assert longer.exists()


@pytest.mark.parametrize("file", ["dnworker/panel/static/panel.js", "dnworker/explain/DN104.md"])
def test_every_file_of_the_packages_counts_for_a_run_and_no_compiled_one_does(places, monkeypatch, file):
    monkeypatch.setattr(tutorials, "PROJECT", places)
    write(places, "one", "1")
    notebook = places / "notebooks" / "one.ipynb"
    before = tutorials._fingerprint(notebook)
    (places / "dnworker" / "__pycache__").mkdir(parents=True)
    (places / "dnworker" / "__pycache__" / "a.pyc").write_text("")
    assert tutorials._fingerprint(notebook) == before
    (places / file).parent.mkdir(parents=True)
    (places / file).write_text("")
    assert tutorials._fingerprint(notebook) != before


def test_a_tutorial_has_no_model_of_the_developer_and_no_proxy_before_this_machine(monkeypatch):
    for name, value in {"OPENAI_API_KEY": "k", "DNWORKER_MODEL": "m", "no_proxy": "intra.example"}.items():
        monkeypatch.setenv(name, value)
    found = tutorials._environment("/home/a")
    assert not found.keys() & {"OPENAI_API_KEY", "DNWORKER_MODEL"}
    assert found["no_proxy"] == found["NO_PROXY"] == "intra.example,127.0.0.1,localhost"


@pytest.mark.kernel
def test_a_tutorial_sees_a_home_of_its_own_and_its_page_does_not_name_it(places):
    write(places, "one", "import os, pathlib; print(pathlib.Path.home(), os.getcwd())")
    tutorials.build()
    assert "~ ~/notebooks" in (places / "pages" / "one.md").read_text()


@pytest.mark.kernel
def test_a_tutorial_that_fails_is_named_and_nothing_is_kept_of_it(places):
    write(places, "one", "raise LookupError('no such thing')")
    with pytest.raises(tutorials.TutorialError, match=r"(?s)one\.ipynb: .*no such thing"):
        tutorials.build()
    assert not (places / "runs").exists()


@pytest.mark.kernel
def test_a_tutorial_that_takes_too_long_is_ended(places, monkeypatch):
    monkeypatch.setattr(tutorials, "LIMIT", 3.0)
    write(places, "one", "import time; time.sleep(100)")
    with pytest.raises(tutorials.TutorialError, match=r"one\.ipynb took longer than 3 s"):
        tutorials.build()


def test_a_page_tells_its_title_and_its_first_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.website.pages.DOCS", tmp_path)
    (tmp_path / "page.md").write_text(
        "---\ntitle: x\n---\n# Retries of *one* [kind](a.md)\n\n!!! note\n    no\n\nGive it [again](b.md). Or not.\n"
    )
    page = Page("page.md", ("How-to",))
    assert (page.title, page.summary) == ("Retries of *one* kind", "Give it again.")
    assert [*llms.index([page])][-3:] == [
        "## How-to",
        "",
        "- [Retries of *one* kind](page.md): Give it again.",
    ]


def test_a_model_reads_signatures_in_place_of_directives_and_no_marks_of_tests(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.website.pages.DOCS", tmp_path)
    (tmp_path / "page.md").write_text(
        "# Clock\n\n::: dnworker.VirtualClock\n    options:\n      x: 1\n\n<!-- run: no, it waits -->\n```sh\nls\n```\n\n"
        "<!-- hidden sh\nsecret\n-->\n"
    )
    text = llms.as_text(Page("page.md", ()))
    assert "### dnworker.VirtualClock" in text
    assert "#### " in text
    assert not any(word in text for word in (":::", "options:", "run: no", "secret"))


def test_the_navigation_names_sections_in_their_order():
    sections = list(dict.fromkeys(page.section[0] for page in navigation()))
    assert sections[0] == "Start"
    assert Page("start/tutorials/index.md", ("Start", "Tutorials")) in navigation()
    assert plain("a **b** [c](d)") == "a b c"
