"""Writes `dnworker/panel/static/vendor/`: the libraries of the front end, as one module that imports nothing.

Run it to take other versions: change `PACKAGES`, run it, and commit what it wrote. The module, its hash, the
versions, npm's hashes and the licences are kept in the repository: neither people nor tests need npm for it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from front import NODE, NPM, PROJECT

VENDOR = PROJECT / "dnworker" / "panel" / "static" / "vendor"
PACKAGES = {
    "preact": "11.2.0",
    "@preact/signals": "2.11.4",
    "@preact/signals-core": "1.14.5",
    "htm": "3.1.1",
}
BUNDLER = "esbuild@0.28.2"

EXPORTED = {
    "preact": "h render Fragment createContext",
    "preact/hooks": "useState useEffect useLayoutEffect useRef useMemo useCallback useContext useId "
    "useErrorBoundary",
    "@preact/signals": "signal computed effect batch untracked useSignal useComputed useSignalEffect",
}
TEMPLATES = """
import { h } from "preact";
import htm from "htm";
export const html = htm.bind(h);
"""


def bundle(home: Path) -> str:
    """Return the libraries as one module, of what npm installs into a directory."""
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts=false", "--loglevel=error", "--save-exact")
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    subprocess.run([NODE, NPM, "install", "--prefix", home, *quiet, *wanted, BUNDLER], check=True)
    entry, made = home / "entry.mjs", home / "made.js"
    lines = [f'export {{ {", ".join(names.split())} }} from "{of}";' for of, names in EXPORTED.items()]
    entry.write_text("\n".join(lines) + TEMPLATES, encoding="utf-8")
    options = (
        "--bundle",
        "--minify",
        "--format=iife",
        "--global-name=vendored",
        "--target=es2022",
        "--charset=utf8",
    )
    esbuild = home / "node_modules" / "esbuild" / "bin" / "esbuild"
    subprocess.run(
        [esbuild, entry, *options, f"--outfile={made}", "--log-level=warning"], cwd=home, check=True
    )
    versions = ", ".join(f"{name} {version}" for name, version in PACKAGES.items())
    head = f"// {versions}; made by scripts/vendor.py, never edited. Licences: LICENSES.txt.\n"
    names = [*" ".join(EXPORTED.values()).split(), "html"]
    exported = ",\n".join(f"  {name}" for name in names)
    return f"{head}{made.read_text(encoding='utf-8')}export const {{\n{exported},\n}} = vendored;\n"


def main() -> None:
    """Write the directory anew."""
    with tempfile.TemporaryDirectory(prefix="vendor-") as directory:
        home = Path(directory)
        text = bundle(home)
        locked = json.loads((home / "package-lock.json").read_text(encoding="utf-8"))["packages"]
        facts, licences = [], []
        for name, version in PACKAGES.items():
            package = home / "node_modules" / name
            about = json.loads((package / "package.json").read_text(encoding="utf-8"))
            entry = locked[f"node_modules/{name}"]
            if about["version"] != version or entry["version"] != version:
                raise SystemExit(f"{name} {version} is wanted, and npm installed {about['version']}")
            facts.append(
                {
                    "name": name,
                    "version": version,
                    "licence": about["license"],
                    "integrity": entry["integrity"],
                }
            )
            licence = next(package.glob("LICENSE*"))
            licences.append(f"{name} {version}\n\n{licence.read_text(encoding='utf-8').strip()}\n")
        shutil.rmtree(VENDOR, ignore_errors=True)
        VENDOR.mkdir(parents=True)
        (VENDOR / "vendor.js").write_text(text, encoding="utf-8")
        (VENDOR / "LICENSES.txt").write_text("\n----\n\n".join(licences), encoding="utf-8")
        about_all = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "packages": facts}
        (VENDOR / "vendor.json").write_text(json.dumps(about_all, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
