"""An activity of Temporal, in both ways. Workflow code must not load this module again."""

from __future__ import annotations

from temporalio import activity

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()


def pay() -> None:
    info = activity.info()
    message_id = f"{info.workflow_run_id}:{info.activity_id}:payment_failed"
    whisperr.track("user_8842", "payment_failed", message_id=message_id)


@activity.defn(name="pay")
async def pay_in_loop() -> None:
    pay()


pay_in_pool = activity.defn(pay)
