"""`dnworker deploy`: writes what runs capabilities on a server; it starts, installs and asks nothing."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from dnworker.cli import deploy_monitoring
from dnworker.cli.progress import progress
from dnworker.cli.roots import roots_of
from dnworker.cli.text import print_json, printable
from dnworker.cli.validate import check as validate
from dnworker.core.errors import UsageError
from dnworker.deploy.bundle import Bundle, bundle_of, unpack
from dnworker.deploy.directory import Changes, check_directory, write_deployment
from dnworker.deploy.files import Packages, files_of, variables_of
from dnworker.deploy.packages import packages_of
from dnworker.deploy.settings import BASE_IMAGE, NATS_IMAGE, TARGETS, Settings, check, is_released

MONITORING = "monitoring"
"""The target that takes no capability: a dashboard and alerts."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `deploy`."""
    parser.add_argument(
        "target", choices=(*TARGETS, MONITORING), metavar="TARGET", help=", ".join((*TARGETS, MONITORING))
    )
    parser.add_argument(
        "capability",
        nargs="*",
        type=Path,
        metavar="CAPABILITY",
        help="directories with a capability.yaml, or with such directories, or archives of `dnworker pack`",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="what is written; a deployment that is there is upgraded",
    )
    parser.add_argument("--name", default="dnworker", help="of the service (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8787, help="where it listens, 1024 or above (default: %(default)s)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="systemd: the address that it listens at (default: %(default)s)"
    )
    parser.add_argument("--user", default="", help="systemd: whom it runs as (default: one of its name)")
    _add_kept(parser)
    parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="install this wheel of dnworker, not the one of an index"
    )
    parser.add_argument(
        "--lock", action="store_true", help="have uv lock all packages, which asks a package index"
    )
    parser.add_argument("--force", action="store_true", help="write over files that are not deploy's own")
    parser.set_defaults(command=run, aside="; nothing was written")


def _add_kept(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments for where events are kept, and for images."""
    parser.add_argument(
        "--durable",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether accepted events are kept in a file until workers have handled them (default: they are)",
    )
    parser.add_argument(
        "--broker",
        metavar="URL[,URL]...",
        help="NATS servers that several nodes share, in place of the file; a compose file has its own",
    )
    parser.add_argument("--namespace", help="what nodes of one broker have in common (default: the name)")
    parser.add_argument(
        "--replicas",
        type=int,
        default=2,
        metavar="N",
        help="nodes that share a broker (default: %(default)s)",
    )
    parser.add_argument(
        "--stop-within",
        type=float,
        metavar="SECONDS",
        help="what runs gets so long to end, as `serve` has it, and whoever stops it waits for that",
    )
    parser.add_argument("--image", default="", help="the image's name and tag (default: NAME:RELEASE)")
    parser.add_argument(
        "--base-image",
        default=BASE_IMAGE,
        metavar="IMAGE",
        help="what it is made of: Debian with Python 3.11 or later (default: %(default)s)",
    )
    parser.add_argument(
        "--nats-image",
        default=NATS_IMAGE,
        metavar="IMAGE",
        help="compose: the broker, NATS 2.11 or later (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code.

    Raises:
        ManifestError: a manifest breaks a rule.
        UsageError: an option, a capability or the directory cannot be used; nothing was written.
    """
    if options.target == MONITORING:
        return deploy_monitoring.write(options)
    if not options.capability:
        raise UsageError(
            f"a deployment for {options.target} needs a capability; name its directory", code="DN935"
        )
    settings = check(_settings(options))
    check_directory(options.output, force=options.force)
    bundle, packages = _bundle(options, settings)
    changes = write_deployment(
        options.output,
        files_of(settings, bundle, packages),
        target=settings.target,
        name=settings.name,
        release=bundle.release,
        force=options.force,
    )
    warnings = _warnings(settings, bundle, options)
    if options.json:
        _print_as_json(options, bundle, changes, warnings)
    else:
        for warning in warnings:
            print(printable(f"warning: {warning}"), file=sys.stderr)
        print(printable("\n".join(_lines(options.output, settings, bundle, changes))))
    return 0


def _bundle(options: argparse.Namespace, settings: Settings) -> tuple[Bundle, Packages]:
    """Return the packed capabilities, and what is installed of Python."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is temporary goes, too
    try:
        with (
            tempfile.TemporaryDirectory(prefix="dnworker-deploy-") as temporary,
            progress() as on_progress,
        ):
            work = Path(temporary).resolve()
            roots = _outside(_valid_roots(options.capability, work, on_progress), options.output)
            bundle = bundle_of(roots, work, locks=options.lock, on_progress=on_progress)
            on_progress("waiting for uv to lock all packages" if options.lock else "reading packages")
            uv = _uv() if options.lock else None
            return bundle, packages_of(settings, bundle.requirements, options.wheel, uv)
    except OSError as exc:
        why = f"{exc.filename or options.output}: {exc.strerror or exc}"
        raise UsageError(f"{why}; nothing was written", code="DN937") from exc
    finally:
        signal.signal(signal.SIGTERM, before)


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        target=options.target,
        name=options.name,
        port=options.port,
        host=options.host,
        user=options.user,
        durable=options.durable,
        broker=options.broker,
        namespace=options.namespace,
        image=options.image,
        replicas=options.replicas,
        base_image=options.base_image,
        nats_image=options.nats_image,
        stop_within=options.stop_within,
    )


def _outside(roots: list[Path], output: Path) -> list[Path]:
    """Return the roots, and refuse an output in one of them: the next deployment would pack this one.

    Raises:
        UsageError: it is in one of them.
    """
    for root in roots:
        if output.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"{output} is in the capability {root}; name a directory outside", code="DN936")
    return roots


def _valid_roots(paths: list[Path], work: Path, on_progress: Callable[[str], None]) -> list[Path]:
    """Return the directories of all capabilities, of which none breaks a rule."""
    roots: list[Path] = []
    for number, path in enumerate(paths):
        place = unpack(path, work / f"unpacked-{number}") if path.is_file() else path
        roots += roots_of(place, _say)
    invalid = []
    for number, root in enumerate(roots, 1):
        on_progress(f"checking {root} ({number} of {len(roots)})")
        found = validate(root, strict=False, with_checks=False)
        for problem in found["problems"]:
            _say(problem)
        if not found["ok"]:
            invalid.append(root.name)
    if invalid:
        raise UsageError(
            f"{', '.join(invalid)} cannot be deployed: `dnworker validate` has to pass; nothing was written",
            code="DN937",
        )
    return roots


def _uv() -> str:
    from uv import find_uv_bin

    return str(find_uv_bin())


def _warnings(settings: Settings, bundle: Bundle, options: argparse.Namespace) -> list[str]:
    found = []
    for program in bundle.programs:
        where = (
            "install.sh ends where the machine has none"
            if settings.target == "systemd"
            else "the image has none: install it in Containerfile, below the line 'Programs'"
        )
        found.append(f"{program.worker} runs {program.name!r}, and {where}")
    if options.wheel is None and not is_released():
        found.append(
            "this dnworker is no release, which an index could have; name a wheel of it with --wheel"
        )
    needed = [name for name, is_required in variables_of(settings, bundle).items() if is_required]
    if needed:
        found.append(f"{', '.join(needed)} must be set where it runs; see secrets.env.example")
    if settings.target == "systemd" and settings.host not in ("127.0.0.1", "::1", "localhost"):
        found.append(
            f"{settings.host} may be reached by others, without encryption; put a proxy with TLS before it"
        )
    return found


def _print_as_json(
    options: argparse.Namespace, bundle: Bundle, changes: Changes, warnings: list[str]
) -> None:
    print_json(
        {
            "ok": True,
            "directory": str(options.output),
            "release": bundle.release,
            "before": changes.before,
            "added": changes.added,
            "changed": changes.changed,
            "removed": changes.removed,
            "kept": changes.kept,
            "warnings": warnings,
        }
    )


_NEXT = {
    "systemd": "copy {0} to the machine; there: sudo sh install.sh",
    "container": "docker build --file {0}/Containerfile --tag {1} {0}",
    "compose": "README.md makes the secrets; then in {0}: docker compose up --build --detach --wait",
    "kubernetes": "README.md builds the image and makes the secrets; then: kubectl apply --kustomize {0}",
}


def _lines(directory: Path, settings: Settings, bundle: Bundle, changes: Changes) -> list[str]:
    if changes.is_new:
        lines = [f"{directory} deploys release {bundle.release} by {settings.target}"]
        lines += [f"  {path}" for path in changes.added]
    elif not (changes.added or changes.changed or changes.removed):
        lines = [f"{directory} is as it was: release {bundle.release}"]
    else:
        was = f" (before: {changes.before})" if changes.before != bundle.release else ""
        lines = [f"{directory} deploys release {bundle.release} by {settings.target}{was}"]
        lines += [f"  added    {path}" for path in changes.added]
        lines += [f"  changed  {path}" for path in changes.changed]
        lines += [f"  removed  {path}" for path in changes.removed]
    lines += [f"  kept     {path}: it was edited" for path in changes.kept]
    image = settings.image_of(bundle.release)
    return [*lines, f"next: {_NEXT[settings.target].format(directory, image)}"]


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)
