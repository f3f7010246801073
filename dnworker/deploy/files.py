"""`files_of` returns all files of a deployment; the same settings and capabilities give the same bytes."""

from __future__ import annotations

from dataclasses import dataclass

from dnworker.deploy.bundle import Bundle
from dnworker.deploy.filling import filled
from dnworker.deploy.serve_file import serve_file, stop_seconds
from dnworker.deploy.settings import CONTAINER_USER, Settings

PROGRAMS = ("command.sh", "install.sh", "start.sh", "warm.sh")
"""Files that can be executed."""


@dataclass(frozen=True)
class Packages:
    """What is installed of Python.

    Attributes:
        requirements: the text of requirements.txt.
        wheels: files beside it by their path, of what no index has.
    """

    requirements: str
    wheels: dict[str, bytes]


def files_of(settings: Settings, bundle: Bundle, packages: Packages) -> dict[str, bytes]:
    """Return the files of a deployment by their paths."""
    values = _values(settings, bundle)
    texts = {
        "README.md": filled(f"readme/{settings.target}.md", values | _prose(settings, bundle, values)),
        "serve.toml": serve_file(settings),
        "warm.sh": filled("warm.sh", values),
        "requirements.txt": packages.requirements,
    }
    if settings.target == "systemd":
        texts |= {
            f"{settings.name}.service": filled("unit.service", values),
            f"{settings.name}.sysusers.conf": filled("sysusers.conf", values),
            f"{settings.name}.tmpfiles.conf": filled("tmpfiles.conf", values),
            "command.sh": filled("command.sh", values),
            "install.sh": filled("install.sh", values),
        }
    else:
        texts |= {
            "Containerfile": filled("Containerfile", values),
            ".dockerignore": filled("dockerignore", values),
            "start.sh": filled("start.sh", values),
        }
    if settings.target == "compose":
        texts |= {name: filled(name, values) for name in ("compose.yaml", "nats.conf", "permissions.conf")}
    if settings.target == "kubernetes":
        values |= _workload(settings)
        names = ("kustomization.yaml", "access.yaml", "workload.yaml", "network.yaml")
        texts |= {name: filled(f"kubernetes/{name}", values) for name in names}
    if variables_of(settings, bundle):
        texts["secrets.env.example"] = _example(settings, bundle)
    files = {name: text.encode() for name, text in texts.items()}
    return files | {"capabilities.tar.gz": bundle.archive} | packages.wheels


def variables_of(settings: Settings, bundle: Bundle) -> dict[str, bool]:
    """Return the variables of the environment that the service needs, each with whether it must be set."""
    own = {"NATS_USER": True, "NATS_PASSWORD": True} if settings.broker is not None else {}
    return {**own, **bundle.variables}


def _values(settings: Settings, bundle: Bundle) -> dict[str, object]:
    ports = f"{settings.port}-{settings.port + settings.replicas - 1}"
    host = settings.host if settings.host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - compared
    return {
        "name": settings.name,
        "user": settings.run_as,
        "uid": CONTAINER_USER,
        "port": settings.port,
        "ports": ports if settings.replicas > 1 else str(settings.port),
        "address": f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}",
        "release": bundle.release,
        "image": settings.image_of(bundle.release),
        "base_image": settings.base_image,
        "nats_image": settings.nats_image,
        "replicas": settings.replicas,
        "namespace": settings.shared_namespace,
        "capabilities": ", ".join(f"{name} {version}" for name, version in bundle.capabilities),
        "stop_seconds": stop_seconds(settings),
        "scripts": "\n".join(bundle.scripts),
        "programs": "\n".join(sorted({program.name for program in bundle.programs})),
    }


_SECRETS_FILE = {
    "systemd": "/etc/{name}/secrets.env (root's, mode 0600)",
    "container": "secrets.env (mode 0600)",
    "compose": "secrets.env (mode 0600)",
    "kubernetes": "secrets.env (mode 0600)",
}


def _example(settings: Settings, bundle: Bundle) -> str:
    file = _SECRETS_FILE[settings.target].format(name=settings.name)
    lines = [
        f"# What the service takes from its environment. Copy this file to {file}, and fill in the values."
    ]
    for name, is_required in variables_of(settings, bundle).items():
        lines.append(f"{name}=" if is_required else f"#{name}=  (has a default, or is not needed)")
    return "\n".join(lines) + "\n"


def _prose(settings: Settings, bundle: Bundle, values: dict[str, object]) -> dict[str, object]:
    """Return what a README says that depends on the capabilities."""
    needed = variables_of(settings, bundle)
    file = _SECRETS_FILE[settings.target].format(name=settings.name)
    secrets = (
        f"\nCopy `secrets.env.example` to {file}, and fill it in: {', '.join(needed)}." if needed else ""
    )
    resource = _workload(settings)
    return {
        "secrets": secrets,
        "env_option": "--env-file secrets.env " if needed else "",
        "secret_command": (
            f"kubectl --namespace {settings.name} create secret generic {settings.name}-env "
            "--from-env-file secrets.env"
            if needed
            else ""
        ),
        "back_up": _back_up(settings),
        "resource": f"{resource['kind']}/{settings.name}".lower(),
        "why": resource["why"],
    }


def _back_up(settings: Settings) -> str:
    if settings.target == "compose":
        return "The volume `events` has all that is kept: stop, and copy it, or take `nats account backup`."
    if settings.shares_broker:
        return "What is kept is at the broker: `nats account backup` copies it."
    if not settings.keeps_file:
        return "Nothing is kept but the flags that somebody has set, in `.dreadnode` of the state directory."
    target = "sqlite3.connect('{to}/events-copy.db')"
    copy = f"python -c \"import sqlite3; sqlite3.connect('events.db').backup({target})\""
    state = "/var/lib/dnworker"
    commands = {
        "systemd": f"sudo sh -c 'umask 077; cd /var/lib/{settings.name} && /opt/{settings.name}/venv/bin/"
        + copy.format(to="/root")
        + "'",
        "container": f"docker exec --workdir {state} {settings.name} {copy.format(to=state)}",
        "kubernetes": f"kubectl --namespace {settings.name} exec statefulset/{settings.name} -- "
        + copy.format(to=state),
    }
    return (
        "The durable file is SQLite: it is copied while the service runs. Beside it lie kept flags, in "
        "`.dreadnode`.\n\n"
        f"```sh\n{commands[settings.target]}\n```"
    )


def _workload(settings: Settings) -> dict[str, object]:
    """Return what kind of workload runs a deployment on Kubernetes, and its parts."""
    if settings.keeps_file:
        return {
            "kind": "StatefulSet",
            "why": "One node keeps accepted events on a volume: a StatefulSet, as never two may have it.",
            "replicas": 1,
            "strategy": f"  serviceName: {settings.name}",
            "state_volume": "",
            "claims": "\n".join(
                (
                    "  volumeClaimTemplates:",
                    "    - metadata: {name: state}",
                    "      spec:",
                    "        accessModes: [ReadWriteOncePod]",
                    "        resources: {requests: {storage: 5Gi}}",
                )
            ),
        }
    shared = settings.broker is not None
    return {
        "kind": "Deployment",
        "why": "The nodes share a broker, which keeps accepted events."
        if shared
        else "One node keeps nothing: events that are not handled yet are gone when it ends.",
        "replicas": settings.replicas if shared else 1,
        "strategy": "  strategy:\n    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}"
        if shared
        else "  strategy: {type: Recreate}",
        "state_volume": "        - {name: state, emptyDir: {}}",
        "claims": "",
    }
