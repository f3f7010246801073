"""`failure_of`: what went wrong at a provider, in one line with what to do; needs pydantic-ai."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import httpx2
import pydantic
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelTimeoutError,
    UserError,
)

from dnworker.core.handler_error import type_name
from dnworker.core.text import shorten
from dnworker.sessions.model_answer import Retry, missing
from dnworker.sessions.turn import TurnFailure

if TYPE_CHECKING:
    from dnworker.sessions.model_endpoint import ModelEndpoint

LONGEST_REASON = 600
"""Characters of what a provider says that a message quotes."""

LONG_KEY = 8
"""Characters of a key that no text has by chance."""

_ERROR_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "Timeout",
    422: "BadRequestError",
    429: "RateLimitError",
}

_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables that the library of AWS reads by itself."""

ENDED = "it ended before it was complete"

_CUT = (ConnectionError, httpx.TransportError, httpx2.TransportError)
_SLOW = (TimeoutError, httpx.TimeoutException, httpx2.TimeoutException)


@dataclass(frozen=True)
class Asked:
    """Who was asked."""

    endpoint: ModelEndpoint
    model: str

    @property
    def where(self) -> str:
        """The address."""
        return self.endpoint.where


def failure_of(
    error: Exception, asked: Asked, *, has_begun: bool = False, tools: Sequence[str] = ()
) -> Retry:
    """Return an error of the library or of a provider as a failure of the turn.

    Args:
        error: what was raised.
        asked: who was asked.
        has_begun: whether an answer had begun to come.
        tools: the names of the tools that the model was offered.

    Returns:
        The failure, and whether another attempt may succeed. No text has the key.
    """
    found = _failure(error, asked, has_begun, tools)
    text = " ".join(str(found.failure).split())
    for key in (asked.endpoint.api_key, *map(os.environ.get, _SECRETS)):
        text = _without(key, text) if key else text
    failure = TurnFailure(text, found.failure.type)
    return Retry(failure, found.wait, is_worth_repeating=found.is_worth_repeating)


def _without(key: str, text: str) -> str:
    """Return a text without a key; a short one, as endpoints on loopback get, only where it is a word."""
    if len(key) >= LONG_KEY:
        return text.replace(key, "***")
    return re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", "***", text)


def _failure(error: Exception, asked: Asked, has_begun: bool, tools: Sequence[str]) -> Retry:
    root = _root(error)
    match error:
        case Retry():
            return error
        case TurnFailure():
            return _final(str(error), error.type)
        case ModelHTTPError():
            return _refusal(error, asked, tools)
        case ImportError():
            return _final(missing(asked.endpoint.provider.name), "ModelNotConfigured")
    if type(root).__name__ in ("NoCredentialsError", "NoRegionError", "PartialCredentialsError"):
        return _final(_no_credentials(root), "ModelNotConfigured")
    if isinstance(error, (ModelTimeoutError, *_SLOW)) or isinstance(root, _SLOW):
        return _again(f"{asked.where} did not answer in time (DN964)", "Timeout")
    if isinstance(error, (ModelConnectionError, *_CUT)) or isinstance(root, _CUT) or _is_cut(error):
        what = (
            f"the answer of {asked.where} was cut off"
            if has_begun
            else f"no model endpoint answers at {asked.where}"
        )
        said = ENDED if _is_cut(error) else _said(root)
        return _again(f"{what}: {said} (DN964)", "APIConnectionError")
    return _unforeseen(error, asked)


def _unforeseen(error: Exception, asked: Asked) -> Retry:
    if isinstance(error, UserError | ValueError | TypeError) and not isinstance(
        error, pydantic.ValidationError | UnicodeError
    ):
        return _final(f"{asked.where} cannot be asked like this: {_said(error)} (DN963)", "BadRequestError")
    reason = _reason(error.body) if isinstance(error, ModelAPIError) and error.body else _said(error)
    return _final(f"{asked.where} broke off, or sent what is no answer: {reason} (DN964)", "APIError")


def _refusal(error: ModelHTTPError, asked: Asked, tools: Sequence[str]) -> Retry:
    status, where, reason = error.status_code, asked.where, _reason(error.body)
    kind = _ERROR_TYPES.get(status, "InternalServerError" if status >= 500 else "APIError")
    keys = asked.endpoint.provider.keys
    match status:
        case 401 | 403:
            text = (
                f"{where} refused the API key ({status}): {reason}. Check {keys[0]}, or pass api_key= (DN962)"
            )
        case 404:
            hint = f"; did you mean {error.suggested_model_id!r}?" if error.suggested_model_id else ""
            text = (
                f"{where} has no model {asked.model!r} ({status}): {reason}. "
                f"Check model and base_url{hint} (DN962)"
            )
        case 400 | 422 if tools and _is_about_tools(reason):
            text = (
                f"{where} answered {status}: {reason}. Check the arguments of the tools {', '.join(tools)}, "
                "or leave tools out by `tools:` in agents/NAME.md (DN963)"
            )
        case _:
            text = f"{where} answered {status}: {reason} ({'DN964' if status >= 429 else 'DN963'})"
    is_busy = status in (408, 409, 429) or status >= 500
    if is_busy and not isinstance(error, ModelQuotaExceededError) and error.provider_retry_hint is not False:
        return _again(text, kind, error.retry_after)
    return _final(text, kind)


def _final(text: str, kind: str) -> Retry:
    return Retry(TurnFailure(text, kind), is_worth_repeating=False)


def _again(text: str, kind: str, wait: float | None = None) -> Retry:
    return Retry(TurnFailure(text, kind), wait)


def _is_cut(error: BaseException) -> bool:
    """Return whether a stream ended early, by what the libraries of providers say of it."""
    return "without a `finish_reason`" in str(error) or type(error).__name__ in (
        "IncompleteReadError",
        "ProtocolError",
        "ResponseStreamingError",
        "ReadTimeoutError",
    )


def _is_about_tools(reason: str) -> bool:
    return any(word in reason.lower() for word in ("tool", "function", "schema", "parameters"))


def _no_credentials(root: BaseException) -> str:
    if type(root).__name__ == "NoRegionError":
        return "Amazon Bedrock needs a region: set AWS_REGION, such as us-east-1 (DN960)"
    return (
        "Amazon Bedrock needs credentials: set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or log in to a profile (DN960)"
    )


def _root(error: BaseException) -> BaseException:
    """Return the first error, of which the others are consequences."""
    seen = {id(error)}
    while (earlier := error.__cause__ or error.__context__) is not None and id(earlier) not in seen:
        seen.add(id(earlier))
        error = earlier
    return error


def _said(error: BaseException) -> str:
    return shorten(str(error) or type_name(error), LONGEST_REASON)


def _reason(body: object) -> str:
    """Return the message in the body of an error, whatever its form."""
    if isinstance(body, list) and body:
        body = body[0]
    while isinstance(body, dict):
        inner = body.get("error") or body.get("Error") or body.get("message") or body.get("Message")
        if inner is None:
            inner = body.get("detail")
        if inner is None:
            break
        body = inner
    if isinstance(body, str) and body.lstrip().startswith("{"):
        import json

        try:
            return _reason(json.loads(body))
        except ValueError:
            pass
    return shorten(str(body).strip() if body else "no reason given", LONGEST_REASON)
