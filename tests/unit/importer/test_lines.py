"""The `%%worker` line of a worker of a manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnworker.capability.manifest import WorkerDefinition
from dnworker_jupyter.importer.lines import quoted, worker_options
from dnworker_jupyter.syntax.options import read_worker_line


def test_flags_and_variables_are_read_back_as_they_were():
    env = {"A": "1", "B": "two words", "C": "/place/of/it/data"}
    words = worker_options(WorkerDefinition("w", env=env, when=("beta",)), Path("/place/of/it"))
    options = read_worker_line(" ".join(["w", *words])).options
    assert options.when == ("beta",)
    assert options.env == {**env, "C": "${CAPABILITY_ROOT}/data"}


@pytest.mark.parametrize(("word", "written"), [("workers/a.py", "workers/a.py"), ("a b", "'a b'")])
def test_a_word_is_quoted_where_it_needs_it(word, written):
    assert quoted(word) == written
