"""`python -m dnworker.mcp_server --http`: what `McpProcess` starts; it ends when its standard input does.

`DNWORKER_URL` and `DNWORKER_TOKEN_FILE` name the runtime.
Whether agents may write is the notebook's to say; a runtime of `serve` has nothing to be written.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from dnworker.client.client import RuntimeClient
from dnworker.core.errors import DnworkerError, UsageError, with_code
from dnworker.mcp_server.api import Api
from dnworker.mcp_server.program import check_installed, run_http


def main() -> int:
    """Serve; returns the exit code."""
    options = _parser().parse_args()
    try:
        check_installed()
        url, file = os.environ.get("DNWORKER_URL"), os.environ.get("DNWORKER_TOKEN_FILE")
        if not url or not file:
            raise UsageError(
                "DNWORKER_URL and DNWORKER_TOKEN_FILE must be set; `dnworker mcp --http` finds a runtime",
                code="DN906",
            )
        token = Path(file).read_text(encoding="utf-8").strip()
        api = Api(partial(RuntimeClient, url, auth_token=token))
        asyncio.run(
            run_http(
                api,
                name=None,
                may_write=options.allow_write,
                host=options.host,
                port=options.port,
                names=options.allowed_host,
                token_file=options.agents_token_file,
                as_json=True,
                until_input_ends=True,
            )
        )
    except (DnworkerError, OSError) as exc:
        sys.stderr.write(f"{with_code(exc)}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dnworker.mcp_server")
    parser.add_argument("--http", action="store_true", required=True)
    parser.add_argument("--allow-write", action="store_true")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--allowed-host", action="append", default=[])
    parser.add_argument("--agents-token-file", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
