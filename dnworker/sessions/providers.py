"""`PROVIDERS`: who serves models, and where keys and addresses come from; for `ModelEndpoint`."""

from __future__ import annotations

import msgspec


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One API of models.

    Attributes:
        name: what stands before the slash of a model's name.
        title: its name for people.
        keys: environment variables that may have its key; messages name the first.
        addresses: environment variables that may have its address.
        address: where it is if nothing says otherwise; empty where its library knows.
        needs_key: whether its own address answers nothing without a key.
        example: a model's name.
        others: other names for it before the slash.
    """

    name: str
    title: str
    keys: tuple[str, ...]
    addresses: tuple[str, ...]
    address: str
    example: str
    needs_key: bool = True
    others: tuple[str, ...] = ()


OPENAI = Provider(
    name="openai",
    title="OpenAI, and endpoints that are compatible with it",
    keys=("OPENAI_API_KEY",),
    addresses=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
    address="https://api.openai.com/v1",
    example="openai/gpt-5-mini",
)

PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        OPENAI,
        Provider(
            name="anthropic",
            title="Anthropic",
            keys=("ANTHROPIC_API_KEY",),
            addresses=("ANTHROPIC_BASE_URL",),
            address="https://api.anthropic.com",
            example="anthropic/claude-sonnet-5-5",
        ),
        Provider(
            name="google",
            title="Google, the Gemini API",
            keys=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
            addresses=("GOOGLE_GEMINI_BASE_URL",),
            address="https://generativelanguage.googleapis.com",
            example="google/gemini-2.5-flash",
            others=("gemini",),
        ),
        Provider(
            name="mistral",
            title="Mistral",
            keys=("MISTRAL_API_KEY",),
            addresses=("MISTRAL_BASE_URL",),
            address="https://api.mistral.ai",
            example="mistral/mistral-small-latest",
        ),
        Provider(
            name="bedrock",
            title="Amazon Bedrock",
            keys=("AWS_BEARER_TOKEN_BEDROCK",),
            addresses=("AWS_ENDPOINT_URL_BEDROCK_RUNTIME",),
            address="",
            example="bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            needs_key=False,  # roles, profiles and key pairs of AWS do, too
        ),
        Provider(
            name="groq",
            title="Groq",
            keys=("GROQ_API_KEY",),
            addresses=("GROQ_BASE_URL",),
            address="https://api.groq.com",
            example="groq/llama-3.3-70b-versatile",
        ),
        Provider(
            name="ollama",
            title="Ollama",
            keys=("OLLAMA_API_KEY",),
            addresses=("OLLAMA_BASE_URL",),
            address="http://127.0.0.1:11434/v1",
            example="ollama/qwen3",
            needs_key=False,
            others=("ollama_chat",),
        ),
    )
}
"""By name, in the order in which the docs list them."""

_BY_PREFIX = {prefix: one for one in PROVIDERS.values() for prefix in (one.name, *one.others)}


def split(model: str) -> tuple[Provider | None, str]:
    """Return the provider that a model's name begins with, and the name that the provider knows.

    Without a provider, or with one that is none of ours, the name is returned whole.

    Examples:
        >>> provider, name = split("anthropic/claude-sonnet-5-5")
        >>> provider.name, name
        ('anthropic', 'claude-sonnet-5-5')
        >>> split("meta-llama/llama-3")
        (None, 'meta-llama/llama-3')
    """
    prefix, slash, name = model.partition("/")
    provider = _BY_PREFIX.get(prefix.lower()) if slash else None
    return (None, model) if provider is None else (provider, name)
