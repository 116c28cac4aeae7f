"""The signature of a webhook: `t=<seconds>,v1=<hex>`, as payment providers do it."""

import hashlib
import hmac


def sign(body: bytes, secret: str, seconds: int) -> str:
    """Return the header that a provider sends along with a body."""
    signed = f"{seconds}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def is_signed(body: bytes, header: str, secret: str) -> bool:
    """Return whether a header is the signature of a body."""
    seconds = header.partition(",")[0].removeprefix("t=")
    if not seconds.isdecimal():
        return False
    return hmac.compare_digest(sign(body, secret, int(seconds)), header)
