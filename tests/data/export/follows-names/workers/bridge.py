# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

import functools
# For the size.
import math  # and nothing else
from dataclasses import dataclass

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="bridge")

SCALE = 2


def in_default():
    return SCALE


def in_decorator(function):
    return functools.wraps(function)(function)


def in_comprehension(x):
    return x * SCALE


def in_closure(x):
    return x


class Base:
    """A base."""


@dataclass
class Item(Base):
    size: float = math.pi

    def area(self) -> float:
        return self.size * in_comprehension(1)


LABEL = "x"


def in_fstring():
    return LABEL


Annotated = dict[str, int]


@worker.on_event("a")
@in_decorator
async def on_a(event: EventEnvelope, client: RuntimeClient, n=in_default()) -> None:
    values: Annotated = {f"{in_fstring()}": 1}

    def inner():
        return [in_comprehension(i) for i in range(3)], (lambda: in_closure(values))()

    print(inner(), Item())


if __name__ == "__main__":
    worker.run()
