"""docs/delivery/processes.md holds: its table is that of the trials, and so are its blocks.

`tests/hosts/test_trials.py` and `python -m scripts.hosts` run the blocks in the real hosts.
"""

from __future__ import annotations

import re

import pytest

from tests.docs.page import ROOT, get_blocks, get_text
from tests.hosts.trials import LIFESPAN, TRIALS, Trial
from tests.hosts.trials.table import Row, parse_rows, to_anchor, to_page
from tests.hosts.trials.trial import get_block
from whisperr._checkup.environment import inspect_hosts

PAGE = "docs/delivery/processes.md"
ROWS = parse_rows(get_text(PAGE))
# Where the versions of the table are pinned.
PINNED = (
    "constraints.txt",
    *(f"scripts/hosts/pins/{path.name}" for path in (ROOT / "scripts/hosts/pins").glob("*.txt")),
)
GUIDES = (
    "aiohttp",
    "asgi",
    "async-frameworks",
    "celery",
    "django",
    "flask",
    "functions",
    "other-hosts",
    "queues",
    "workflows",
    "wsgi",
)
# What the code of a guide adds, as a section of the page.
PROVIDED = {"asgi": LIFESPAN, "async-frameworks": LIFESPAN, "celery": "Celery", "queues": "RQ"}
# The rows of the guides, each with the hosts of the table that it is about.
CLAIMS: dict[tuple[str, str], tuple[str, ...]] = {
    ("asgi", "uvicorn, also with `--workers` and as gunicorn's worker class"): (
        "uvicorn",
        "uvicorn, `--workers 2`",
        "gunicorn, `uvicorn_worker.UvicornWorker`",
    ),
    ("asgi", "hypercorn with one worker, with asyncio or trio"): ("hypercorn",),
    ("asgi", "hypercorn with several workers"): ("hypercorn, `--workers 2`",),
    ("asgi", "granian, gunicorn's own `asgi` workers"): ("granian, ASGI", "gunicorn, `asgi`"),
    ("asgi", "daphne, which has no lifespan"): ("daphne",),
    ("asgi", "any"): (),
    ("functions", "AWS Lambda"): (),
    ("functions", "Google Cloud Functions"): (),
    ("functions", "Azure Functions"): (),
    ("functions", "any"): (),
    ("celery", "prefork, also with `max_tasks_per_child`"): ("Celery, prefork",),
    ("celery", "threads, solo"): ("Celery, threads",),
    ("celery", "any"): (),
    ("flask", "gunicorn (sync, gthread), also with `--preload`"): (
        "gunicorn, `sync`",
        "gunicorn, `gthread`",
    ),
    ("flask", "`flask run`, waitress"): ("`flask run`", "waitress", "`waitress-serve`"),
    ("flask", "any"): (),
    ("other-hosts", "a script, a cron job"): ("a plain program",),
    ("wsgi", "gunicorn (sync, gthread, gevent), granian"): (
        "gunicorn, `sync`",
        "gunicorn, `gthread`",
        "gunicorn, `gevent`",
        "granian, WSGI",
    ),
    ("wsgi", "waitress, the server of `wsgiref`"): (
        "waitress",
        "`waitress-serve`",
        "a plain program",
    ),
    ("wsgi", "any"): (),
    ("aiohttp", "`web.run_app`, `aiohttp.GunicornWebWorker` of gunicorn"): (
        "aiohttp, `web.run_app`",
        "gunicorn, `aiohttp.GunicornWebWorker`",
    ),
    ("aiohttp", "your own `AppRunner`"): ("aiohttp, `AppRunner`",),
    ("aiohttp", "any"): (),
    ("async-frameworks", "Litestar's `application` and Quart, under uvicorn"): ("uvicorn",),
    ("async-frameworks", "the same under other servers of ASGI"): (),
    ("async-frameworks", "`quart run`"): ("Quart, `quart run`",),
    ("async-frameworks", "Sanic, with workers or a single process"): (
        "Sanic, `--workers 2`",
        "Sanic, `--single-process`",
    ),
    ("async-frameworks", "Tornado"): ("Tornado",),
    ("async-frameworks", "any"): (),
    ("other-hosts", "any"): (),
    ("queues", "RQ, `DeliveringWorker`"): ("RQ",),
    ("queues", "Dramatiq"): ("Dramatiq",),
    ("queues", "Huey, processes or threads"): ("Huey, threads", "Huey, processes"),
    ("queues", "arq, taskiq, procrastinate"): ("arq", "taskiq", "procrastinate"),
    ("queues", "any"): (),
    ("workflows", "APScheduler's `BlockingScheduler`"): ("APScheduler, `BlockingScheduler`",),
    ("workflows", "APScheduler's `AsyncIOScheduler`; a Temporal worker"): (
        "APScheduler, `AsyncIOScheduler`",
        "Temporal, coroutines",
        "Temporal, threads",
    ),
    ("workflows", "APScheduler's `BackgroundScheduler`; a flow of Prefect that is called"): (
        "APScheduler, `BackgroundScheduler`",
        "Prefect, a flow that is called",
    ),
    ("workflows", "an Airflow task"): ("Airflow, a task",),
    ("workflows", "a flow of Prefect that is served"): ("Prefect, `serve`",),
    ("workflows", "any"): (),
}


def to_package(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def get_pins() -> set[str]:
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", "".join(map(get_text, PINNED)), re.MULTILINE)
    return {f"{to_package(name)} {version}" for name, version in pins}


class TestTable:
    def test_it_has_a_row_for_each_trial_in_their_order(self) -> None:
        assert list(ROWS) == [trial.host for trial in TRIALS]

    @pytest.mark.parametrize("path", ["CHANGELOG.md", "docs/about/reliability.md"])
    def test_other_pages_count_its_hosts(self, path: str) -> None:
        counts = re.findall(r"(\d+) programs, servers and workers", get_text(path))
        assert counts == [str(len(ROWS))]

    def test_it_is_as_the_script_writes_it(self) -> None:
        assert to_page(get_text(PAGE), list(ROWS.values())) == get_text(PAGE)

    @pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.host)
    def test_a_row_says_what_the_trial_expects(self, trial: Trial) -> None:
        row = ROWS[trial.host]
        assert (row.delivered, row.section, row.loses_to_all) == (
            trial.delivers,
            trial.section,
            trial.loses_to_all,
        )

    @pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.host)
    def test_a_row_was_tried_with_the_version_that_is_pinned(self, row: Row) -> None:
        assert row.version.startswith("Python ") or row.version in get_pins()

    def test_a_host_that_loses_has_a_section_that_exists(self) -> None:
        headings = re.findall(r"^## (.+)$", get_text(PAGE), re.MULTILINE)
        for row in ROWS.values():
            assert row.delivered or row.section, row.host
            assert not row.section or row.section in headings, row.host

    def test_a_trial_that_make_test_leaves_out_names_the_tests_that_cover_its_host(self) -> None:
        for trial in TRIALS:
            if trial.tested_by:
                text = (ROOT / trial.tested_by).read_text(encoding="utf-8").lower()
                assert re.split(r"[ ,]", trial.host.removeprefix("a "))[0].lower() in text


def test_a_trial_runs_the_tests_of_its_guide_that_exist() -> None:
    guided = [trial for trial in TRIALS if trial.guide]
    for trial in guided:
        tests, _, chosen = trial.guide
        assert chosen in (ROOT / tests).read_text(encoding="utf-8").lower(), trial.host
    # Packages of these are not installed by `make test`, and have blocks in a guide.
    assert {trial.packages[0] for trial in guided} == {
        *("arq", "taskiq", "procrastinate"),
        *("temporalio", "apache-airflow-core", "prefect"),
    }


def test_every_block_of_python_runs_in_a_trial() -> None:
    sections = {trial.section for trial in TRIALS} - {""}
    blocks = {get_block(section) for section in sections - {"RQ"}}
    assert set(get_blocks(PAGE, "python")) == blocks


def test_the_options_of_uwsgi_are_those_of_the_tests() -> None:
    hosts = (ROOT / "tests" / "hosts" / "test_uwsgi.py").read_text(encoding="utf-8")
    options = dict(line.split(" = ") for line in get_blocks(PAGE, "ini")[0].splitlines())
    assert options == {
        "enable-threads": "true",
        "hook-master-start": "unix_signal:15 gracefully_kill_them_all",
    }
    assert all(f"--{name}" in hosts for name in options)
    assert options["hook-master-start"] in hosts


def test_the_doctor_has_a_hint_for_each_installed_host_that_loses() -> None:
    # uvicorn-worker comes with uvicorn. The own servers of Flask and Django are for development.
    # aiohttp is often installed as a client only.
    quiet = {"uvicorn-worker", "flask", "django", "aiohttp"}
    losing = {trial.packages[0] for trial in TRIALS if trial.packages and not trial.delivers}
    hints = {finding.name.partition(" ")[0] for finding in inspect_hosts(lambda package: "1.0")}
    silent = {trial.packages[0] for trial in TRIALS if trial.packages} - losing
    assert losing - quiet <= hints
    assert not silent & hints


class TestGuides:
    """What a guide says of the end of processes agrees with the table."""

    @pytest.mark.parametrize("guide", GUIDES)
    def test_a_guide_links_to_the_table(self, guide: str) -> None:
        assert "(../delivery/processes.md#the-table)" in get_text(f"docs/frameworks/{guide}.md")

    @pytest.mark.parametrize("guide", GUIDES)
    def test_every_row_of_a_guide_is_compared_with_the_table(self, guide: str) -> None:
        assert get_ends(guide).keys() == {host for name, host in CLAIMS if name == guide}

    @pytest.mark.parametrize(("guide", "host"), CLAIMS)
    def test_a_row_of_a_guide_promises_what_the_table_shows(self, guide: str, host: str) -> None:
        cells = get_ends(guide)[host]
        for name in CLAIMS[guide, host]:
            row = ROWS[name]
            if row.delivered or row.section == PROVIDED.get(guide):
                assert cells[-1].startswith("delivered")
            else:
                assert f"(../delivery/processes.md#{to_anchor(row.section)})" in " ".join(cells)
                assert "lost" in cells[-1]
        if not CLAIMS[guide, host] and host in {"any", "both"}:
            assert "lost" in cells[-1]


def get_ends(guide: str) -> dict[str, list[str]]:
    """Return the rows of the table of ends in a guide, by their first cells."""
    table = (
        get_text(f"docs/frameworks/{guide}.md")
        .partition("| what is promised |\n")[2]
        .partition("\n\n")[0]
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {cells[0]: cells[1:] for cells in rows[1:]}
