"""Defines the data of a case: a module of `cases` with a `CASE` and a function `measure`.

`measure` runs in a fresh process in the package's own environment and may import nothing but the
standard library. Everything here is data that both processes read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

LOW = "lower is better"
HIGH = "higher is better"
PLAIN = "no contest"


class Figure(NamedTuple):
    """One column of a case's table."""

    name: str
    label: str
    unit: str
    best: str = LOW
    digits: int = 1


class Variant(NamedTuple):
    """One table of a case: the arguments of its processes, and their server.

    `server`: "healthy", "encrypted", "hanging" or "refusing"; `delay`: seconds before each of its
    answers. `limit`: seconds after which the process is killed. `counted`: whether events that do
    not arrive count as losses; at a server that never answers they do not. `parallel`: whether all
    rows run at the same time, because they only wait.
    """

    given: dict[str, Any]
    server: str = "healthy"
    delay: float = 0.0
    limit: float = 120.0
    counted: bool = True
    parallel: bool = False


class Row(NamedTuple):
    """One row of a table: its name, the environment it runs in and the adapter it uses.

    `compared`: whether `--base` adds a row for the checkout that it names. `path`: where such a row
    finds the package. `share`: the part of the events that a slow package gets in a case that
    measures a rate.
    """

    name: str
    environment: str
    adapter: str
    compared: bool = False
    path: str = ""
    share: float = 1.0


class Case(NamedTuple):
    """A case with its variants for a full and for a quick run; a run without variants skips it.

    `module`: the module of `cases` that measures, when its name is not the case's. `program`:
    "case" for the usual process, else the mode of the one that imports nothing. `rows`: the rows,
    if they are not the packages; `row_head`: what they are. `rounds`: the number of rounds, if it
    is not that of the run. `baseline`: the row to compare with, if it is not the published SDK.
    `plot`: the figure to draw.
    """

    title: str
    about: str
    figures: tuple[Figure, ...]
    full: dict[str, Variant]
    quick: dict[str, Variant]
    module: str = ""
    program: str = "case"
    rows: tuple[Row, ...] = ()
    row_head: str = ""
    rounds: int = 0
    baseline: str = ""
    plot: str = ""
