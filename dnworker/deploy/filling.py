"""`filled` returns a file of a deployment: one of `templates/`, with its `@@{names}` replaced."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from importlib.resources import files


class _Template(string.Template):
    """A template of shell, units and YAML, which have dollars and percent signs of their own."""

    delimiter = "@@"


def filled(name: str, values: Mapping[str, object]) -> str:
    """Return the text of a template with its names replaced.

    A line that consists of one name whose value is empty is left out.

    Args:
        name: the path of the file in `templates/`.
        values: by name; all that the template names.

    Raises:
        KeyError: the template names a value that is not given.
    """
    text = files("dnworker.deploy").joinpath("templates", name).read_text(encoding="utf-8")
    empty = "|".join(re.escape(key) for key, value in values.items() if value == "")
    if empty:
        text = re.sub(rf"^[ ]*@@\{{(?:{empty})\}}\n", "", text, flags=re.MULTILINE)
    return _Template(text).substitute(values)
