"""Stories of several notifications of the App Store, and Apple's own package."""

from __future__ import annotations

import base64
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.billing.cases import NOW, Case
from tests.billing.cases import app_store as cases
from tests.docs.page import get_names, get_rows, paste
from whisperr import BillingEvent
from whisperr.billing import app_store
from whisperr.testing import capture

if TYPE_CHECKING:
    from pathlib import Path

    from whisperr.billing import Signals, State

THIRD = cases.make_transaction(transactionId="700000100000003")
PAGE = "docs/billing/app-store.md"


class Webhooks:
    """Receives notifications, and keeps the states in a dict as the guide does."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        self.names: list[str] = []
        self._ids = count()

    def make(self, minutes: int, *arguments: Any, **changes: Any) -> dict[str, Any]:
        """Return a notification with an id of its own, and a time."""
        at = cases.to_millis(NOW + timedelta(minutes=minutes))
        event_id = f"0c4f8a10-0000-4000-9000-{next(self._ids):012}"
        payload = cases.make_notification(
            *arguments, notificationUUID=event_id, signedDate=at, **changes
        )
        return cases.sign(payload)

    def receive(self, payload: dict[str, Any]) -> Signals:
        found = app_store.signals(payload, previous=self.states.get)
        if found.state:
            self.states[found.state["key"]] = found.state
        self.names += [one.event_type for one in found]
        return found

    def send(self, minutes: int, *arguments: Any, **changes: Any) -> Signals:
        return self.receive(self.make(minutes, *arguments, **changes))


def test_a_trial_that_is_paid_at_last_converts_once() -> None:
    hooks = Webhooks()
    trial = cases.make_trial()
    hooks.send(0, "SUBSCRIBED", "INITIAL_BUY", trial)
    hooks.send(1, cases.STATUS, "AUTO_RENEW_DISABLED", trial, {"autoRenewStatus": 0})
    hooks.send(2, cases.STATUS, "AUTO_RENEW_ENABLED", trial)
    hooks.send(3, "DID_FAIL_TO_RENEW", "GRACE_PERIOD", trial, data={"status": 4})
    hooks.send(4, "GRACE_PERIOD_EXPIRED", None, trial, data={"status": 3})
    hooks.send(5, "DID_RENEW", "BILLING_RECOVERY")
    hooks.send(6, "DID_RENEW", None, THIRD)
    hooks.send(7, "EXPIRED", "VOLUNTARY", THIRD, data={"status": 2})
    assert hooks.names == [
        *("trial_started", "trial_auto_renew_disabled", "auto_renew_enabled"),
        *("billing_issue_started", "billing_recovered", "trial_converted"),
        *("renewal_succeeded", "membership_ended"),
    ]


def test_a_free_period_of_a_paying_member_is_no_trial() -> None:
    hooks = Webhooks()
    free = cases.make_trial(transactionReason="RENEWAL", offerType=2)
    hooks.send(0, "SUBSCRIBED", "INITIAL_BUY", cases.PURCHASE)
    hooks.send(1, "OFFER_REDEEMED")
    hooks.send(2, "DID_RENEW", None, free)
    hooks.send(3, cases.STATUS, "AUTO_RENEW_DISABLED", free, {"autoRenewStatus": 0})
    hooks.send(4, "DID_RENEW")
    assert hooks.names == ["membership_started", "auto_renew_disabled", "renewal_succeeded"]


def test_a_trial_that_an_offer_prolongs_converts_with_the_first_payment() -> None:
    hooks = Webhooks()
    hooks.send(0, "SUBSCRIBED", "INITIAL_BUY", cases.make_trial())
    hooks.send(1, "DID_RENEW", None, cases.make_trial(transactionReason="RENEWAL", offerType=3))
    hooks.send(2, "DID_RENEW")
    assert hooks.names == ["trial_started", "trial_converted"]


def test_a_former_member_who_comes_back_with_a_trial_converts_again() -> None:
    hooks = Webhooks()
    hooks.send(0, "SUBSCRIBED", "INITIAL_BUY", cases.PURCHASE)
    hooks.send(1, "EXPIRED", "BILLING_RETRY")
    hooks.send(2, "SUBSCRIBED", "RESUBSCRIBE", cases.make_trial(offerType=4))
    hooks.send(3, "DID_RENEW")
    assert hooks.names == [
        *("membership_started", "membership_ended", "trial_started", "trial_converted")
    ]


def test_a_subscription_that_was_there_before_the_states_never_converts_by_guess() -> None:
    free = cases.make_transaction(offerDiscountType="FREE_TRIAL", price=0)
    for first in (
        ("CONSUMPTION_REQUEST", None, None, None),
        ("DID_FAIL_TO_RENEW", None, free, None),
        ("PRICE_INCREASE", "PENDING", free, None),
    ):
        hooks = Webhooks()
        hooks.send(0, *first, data={"status": 3})
        hooks.send(1, "DID_RENEW", "BILLING_RECOVERY")
        assert hooks.names[-2:] == ["billing_recovered", "renewal_succeeded"], first


def test_a_cancellation_before_its_start_arrives_makes_the_same_signals() -> None:
    hooks, trial = Webhooks(), cases.make_trial()
    start = hooks.make(0, "SUBSCRIBED", "INITIAL_BUY", trial)
    hooks.send(1, cases.STATUS, "AUTO_RENEW_DISABLED", trial, {"autoRenewStatus": 0})
    hooks.receive(start)
    state = hooks.states[f"app_store:{cases.FIRST}"]
    assert (state["status"], state["auto_renew"]) == ("trial", False)
    hooks.send(2, "DID_RENEW")
    assert hooks.names == ["trial_auto_renew_disabled", "trial_started", "trial_converted"]


def test_a_conversion_that_arrives_after_a_newer_notification_is_still_one() -> None:
    hooks = Webhooks()
    hooks.send(0, "SUBSCRIBED", "INITIAL_BUY", cases.make_trial())
    renewal = hooks.make(1, "DID_RENEW")
    hooks.send(2, cases.STATUS, "AUTO_RENEW_DISABLED", renewal={"autoRenewStatus": 0})
    hooks.receive(renewal)
    assert hooks.names == ["trial_started", "auto_renew_disabled", "trial_converted"]


def test_a_renewal_that_arrives_after_a_newer_notification_is_no_conversion_by_guess() -> None:
    hooks = Webhooks()
    renewal = hooks.make(1, "DID_RENEW")
    hooks.send(2, cases.STATUS, "AUTO_RENEW_DISABLED", renewal={"autoRenewStatus": 0})
    hooks.receive(renewal)
    assert hooks.names == ["auto_renew_disabled", "renewal_succeeded"]


def test_six_deliveries_of_a_conversion_have_the_same_ids() -> None:
    hooks = Webhooks()
    hooks.send(0, "SUBSCRIBED", "INITIAL_BUY", cases.make_trial())
    renewal = hooks.make(1, "DID_RENEW")
    found = [hooks.receive(renewal) for _ in range(6)]
    assert {tuple(one.message_id for one in signals) for signals in found} == {
        (f"{renewal['notificationUUID']}:trial_converted",)
    }


def test_a_delivery_that_comes_after_a_newer_notification_means_nothing() -> None:
    hooks = Webhooks()
    hooks.send(0, "SUBSCRIBED", "INITIAL_BUY", cases.make_trial())
    renewal = hooks.make(1, "DID_RENEW")
    hooks.receive(renewal)
    hooks.send(2, "EXPIRED", "VOLUNTARY")
    again = hooks.receive(renewal)
    assert list(again) == []
    assert again.skipped[0].reason == "a newer webhook of this subscription was handled since"


def test_a_refund_and_the_end_after_it_end_a_membership_once() -> None:
    hooks = Webhooks()
    refunded = cases.make_transaction(revocationDate=cases.to_millis(NOW))
    hooks.send(0, "SUBSCRIBED", "INITIAL_BUY", cases.PURCHASE)
    hooks.send(1, "REFUND", None, refunded, data={"status": 5})
    hooks.send(2, "EXPIRED", "VOLUNTARY", refunded, data={"status": 2})
    assert hooks.names == ["membership_started", "refund_granted", "membership_ended"]


def test_a_refund_ends_a_membership_also_if_the_cancellation_of_the_same_moment_came_first() -> (
    None
):
    hooks = Webhooks()
    refunded = cases.make_transaction(revocationDate=cases.to_millis(NOW))
    hooks.send(0, "SUBSCRIBED", "INITIAL_BUY", cases.PURCHASE)
    off = {"autoRenewStatus": 0}
    hooks.send(1, cases.STATUS, "AUTO_RENEW_DISABLED", refunded, off, data={"status": 5})
    hooks.send(2, "REFUND", None, refunded, data={"status": 5})
    assert hooks.names == [
        *("membership_started", "auto_renew_disabled"),
        *("refund_granted", "membership_ended"),
    ]


def test_a_refund_that_is_taken_back_makes_the_membership_active_again() -> None:
    hooks = Webhooks()
    hooks.send(0, "SUBSCRIBED", "INITIAL_BUY", cases.PURCHASE)
    hooks.send(1, "REFUND", data={"status": 5})
    hooks.send(2, "REFUND_REVERSED", data={"status": 1})
    assert hooks.states[f"app_store:{cases.FIRST}"]["status"] == "active"


@pytest.mark.parametrize("environment", ["Sandbox", "Xcode", "LocalTesting"])
def test_an_environment_of_tests_has_the_test_mode(environment: str) -> None:
    payload = cases.make_notification("DID_RENEW", data={"environment": environment})
    (signal,) = app_store.signals(payload)
    assert signal.context["$mode"] == "test"
    (live,) = app_store.signals(cases.make_notification("DID_RENEW"))
    assert "$mode" not in live.context


def test_the_type_of_a_signal_has_the_subtype() -> None:
    found = app_store.signals(cases.make_notification("DID_RENEW", "BILLING_RECOVERY"))
    assert {one.context["provider_event_type"] for one in found} == {"DID_RENEW/BILLING_RECOVERY"}


def test_a_token_that_is_not_the_id_of_a_user_is_looked_up_once() -> None:
    asked: list[str] = []

    def find(token: str) -> str:
        asked.append(token)
        return "user_8842"

    recovery = cases.make_notification("DID_RENEW", "BILLING_RECOVERY")
    found = app_store.signals(recovery, user_of_token=find)
    assert [one.user for one in found] == ["user_8842"] * 2
    assert asked == [cases.TOKEN]
    assert found.state is not None
    assert found.state["user"] == "user_8842"
    app_store.signals(cases.make_notification("TEST"), user_of_token=find)
    assert asked == [cases.TOKEN]


def test_an_unknown_token_leaves_the_subscription_to_the_other_function() -> None:
    renewal = cases.make_notification("DID_RENEW")
    users, unknown = {cases.FIRST: "user_8842"}, dict[str, str]()
    (signal,) = app_store.signals(renewal, user_of=users.get, user_of_token=unknown.get)
    assert signal.user == "user_8842"
    found = app_store.signals(renewal, user_of_token=unknown.get)
    assert found.skipped[0].reason.endswith("no user in appAccountToken, and user_of returned None")


def fail(_: str) -> Any:
    raise LookupError("the database is down")


@pytest.mark.parametrize("name", ["previous", "user_of", "user_of_token"])
def test_an_error_of_a_function_of_the_caller_is_passed_on(name: str) -> None:
    token = cases.TOKEN if name == "user_of_token" else None
    payload = cases.make_notification(
        "DID_RENEW", None, cases.make_transaction(appAccountToken=token)
    )
    arguments: dict[str, Any] = {name: fail}
    with pytest.raises(LookupError, match="the database is down"):
        app_store.signals(payload, **arguments)


NOTIFICATIONS = [case for case in cases.CASES if "notificationUUID" in case.payload]
every_notification = pytest.mark.parametrize("case", NOTIFICATIONS, ids=lambda one: one.sentence)


@every_notification
def test_signed_parts_mean_the_same_as_decoded_ones(case: Case) -> None:
    assert_same(case, cases.sign(case.payload))


@every_notification
def test_an_object_of_apples_package_means_the_same_as_a_dict(case: Case) -> None:
    library = pytest.importorskip("appstoreserverlibrary.models.LibraryUtility")
    models = pytest.importorskip("appstoreserverlibrary.models.ResponseBodyV2DecodedPayload")
    kind = models.ResponseBodyV2DecodedPayload
    found = library._get_cattrs_converter(kind).structure(cases.sign(case.payload), kind)
    assert_same(case, found)


def assert_same(case: Case, payload: object) -> None:
    found, expected = (
        app_store.signals(one, previous=case.previous, **case.arguments)
        for one in (payload, case.payload)
    )
    assert (found, found.skipped, found.state) == (expected, expected.skipped, expected.state)


def test_decoded_objects_of_apples_package_may_be_in_the_data() -> None:
    models = pytest.importorskip("appstoreserverlibrary.models.JWSTransactionDecodedPayload")
    payload = cases.make_notification("DID_RENEW")
    payload["data"]["signedTransactionInfo"] = models.JWSTransactionDecodedPayload(
        transactionId=cases.SECOND, originalTransactionId=cases.FIRST, appAccountToken=cases.TOKEN
    )
    (signal,) = app_store.signals(payload)
    assert signal.properties == {"transaction_id": cases.SECOND, "store": "app_store"}


class Authority:
    """Signs as Apple does: by a certificate of three, whose root the verifier knows."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
        names = ["root", "intermediate", "leaf"]
        oids = [None, "1.2.840.113635.100.6.2.1", "1.2.840.113635.100.6.11.1"]  # Apple's marks
        self._chain = [self._certify(*one) for one in zip(range(3), names, oids, strict=True)]
        self.root = self._chain[0]

    def _certify(self, number: int, name: str, oid: str | None) -> bytes:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        def get_name(text: str) -> Any:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        key, parent = self._keys[number], self._keys[max(number - 1, 0)]
        issuer = ["root", "root", "intermediate"][number]
        is_leaf = name == "leaf"
        parts: list[tuple[Any, bool]] = [
            (x509.BasicConstraints(ca=not is_leaf, path_length=None), True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(parent.public_key()), False),
            (
                x509.KeyUsage(
                    is_leaf, False, False, False, False, not is_leaf, not is_leaf, False, False
                ),
                True,
            ),
        ]
        if oid is not None:
            parts.append((x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\5\0"), False))
        builder = x509.CertificateBuilder(get_name(issuer), get_name(name), key.public_key())
        builder = builder.serial_number(number + 1)
        builder = builder.not_valid_before(NOW - timedelta(days=1))
        builder = builder.not_valid_after(NOW + timedelta(days=365))
        for part, is_critical in parts:
            builder = builder.add_extension(part, is_critical)
        signed = builder.sign(parent, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.DER)

    def sign(self, body: dict[str, Any]) -> str:
        jwt = pytest.importorskip("jwt")
        chain = [base64.b64encode(one).decode() for one in reversed(self._chain)]
        token: str = jwt.encode(body, self._keys[2], algorithm="ES256", headers={"x5c": chain})
        return token


def test_the_code_of_the_page_runs_and_refuses_what_apple_did_not_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("appstoreserverlibrary")
    pytest.importorskip("flask")
    authority = Authority()
    (tmp_path / "AppleRootCA-G3.cer").write_bytes(authority.root)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
    # The online check asks Apple's server whether a certificate was revoked.
    code = paste(PAGE).replace("enable_online_checks=True", "enable_online_checks=False")
    names: dict[str, Any] = {"__name__": "pasted"}
    with capture(strict=True) as events:
        exec(compile(code, PAGE, "exec"), names)
        events.clear()
        client = names["app"].test_client()
        trial = cases.sign(cases.make_notification("SUBSCRIBED", "INITIAL_BUY", cases.make_trial()))
        for signer, status in ((authority, 204), (authority, 204), (Authority(), 400)):
            body = {"signedPayload": signer.sign(trial)}
            assert client.post("/webhooks/app-store", json=body).status_code == status
    assert [(one.user, one.type) for one in events] == [(cases.TOKEN, "trial_started")] * 2
    assert len({one.message_id for one in events}) == 1
    assert [*names["states"]] == [f"app_store:{cases.FIRST}"]


def test_the_table_of_the_page_has_all_events_with_their_notifications() -> None:
    rows = get_rows(PAGE, "What becomes what")
    names = [value for name, value in vars(BillingEvent).items() if name.isupper()]
    assert [get_names(row[0]) for row in rows] == [[name] for name in names]
    kinds: dict[str, set[str]] = {name: set() for name in names}
    for case in cases.CASES:
        for name in case.expected:
            kinds[name].add(case.payload["notificationType"])
    assert {row[0].strip("`"): set(get_names(row[1])) for row in rows} == kinds
