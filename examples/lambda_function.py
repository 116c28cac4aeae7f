"""An AWS Lambda function, which invokes itself once when it runs as a program.

whisperr dev                                    # in one terminal
export WHISPERR_API_KEY=wrk_test WHISPERR_BASE_URL=http://127.0.0.1:8722
python examples/lambda_function.py              # in another one
"""

from __future__ import annotations

from typing import Any

from whisperr import Whisperr
from whisperr.aws_lambda import flush_after

client = Whisperr()  # once per execution environment, not in the handler


@flush_after
def handler(event: dict[str, Any], context: object) -> dict[str, str | None]:  # noqa: ARG001  # what Lambda passes
    """Answer a webhook of a payment provider."""
    charge = event["charge"]
    message_id = client.track(
        charge["customer"],
        "payment_failed",
        {"amount_cents": charge["amount_cents"]},
        message_id=event["id"],  # a webhook that arrives twice is one event
    )
    return {"message_id": message_id}


if __name__ == "__main__":
    charge = {"customer": "user_8842", "amount_cents": 4900}
    handler({"id": "evt_1PxQ7b", "charge": charge}, None)
