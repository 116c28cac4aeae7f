"""Runs one task of Airflow as an executor does: a supervisor forks its process.

The supervisor passes SIGTERM on. No scheduler runs, and a function answers what the supervisor asks
the API server.
"""

from __future__ import annotations

import os
import sys
from uuid import uuid4

NOW = "2026-01-01T00:00:00Z"


def supervise(dag_id: str, task_id: str, *, try_number: int = 1) -> None:
    """Run a task of FOLDER's module `<dag_id>`; return when its process has ended."""
    os.environ |= {
        "AIRFLOW_HOME": f"{os.environ['FOLDER']}/airflow",
        "AIRFLOW__CORE__DAGS_FOLDER": os.environ["FOLDER"],
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Not through the supervisor's log: a signal that interrupts its logging makes it hang.
        "OUTPUT": str(os.dup(2)),
    }
    from airflow.sdk.api.client import Client
    from airflow.sdk.api.datamodels import _generated as models
    from airflow.sdk.execution_time.supervisor import supervise_task
    from httpx import MockTransport, Response

    def answer(request: object) -> Response:
        run = dict.fromkeys(models.DagRun.model_fields)
        run |= {"dag_id": dag_id, "run_id": "first", "run_type": "manual", "state": "running"}
        run |= {"run_after": NOW, "start_date": NOW, "consumed_asset_events": []}
        return Response(200, json={"dag_run": run, "max_tries": 1, "should_retry": True})

    supervise_task(
        ti=models.TaskInstance(
            id=uuid4(),
            task_id=task_id,
            dag_id=dag_id,
            run_id="first",
            try_number=try_number,
            dag_version_id=uuid4(),
        ),
        bundle_info=models.BundleInfo(name="dags-folder"),
        dag_rel_path=f"{dag_id}.py",
        token="",
        client=Client(base_url="http://localhost", token="", transport=MockTransport(answer)),
        subprocess_logs_to_stdout=True,
    )


if __name__ == "__main__":
    supervise(sys.argv[1], sys.argv[2], try_number=int(sys.argv[3]))
