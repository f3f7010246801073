"""The environment of programs whose answers are kept or compared: no model of the developer answers in them.

Nor does a proxy stand before this machine.
"""

from __future__ import annotations

from collections.abc import Mapping

OF_MODELS = ("OPENAI_", "AZURE_OPENAI_", "ANTHROPIC_", "GEMINI_", "LITELLM_", "DNWORKER_MODEL")
"""How the variables begin that name a model, its endpoint or its key."""

HERE = ("127.0.0.1", "localhost")

COLOURS = "FORCE_COLOR"
"""The variable that colours what is piped."""


def reproducible(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which no model answers unasked, and no proxy is asked for this machine.

    What is piped has no colours there.
    """
    told = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    named = [name for name in map(str.strip, told.split(",")) if name]
    if "*" not in named:
        named += [name for name in HERE if name not in named]
    own = {name: value for name, value in environ.items() if not name.startswith((*OF_MODELS, COLOURS))}
    return own | dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(named))
