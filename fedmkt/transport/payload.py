"""Request and reply bytes inside Flower messages, and error codes on their way back.

Guarantee: what a reply can carry is the handler's bytes or a code of the form [a-z][a-z0-9_]*,
at most 64 characters; texts that Flower puts beside an error are never read.
Not guaranteed: that a code is true. A node may answer with any code.
"""

import re

from flwr.app import ConfigRecord, Message, RecordDict

from fedmkt.core.errors import MessageInvalid
from fedmkt.transport.channel import Failure

_RECORD = "fedmkt"
_PAYLOAD = "payload"
_FAILURE = "failure"
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")

INTERNAL_ERROR = Failure("internal_error")
NOT_DELIVERED = Failure("not_delivered")
_REPLY_INVALID = Failure("reply_invalid")

# Flower's numbers (flwr.common.constant.ErrorCode) under the names this project reports.
_FLOWER_ERRORS = {
    1: "app_not_loaded",
    2: "app_raised",
    3: "message_unavailable",
    4: "reply_unavailable",
    5: "node_unavailable",
    6: "app_precondition_failed",
    7: "bundle_invalid",
    8: "app_crashed",
}


def payload_record(payload: bytes) -> RecordDict:
    """Return the message content that carries `payload`.

    Raises: TypeError when `payload` is not bytes; Flower would carry text and numbers as well.
    """
    return RecordDict({_RECORD: ConfigRecord({_PAYLOAD: _only_bytes(payload)})})


def failure_record(failure: Failure) -> RecordDict:
    """Return the message content that carries `failure`; an ill-formed code is not let through."""
    # Security: the last gate before the wire. A code that is not one could carry text out.
    kept = failure if _CODE.fullmatch(failure.code) else INTERNAL_ERROR
    return RecordDict({_RECORD: ConfigRecord({_FAILURE: kept.code})})


def read_request(message: Message) -> bytes:
    """Return the request bytes of `message`.

    Raises: MessageInvalid when it does not carry exactly one payload of bytes.
    """
    payload = _fields(message).get(_PAYLOAD)
    if not isinstance(payload, bytes):
        raise MessageInvalid(kind="transport", problem="it carries no payload")
    return payload


def read_reply(message: Message) -> bytes | Failure:
    """Return the reply bytes of `message`, or why there are none."""
    if message.has_error():
        # Security: `error.reason` is free text from a node and is left where it is.
        return Failure(_FLOWER_ERRORS.get(message.error.code, "unknown_error"))
    fields = _fields(message)
    payload, code = fields.get(_PAYLOAD), fields.get(_FAILURE)
    if isinstance(payload, bytes) and code is None:
        return payload
    if isinstance(code, str) and _CODE.fullmatch(code) and payload is None:
        return Failure(code)
    return _REPLY_INVALID


def _fields(message: Message) -> dict[str, object]:
    record = message.content.config_records.get(_RECORD)
    return dict(record) if record is not None else {}


def _only_bytes(payload: object) -> bytes:
    if not isinstance(payload, bytes):
        raise TypeError("a payload is bytes")
    return payload
