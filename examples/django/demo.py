"""`make demo-django`: the shop behind a real server, real requests, and what arrived.

Three processes: `whisperr dev`, uvicorn with the shop, and this one, which is the browser and the
payment provider. Ends with 1 if something is missing, doubled or wrong.
"""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from billing.signature import sign

HERE = Path(__file__).resolve().parent
BOUND = 60.0  # seconds; only something that hangs takes this long
ADA, BOB = "1", "2"
EXPECTED: Counter[tuple[str | None, ...]] = Counter(
    {
        (ADA, "logged_in", "acme", "eu", "accepted"): 1,
        (ADA, None, None, None, "accepted"): 1,  # the identify
        (ADA, "plan_upgraded", "acme", "eu", "accepted"): 1,
        (ADA, "upgrade_failed", "acme", "eu", "accepted"): 1,
        (ADA, "report_exported", "acme", "eu", "accepted"): 1,
        (ADA, "billing_issue_started", "acme", "eu", "accepted"): 1,
        (ADA, "billing_issue_started", "acme", "eu", "duplicate"): 1,
        (BOB, "trial_expired", "blue", "eu", "accepted"): 1,
        (BOB, "seat_added", None, "eu", "accepted"): 1,  # of a command, without a scope
    }
)


class Process:
    """A process that prints its address on a line of its own."""

    def __init__(self, command: list[str], mark: str, environment: dict[str, str]) -> None:
        self.running = subprocess.Popen(  # noqa: S603  # our own commands
            [sys.executable, "-m", *command],
            cwd=HERE,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.url = self._address(mark)

    def _address(self, mark: str) -> str:
        output = []
        for line in self.running.stdout or ():
            output.append(line)
            if mark in line:
                return line.partition(mark)[2].split(" ")[0].rstrip(";\n")
        raise RuntimeError("".join(output))

    def end(self) -> str:
        """End it as a service manager does; return its output since it listens."""
        self.running.send_signal(signal.SIGTERM)
        try:
            return self.running.communicate(timeout=BOUND)[0]
        finally:
            self.running.kill()
            self.running.communicate()


class Browser:
    """Makes requests to the shop, with cookies and the CSRF token that Django expects.

    `host` is sent instead of the host in `url`, because not every system resolves acme.localhost.
    """

    def __init__(self, url: str, host: str = "localhost") -> None:
        self._url = url
        self._host = host
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # the shop is on this machine
            urllib.request.HTTPCookieProcessor(self._cookies),
        )

    def request(
        self, path: str, form: dict[str, str] | bytes | None = None, **headers: str
    ) -> None:
        """Make one request and print it with its answer."""
        body = urllib.parse.urlencode(form).encode() if isinstance(form, dict) else form
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Host"] = self._host
        for cookie in self._cookies:
            if cookie.name == "csrftoken" and cookie.value:
                sent["X-CSRFToken"] = cookie.value
        request = urllib.request.Request(self._url + path, body, sent)  # noqa: S310  # our own address
        try:
            with self._opener.open(request, timeout=BOUND) as response:
                status, text = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read().decode()
        first_line = text.splitlines()[0] if text else ""
        print(f"  {request.get_method():<4} {self._host + path:<22} {status}  {first_line}")


def manage(environment: dict[str, str], *command: str) -> None:
    """Run `manage.py`; it has to succeed."""
    subprocess.run(  # noqa: S603  # our own commands
        [sys.executable, "manage.py", *command],
        cwd=HERE,
        env=environment,
        timeout=BOUND,
        check=True,
    )


def make_failed_payment() -> bytes:
    """Return what the payment provider sends."""
    invoice = {"customer": "cus_ada", "amount_due": 1990, "currency": "eur"}
    return json.dumps(
        {
            "id": "evt_1PxQ7b",
            "type": "invoice.payment_failed",
            "created": int(time.time()),
            "data": {"object": invoice},
        }
    ).encode()


def use(url: str) -> None:
    """Do what a customer of the tenant `acme` and a payment provider do."""
    shop, provider = Browser(url, "acme.localhost"), Browser(url)
    shop.request("/login/")
    shop.request("/login/", {"name": "ada", "password": "secret"})
    shop.request("/plan/", {"plan": "pro"})
    shop.request("/plan/", {"plan": "platinum"})  # declined: the upgrade is rolled back
    shop.request("/export/")
    webhook = make_failed_payment()
    signature = sign(webhook, "whsec_example", int(time.time()))
    for _ in range(2):  # providers repeat a webhook when they got no answer
        provider.request(
            "/webhook/", webhook, Provider_Signature=signature, Content_Type="application/json"
        )


def read(url: str) -> str:
    """Return what an address of this machine answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=BOUND) as response:
        text: str = response.read().decode()
    return text


def show_metrics(url: str) -> None:
    """Print how many events the server of the shop has accepted, and what became of them."""
    print("\nits metrics:")
    for line in read(f"{url}/metrics/").splitlines():
        if re.match(r"whisperr_client_event_(accepted|delivered|held)", line):
            print(f"  {line}")


def get_arrivals(url: str) -> Counter[tuple[str | None, ...]]:
    """Return what arrived at the local server: user, type, tenant, region and status."""
    arrivals: list[dict[str, Any]] = json.loads(read(f"{url}/_dev/arrivals"))["arrivals"]
    properties = [one["body"].get("properties", {}) for one in arrivals]
    return Counter(
        (one["user"], one["type"], of.get("tenant"), of.get("region"), one["status"])
        for one, of in zip(arrivals, properties, strict=True)
    )


def main() -> int:
    """Run the demo; returns 0 when exactly what is expected arrived."""
    with tempfile.TemporaryDirectory(prefix="whisperr-shop-") as home:
        environment = {**os.environ, "SHOP_DATABASE": str(Path(home) / "shop.sqlite3")}
        environment.update(PYTHONUNBUFFERED="1", WHISPERR_API_KEY="wrk_local")
        service = Process(["whisperr", "dev", "--port", "0"], "listens on ", environment)
        try:
            environment["WHISPERR_BASE_URL"] = service.url
            print("$ manage.py whisperr_check", flush=True)
            manage(environment, "migrate", "--verbosity", "0")
            manage(environment, "add_customers")
            manage(environment, "whisperr_check")
            server = ["uvicorn", "--port", "0", "--log-level", "info", "shop.asgi:application"]
            shop = Process(server, "Uvicorn running on ", environment)
            try:
                print(f"\nthe shop listens on {shop.url}")
                use(shop.url)
                show_metrics(shop.url)
            finally:
                shop.end()
            print("\nthe shop got SIGTERM and has ended\n$ manage.py end_trials", flush=True)
            manage(environment, "end_trials")
            manage(environment, "whisperr_send", BOB, "seat_added", "seats=3")
            arrived = get_arrivals(service.url)
        finally:
            output = service.end()
    print("\nthe output of whisperr dev:")
    print("".join(f"  {line}\n" for line in output.splitlines()[1:]))
    if arrived != EXPECTED:
        print(f"WRONG: missing {EXPECTED - arrived}, not expected {arrived - EXPECTED}")
        return 1
    print(f"{arrived.total()} arrivals, as expected: nothing lost, the webhook counted once")
    return 0


if __name__ == "__main__":
    sys.exit(main())
