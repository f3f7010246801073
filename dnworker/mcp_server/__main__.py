"""`python -m dnworker.mcp_server --http`: what `%runtime mcp` starts; it ends when its standard input does.

`DNWORKER_URL` and `DNWORKER_TOKEN_FILE` name the runtime.
Whether agents may write is the notebook's to say.
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
    parser = argparse.ArgumentParser(prog="dnworker.mcp_server")
    parser.add_argument("--http", action="store_true", required=True)
    parser.parse_args()
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
        asyncio.run(run_http(api, name=None, may_write=True, as_json=True, until_input_ends=True))
    except (DnworkerError, OSError) as exc:
        sys.stderr.write(f"{with_code(exc)}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
