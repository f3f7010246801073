"""`python -m scripts.website build|serve`: generate what pages need, then let Zensical make the site."""

from __future__ import annotations

import subprocess
import sys

from . import llms, spelling, tutorials
from .pages import PROJECT, SITE, all_pages, navigation

ZENSICAL = [sys.executable, "-m", "zensical"]


def build() -> int:
    """Build the site strictly: tutorials that run, words that are spelled, links that lead somewhere."""
    if mistakes := spelling.check():
        print(*mistakes, f"{len(mistakes)} words are misspelled", sep="\n", file=sys.stderr)
        return 1
    tutorials.build()
    done = subprocess.run([*ZENSICAL, "build", "--clean", "--strict"], cwd=PROJECT, check=False)
    if done.returncode == 0:
        llms.write(SITE, all_pages(), navigation())
    return done.returncode


def serve() -> int:
    """Serve the site, and follow changes of its pages."""
    tutorials.build()
    return subprocess.run([*ZENSICAL, "serve"], cwd=PROJECT, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit({"build": build, "serve": serve}[sys.argv[1]]())
    except tutorials.TutorialError as exc:
        sys.exit(f"the site is not built: {exc}")
    except KeyboardInterrupt:
        sys.exit(130)
