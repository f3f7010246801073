"""`ModelEndpoint`: where a model is and with which key it is asked; made by `Agents`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Self

from dnworker.core.text import closest
from dnworker.sessions.providers import OPENAI, PROVIDERS, Provider, split
from dnworker.sessions.turn import TurnFailure


class BadKey(ValueError):
    """A key that could not be sent in a header."""


@dataclass(frozen=True, kw_only=True)
class ModelEndpoint:
    """A provider's address, and its model for turns that name none. The key is never shown."""

    base_url: str = OPENAI.address
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    provider: Provider = field(default=OPENAI, repr=False)

    @classmethod
    def from_environment(
        cls, *, model: str | None = None, base_url: str | None = None, api_key: str | None = None
    ) -> Self:
        """Fill what is not given from `DNWORKER_MODEL` and the variables of the model's provider.

        Raises:
            BadKey: a ValueError: the key cannot be sent; the text does not quote it.
        """
        model = model or os.environ.get("DNWORKER_MODEL") or None
        provider = split(model or "")[0] or OPENAI
        found = next((name for name in provider.keys if os.environ.get(name)), None)
        key = (api_key or os.environ.get(found or "") or "").strip()
        if not (key.isascii() and key.isprintable()):
            where = "api_key" if api_key else found
            raise BadKey(
                f"{where} has characters that no key has, such as a line break; look at how it was set"
            )
        address = base_url or next(filter(None, map(os.environ.get, provider.addresses)), provider.address)
        return cls(base_url=address.rstrip("/"), api_key=key or None, model=model, provider=provider)

    @property
    def is_configured(self) -> bool:
        """Whether requests can be sent: most providers need a key, an address of one's own may need none."""
        provider = self.provider
        return bool(self.api_key) or not provider.needs_key or self.base_url != provider.address

    def is_unset_for(self, model: str) -> bool:
        """Return whether nothing was set at all, and a model of a plain name is meant to be OpenAI's."""
        plain = split(model)[0] is OPENAI or "/" not in model
        return plain and self.provider is OPENAI and not self.is_configured

    @property
    def where(self) -> str:
        """The address, for messages."""
        return self.base_url or self.provider.title

    def of(self, model: str) -> tuple[ModelEndpoint, str]:
        """Return where a model is asked, which may be another provider, and its name there.

        Raises:
            TurnFailure: there is no such provider, or it needs a key and there is none; says what to do.
        """
        provider, name = split(model)
        endpoint = self
        if provider is None:
            self._check_is_known(name)
        elif provider is not self.provider:
            try:
                endpoint = ModelEndpoint.from_environment(model=model)
            except BadKey as exc:
                raise TurnFailure(f"{exc} (DN960)", "ModelNotConfigured") from exc
        if not endpoint.is_configured:
            raise TurnFailure(endpoint.no_key(model), "ModelNotConfigured")
        return endpoint, name

    def no_key(self, model: str) -> str:
        """Return what to say where a key is needed."""
        text = (
            f"model {model!r} needs a key of {self.provider.title}: set {self.provider.keys[0]}, or pass "
            f"api_key= to runtime.agents.use_model({model!r}, ...)"
        )
        if self.provider is not OPENAI and (other := os.environ.get("OPENAI_BASE_URL")):
            text += f"; if {other} has this model, name it 'openai/{model}'"
        return f"{text} (DN960)"

    def _check_is_known(self, name: str) -> None:
        """Refuse an unknown provider, but for addresses of one's own: their names may have slashes."""
        prefix, slash, _ = name.partition("/")
        if slash and self.provider is OPENAI and self.base_url == OPENAI.address:
            near = closest(prefix, PROVIDERS)
            hint = f"did you mean {near}/...? " if near else ""
            raise TurnFailure(
                f"model {name!r} names no known provider: {hint}there are {', '.join(PROVIDERS)}; for "
                "any other, set OPENAI_BASE_URL to an endpoint that is compatible with OpenAI's (DN961)",
                "UnknownProvider",
            )
