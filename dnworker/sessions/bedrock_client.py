"""`make`: a client of Amazon Bedrock that repeats nothing by itself; imported when such a model is asked."""

from __future__ import annotations

import os
from typing import Any

import boto3
from botocore.config import Config
from botocore.session import Session
from botocore.tokens import FrozenAuthToken


class _KeySession(Session):  # type: ignore[misc]  # botocore is untyped
    """A session that signs with a given key of Bedrock, whatever else the environment has."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key

    def get_auth_token(self, **_: Any) -> FrozenAuthToken:
        return FrozenAuthToken(self._key)

    def get_credentials(self) -> None:
        return None


def make(address: str | None, key: str | None, *, connect: float, read: float) -> Any:
    """Return the client, by a key of Bedrock or by what boto3 finds: key pairs, profiles, roles.

    Raises:
        NoRegionError: neither the environment nor a profile names the region.
    """
    config = Config(
        connect_timeout=connect,
        read_timeout=read,
        max_pool_connections=100,
        retries={"total_max_attempts": 1},
        **({"signature_version": "bearer"} if key else {}),
    )
    session = boto3.Session(
        botocore_session=_KeySession(key) if key else None, region_name=os.environ.get("AWS_REGION") or None
    )
    return session.client("bedrock-runtime", config=config, endpoint_url=address)
