"""The hosts that receive SIGTERM while an event waits: the table of docs/delivery/processes.md.

`tests/hosts/test_trials.py` tries those that are installed. `python -m scripts.hosts` makes
environments with all of them, and writes the table.
"""

from __future__ import annotations

from functools import partial

from tests.hosts.host import APPS
from tests.hosts.trials.trial import Trial

__all__ = ["LIFESPAN", "TRIALS", "Trial"]

# Sections of the page.
HANDLER = "A SIGTERM handler"
LIFESPAN = "The ASGI lifespan"
LOOP = "Your own event loop"
HYPERCORN = "hypercorn"
# Tests of the guides, in real workers.
GUIDE_TO_QUEUES = "tests/task_queues/test_queues.py"
GUIDE_TO_WORKFLOWS = "tests/task_queues/test_workflows.py"

program = "{FOLDER}/shop.py"
gunicorn = f"-m gunicorn --bind 127.0.0.1:{{PORT}} --config {APPS}/gunicorn_ready.py"
gunicorn += " --control-socket {FOLDER}/control"
celery = "-m celery --app shop worker --concurrency 2 --without-gossip --without-mingle"
celery += " --without-heartbeat --pool"

asgi = partial(Trial, app="asgi", section=LIFESPAN)
wsgi = partial(Trial, app="wsgi", delivers=True)
hookless = partial(Trial, delivers=False, section=HANDLER)
worker = partial(Trial, delivers=True, works=True)
queue = partial(worker, sends=True)

PROGRAMS = (
    hookless(
        "a plain program",
        (),
        app="plain",
        tested_by="tests/hosts/test_plain.py",
        command=program,
        works=True,
    ),
)
SERVERS = (
    wsgi(
        "gunicorn, `sync`",
        ("gunicorn",),
        tested_by="tests/hosts/test_gunicorn.py",
        command=f"{gunicorn} shop:application",
        ready="worker ready",
    ),
    wsgi(
        "gunicorn, `gthread`",
        ("gunicorn",),
        tested_by="tests/hosts/test_gunicorn.py",
        command=f"{gunicorn} --worker-class gthread shop:application",
        ready="worker ready",
    ),
    wsgi(
        "gunicorn, `gevent`",
        ("gunicorn", "gevent"),
        tested_by="tests/hosts/test_gunicorn.py",
        command=f"{gunicorn} --worker-class gevent shop:application",
        ready="worker ready",
    ),
    Trial(
        "gunicorn, `asgi`",
        ("gunicorn",),
        app="asgi",
        command=f"{gunicorn} --worker-class asgi shop:application",
        delivers=True,
        ready="worker ready",
    ),
    asgi(
        "gunicorn, `uvicorn_worker.UvicornWorker`",
        ("uvicorn-worker", "gunicorn"),
        command=f"{gunicorn} --worker-class uvicorn_worker.UvicornWorker shop:application",
        delivers=False,
        ready="worker ready",
    ),
    Trial(
        "gunicorn, `aiohttp.GunicornWebWorker`",
        ("aiohttp", "gunicorn"),
        app="aiohttp_shop",
        command=f"{gunicorn} --worker-class aiohttp.GunicornWebWorker shop:application",
        delivers=True,
        ready="worker ready",
    ),
    asgi(
        "uvicorn",
        ("uvicorn",),
        command="-m uvicorn --port {PORT} shop:application",
        delivers=False,
        ready="Application startup complete",
    ),
    asgi(
        "uvicorn, `--workers 2`",
        ("uvicorn",),
        tested_by="tests/hosts/test_uvicorn.py",
        command="-m uvicorn --workers 2 --port {PORT} shop:application",
        delivers=False,
        ready="(?s)Application startup complete.*Application startup complete",
    ),
    asgi(
        "hypercorn",
        ("hypercorn",),
        command="-m hypercorn --bind 127.0.0.1:{PORT} shop:application",
        delivers=True,
        section=HYPERCORN,
        ready="Running on",
    ),
    asgi(
        "hypercorn, `--workers 2`",
        ("hypercorn",),
        command="-m hypercorn --workers 2 --bind 127.0.0.1:{PORT} shop:application",
        delivers=False,
        section=HYPERCORN,
        ready="(?s)Running on.*Running on",
        # It ends the other workers once the first one has ended: none can deliver in that time.
        latency=3.0,
    ),
    Trial(
        "granian, ASGI",
        ("granian",),
        app="asgi",
        command="-m granian --interface asgi --workers 2 --port {PORT} shop:application",
        delivers=True,
        ready="(?s)Started worker.*Started worker",
    ),
    wsgi(
        "granian, WSGI",
        ("granian",),
        command="-m granian --interface wsgi --workers 2 --port {PORT} shop:application",
        ready="(?s)Started worker.*Started worker",
    ),
    Trial(
        "daphne",
        ("daphne",),
        app="asgi",
        command="-m daphne --port {PORT} shop:application",
        delivers=True,
        ready="Listening on TCP",
    ),
    hookless("waitress", ("waitress",), app="waitress_program", command=program),
    hookless(
        "`waitress-serve`",
        ("waitress",),
        app="wsgi",
        command="-m waitress --listen 127.0.0.1:{PORT} shop:application",
    ),
    hookless(
        "`flask run`",
        ("flask",),
        app="flask_shop",
        command="-m flask --app shop run --port {PORT}",
        ready="Running on",
    ),
    hookless(
        "Django's `runserver --noreload`",
        ("django",),
        app="django_shop",
        command="-m django runserver --noreload --skip-checks {PORT}",
        environment=(("DJANGO_SETTINGS_MODULE", "shop"),),
    ),
    Trial("aiohttp, `web.run_app`", ("aiohttp",), "aiohttp_shop", program, delivers=True),
    hookless(
        "aiohttp, `AppRunner`", ("aiohttp",), app="aiohttp_runner", command=program, section=LOOP
    ),
    Trial(
        "Quart, `quart run`",
        ("quart",),
        app="quart_shop",
        command="-m quart --app shop run --port {PORT}",
        delivers=True,
        ready="Running on",
    ),
    Trial(
        "Sanic, `--workers 2`",
        ("sanic",),
        app="sanic_shop",
        command="-m sanic --workers 2 --port {PORT} shop:app",
        delivers=True,
        ready="the manager knows all workers",
    ),
    Trial(
        "Sanic, `--single-process`",
        ("sanic",),
        app="sanic_shop",
        command="-m sanic --single-process --port {PORT} shop:app",
        delivers=True,
        ready="Worker ready",  # it ignores SIGTERM before that
    ),
    hookless("Tornado", ("tornado",), app="tornado_shop", command=program, section=LOOP),
)
WORKERS = (
    *(
        hookless(
            f"APScheduler, `{kind}Scheduler`",
            ("apscheduler",),
            app="apscheduler_shop",
            command=program,
            section=section,
            works=True,
            environment=(("SCHEDULER", kind.lower()),),
        )
        for kind, section in (
            ("Blocking", "APScheduler"),
            ("Background", HANDLER),
            ("AsyncIO", LOOP),
        )
    ),
    worker(
        "Celery, prefork",
        ("celery",),
        app="celery_shop",
        tested_by="tests/celery/test_worker.py",
        command=f"{celery} prefork",
        delivers=False,
        section="Celery",
        loses_to_all=True,
    ),
    worker(
        "Celery, threads",
        ("celery",),
        app="celery_shop",
        tested_by="tests/celery/test_worker.py",
        command=f"{celery} threads",
    ),
    queue(
        "arq",
        ("arq",),
        app="arq_shop",
        command="-m arq shop.WorkerSettings",
        services=("redis",),
        guide=(GUIDE_TO_QUEUES, "-k", "arq"),
    ),
    queue(
        "taskiq",
        ("taskiq", "taskiq-redis"),
        app="taskiq_shop",
        command="-m taskiq worker --workers 1 shop:broker",
        services=("redis",),
        guide=(GUIDE_TO_QUEUES, "-k", "taskiq"),
    ),
    queue(
        "RQ",
        ("rq",),
        app="rq_shop",
        tested_by="tests/task_queues/test_queues.py",
        command="-m rq.cli worker --url {REDIS_URL}",
        delivers=False,
        section="RQ",
        services=("redis",),
        options="--worker-class shop.DeliveringWorker",
    ),
    queue(
        "Dramatiq",
        ("dramatiq",),
        app="dramatiq_shop",
        tested_by="tests/hosts/test_queues.py",
        command="-m dramatiq --processes 1 --threads 1 shop",
        services=("redis",),
    ),
    queue(
        "Huey, threads",
        ("huey",),
        app="huey_shop",
        tested_by="tests/task_queues/test_queues.py",
        command="-m huey.bin.huey_consumer shop.huey",
    ),
    queue(
        "Huey, processes",
        ("huey",),
        app="huey_shop",
        tested_by="tests/task_queues/test_queues.py",
        command="-m huey.bin.huey_consumer --worker-type process shop.huey",
    ),
    queue(
        "procrastinate",
        ("procrastinate",),
        app="procrastinate_shop",
        command="-m procrastinate --app shop.app worker",
        services=("postgres",),
        guide=(GUIDE_TO_QUEUES, "-k", "procrastinate"),
    ),
    queue(
        "django-q2",
        ("django-q2",),
        app="django_q_shop",
        loses_to_all=True,
        command="-m django qcluster",
        environment=(
            ("DJANGO_SETTINGS_MODULE", "tests.hosts.trials.apps.django_settings"),
            ("WORKERS", "django_q"),
        ),
    ),
    queue(
        "django-tasks-db, `db_worker`",
        ("django-tasks-db",),
        app="django_tasks_shop",
        command="-m django db_worker --no-startup-delay",
        environment=(
            ("DJANGO_SETTINGS_MODULE", "tests.hosts.trials.apps.django_settings"),
            ("WORKERS", "django_tasks_db"),
        ),
    ),
)
WORKFLOWS = (
    worker(
        "Airflow, a task",
        ("apache-airflow-core",),
        app="airflow_shop",
        command=program,
        guide=(GUIDE_TO_WORKFLOWS, "-k", "airflow"),
    ),
    *(
        queue(
            f"Temporal, {kind}",
            ("temporalio",),
            app="temporal_shop",
            command=f"{program} work",
            delivers=False,
            section=LOOP,
            services=("temporal",),
            environment=(("EXECUTOR", kind),),
            guide=(GUIDE_TO_WORKFLOWS, "-k", "temporal") if kind == "coroutines" else (),
        )
        for kind in ("coroutines", "threads")
    ),
    worker(
        "Prefect, a flow that is called",
        ("prefect",),
        app="prefect_shop",
        command=f"{program} call",
        delivers=False,
        section=HANDLER,
        services=("prefect",),
        guide=(GUIDE_TO_WORKFLOWS, "-k", "prefect"),
    ),
    queue(
        "Prefect, `serve`",
        ("prefect",),
        app="prefect_shop",
        command=f"{program} serve",
        services=("prefect",),
    ),
)
TRIALS = (*PROGRAMS, *SERVERS, *WORKERS, *WORKFLOWS)
