"""The command line: `python -m tests.differential corpus [NAME...]`, and `... generate --count 500 --seed 1`."""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import fnmatch
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from .harness import Harness, Result
from .notebook import Notebook, corpus, load, read


def main() -> int:
    """Run a command; 1 when something is not as expected."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="how many notebooks at a time")
    parser.add_argument("--real-kernel", action="store_true", help="run cells in a real kernel")
    parser.add_argument("--real-script", action="store_true", help="run exports as `python SCRIPT`")
    commands = parser.add_subparsers(required=True)
    of_corpus = commands.add_parser("corpus", help="compare the notebooks of the corpus")
    of_corpus.add_argument("names", nargs="*", help="names, or patterns such as 'short/*'; or files")
    of_corpus.add_argument("-v", action="store_true", help="show what is wrong, and why what is refused is")
    of_corpus.add_argument("--trees", action="store_true", help="show the exported scripts")
    of_corpus.set_defaults(command=run_corpus)
    generated = commands.add_parser("generate", help="compare notebooks made at random")
    generated.add_argument("--count", type=int, default=500)
    generated.add_argument("--seed", type=int, default=1)
    generated.add_argument("--show", action="store_true", help="print the notebooks, and compare nothing")
    generated.add_argument("--whole", action="store_true", help="do not make wrong ones smaller")
    generated.set_defaults(command=run_generated)
    options = parser.parse_args()
    code: int = options.command(options)
    return code


def run_corpus(options: argparse.Namespace) -> int:
    """Print a table of the corpus, and what is not as expected."""
    began, unexpected = time.monotonic(), 0
    verdicts: collections.Counter[str] = collections.Counter()
    notebooks = list(_chosen(options.names))
    width = max(len(notebook.name) for notebook in notebooks)
    print(f"{'':<2}{'name':<{width}}  {'kernel':<10} {'file':<10} expected")
    for result in compare_all(notebooks, options):
        notebook = result.notebook
        wrong = result.wrong
        unexpected += bool(wrong)
        verdicts[result.kernel.verdict if not result.broken else "broken"] += 1
        mark = "x" if wrong else " "
        print(
            f"{mark:<2}{notebook.name:<{width}}  {result.kernel.verdict:<10} {result.file.verdict:<10} {notebook.expect}",
            flush=True,
        )
        if options.v:
            for text in wrong or [f"{s.detail}" for s in (result.kernel, result.file) if s.detail]:
                print("      " + text.replace("\n", "\n      "))
        if options.trees:
            for path, text in result.kernel.tree.items():
                if path.endswith(".py"):
                    print(f"      -- {path}\n      " + text.replace("\n", "\n      "))
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    print(
        f"\n{len(notebooks)} notebooks from kernels: {counts}; {unexpected} not as expected; {time.monotonic() - began:.0f} s"
    )
    return 1 if unexpected else 0


def _chosen(names: list[str]) -> Iterator[Notebook]:
    known = corpus()
    for name in names or ["*"]:
        found = fnmatch.filter(known, name) or fnmatch.filter(known, f"{name}*")
        if found:
            yield from map(load, found)
        else:
            yield read(name, Path(name).read_text(encoding="utf-8"))


def run_generated(options: argparse.Namespace) -> int:
    """Compare random notebooks, and print every wrong one, as small as it can be made."""
    from .generate import generate
    from .smaller import smaller

    notebooks = [generate(f"{options.seed}:{number}") for number in range(options.count)]
    if options.show:
        for notebook in notebooks:
            print(f"# {notebook.name}\n{notebook.as_text()}\n")
        return 0
    began, wrong = time.monotonic(), 0
    verdicts: collections.Counter[str] = collections.Counter()

    def act(harness: Harness, notebook: Notebook) -> tuple[Result, Result]:
        result = harness.compare(notebook)
        small = (
            smaller(harness, result) if result.wrong and not result.broken and not options.whole else result
        )
        return result, small

    for result, small in in_parallel(act, notebooks, options):
        verdicts[f"kernel {result.kernel.verdict if not result.broken else 'broken'}"] += 1
        verdicts[f"file {result.file.verdict}"] += 1
        if result.wrong and not result.broken:
            wrong += 1
            print(f"\n==== {result.notebook.name}\n{small.notebook.as_text()}")
            print("\n".join(small.wrong))
            print("\n".join(t for p, t in small.kernel.tree.items() if p.endswith(".py")), flush=True)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"\n{options.count} notebooks: {wrong} wrong; {counts}; {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def compare_all(notebooks: Iterable[Notebook], options: argparse.Namespace) -> Iterator[Result]:
    """Compare notebooks side by side; results come in order."""
    return in_parallel(lambda harness, notebook: harness.compare(notebook), notebooks, options)


def in_parallel(
    act: Callable[[Harness, Notebook], Any], notebooks: Iterable[Notebook], options: argparse.Namespace
) -> Iterator[Any]:
    """Act on notebooks, each thread with a harness of its own."""
    here, made = threading.local(), []

    def one(notebook: Notebook) -> Any:
        if not hasattr(here, "harness"):
            here.harness = Harness(real_kernel=options.real_kernel, real_script=options.real_script)
            made.append(here.harness)
        return act(here.harness, notebook)

    jobs = 1 if options.real_kernel else options.jobs  # a real kernel takes this process's directory
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, notebooks)
    for harness in made:
        harness.close()


if __name__ == "__main__":
    sys.exit(main())
