"""How far a long magic is, as text and as HTML."""

from __future__ import annotations

from dnworker_jupyter.display.progress import ProgressBar


def test_a_step_is_shown_with_a_bar(capsys):
    bar = ProgressBar("%capability check", terminal=True)
    bar("waiting for bridge", 1, 4)
    assert repr(bar) == "%capability check: [#####...............] 1/4 waiting for bridge"
    assert '<progress value="1" max="4" aria-label="%capability check">' in bar._repr_html_()
    assert capsys.readouterr() == ("", "")  # nobody looks: it is no terminal


def test_a_step_without_a_number_has_no_bar():
    bar = ProgressBar("export", terminal=True)
    bar("locking <a>", 0, 0)
    assert repr(bar) == "export: locking <a>"
    assert bar._repr_html_() == "<div>export: locking &lt;a&gt;</div>"


def test_the_end_takes_the_place_of_the_bar():
    bar = ProgressBar("export", terminal=True)
    bar("locking", 1, 2)
    bar.close("done")
    assert repr(bar).startswith("export: done after 0.")


def test_what_showed_nothing_ends_without_a_word():
    bar = ProgressBar("export", terminal=True)
    bar.close("done")
    assert repr(bar) == "export: "
