"""The code of docs/frameworks/workflows.md, in the real hosts.

Its client is given an interval that never comes: only the end of a process delivers. Tasks fail at
first, and the host runs them again. `python -m scripts.hosts` runs this file in the environments of
the hosts that `make test` does not install.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosted import BOUND
from tests.hosts.host import Host
from tests.hosts.trials.trial import Services, is_installed

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "frameworks" / "workflows.md"
BLOCKS = {
    block.split(",")[0].split()[1]: block
    for block in re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
}
CALL = '"export_failed", {"rows": 120}, message_id=message_id)\n'
# What is added after the call: the first run fails.
FAIL_ONCE = """    import os
    try:
        os.close(os.open(f"{os.environ['FOLDER']}/failed", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        os.write(2, b"second run\\n")
    else:
        raise RuntimeError
"""
START_A_WORKFLOW = """
import asyncio, os
from temporalio.client import Client

async def start():
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    await client.start_workflow("Export", "user_8842", id="first", task_queue="exports")
    os._exit(0)  # threads of its client abort some programs that end soon after a call

asyncio.run(start())
"""
ORDER_A_RUN = """
from export_flow import exports
from prefect.deployments import run_deployment

exports.to_deployment("exports").apply()
run_deployment("exports/exports", timeout=0)
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the signals of POSIX")


def needs(package: str) -> None:
    if not is_installed(package):
        pytest.skip(f"{package} is not installed here: `python -m scripts.hosts` tries it")


def write(folder: Path, *names: str) -> dict[str, Any]:
    """Write modules of the guide there; return the environment in which they run."""
    for name in names:
        code = BLOCKS[name].replace("Whisperr()", "Whisperr(flush_interval=3600.0)")
        code = code.replace(CALL, CALL + FAIL_ONCE)
        (folder / name).write_text(code, encoding="utf-8")
    return {
        "FOLDER": str(folder),
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
    }


def send(code: str, environment: dict[str, Any]) -> None:
    """Run a program that orders what the host shall run."""
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "WHISPERR_API_KEY": "wrk_test", **environment},
        check=True,
        timeout=BOUND,
    )


def get_statuses(server: LocalServer) -> list[tuple[str | None, str | None, str]]:
    return [(arrival.user, arrival.type, arrival.status) for arrival in server.arrivals()]


RAN_TWICE = [
    ("user_8842", "export_failed", "accepted"),
    ("user_8842", "export_failed", "duplicate"),
]


def test_the_guide_has_the_programs_that_are_tried_here() -> None:
    assert list(BLOCKS) == [
        "expiry.py",
        "export_activities.py",
        "export_worker.py",
        "exports.py",
        "events.py",
        "export_flow.py",
    ]


def test_a_program_of_apscheduler_delivers_on_sigterm(server: LocalServer, tmp_path: Path) -> None:
    needs("apscheduler")
    environment = write(tmp_path, "expiry.py")
    path = tmp_path / "expiry.py"
    call = 'client.track(user, "trial_expired")\n'
    code = path.read_text().replace(call, f'{call}    print("ready", flush=True)\n')
    path.write_text(code.replace('"cron", hour=3', '"date"'))  # once, at the start
    with Host([sys.executable, path], server, **environment) as host:
        host.wait_for_output("ready")
        host.stop(signal.SIGTERM)
    assert get_statuses(server) == [
        ("user_8842", "trial_expired", "accepted"),
        ("user_8843", "trial_expired", "accepted"),
    ]


def test_an_activity_of_temporal_that_ran_twice_counts_once(
    server: LocalServer, services: Services, tmp_path: Path
) -> None:
    needs("temporalio")
    environment = write(tmp_path, "export_activities.py", "export_worker.py")
    environment |= services.get_environment(("temporal",))
    send(START_A_WORKFLOW, environment)
    with Host([sys.executable, tmp_path / "export_worker.py"], server, **environment) as host:
        host.wait_for_output("second run")
        assert server.arrivals() == []
        assert host.stop(signal.SIGTERM) == 0
    assert get_statuses(server) == RAN_TWICE


def test_a_flow_of_prefect_that_is_served_counts_once(
    server: LocalServer, services: Services, tmp_path: Path
) -> None:
    needs("prefect")
    environment = write(tmp_path, "events.py", "export_flow.py")
    environment |= services.get_environment(("prefect",))
    send(ORDER_A_RUN, environment)
    with Host([sys.executable, tmp_path / "export_flow.py"], server, **environment) as host:
        host.wait_for_output("second run")
        assert server.wait_until(lambda: len(server.arrivals()) == 2, BOUND), host.text
        host.stop(signal.SIGTERM)
    assert get_statuses(server) == RAN_TWICE


def test_a_task_of_airflow_that_ran_twice_counts_once_and_delivers_at_its_end(
    server: LocalServer, tmp_path: Path
) -> None:
    needs("apache-airflow-core")
    environment = write(tmp_path, "exports.py")
    for attempt in (1, 2):
        command = [sys.executable, "-m", "tests.hosts.trials.apps.airflow_supervisor"]
        with Host([*command, "exports", "export", attempt], server, **environment) as host:
            assert host.wait() == 0
        assert len(server.arrivals()) == attempt, host.text
    assert "second run" in host.text
    assert get_statuses(server) == RAN_TWICE
