"""STS and IAM of an emulated account, and the query protocol that both speak: forms in, XML out."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

ACCOUNT_ID = "123456789012"
ROLE_PREFIX = f"arn:aws:iam::{ACCOUNT_ID}:role/"
SERVICES = ("sagemaker.amazonaws.com", "bedrock.amazonaws.com")
"""Who may assume every role of the account."""


def caller(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Answer GetCallerIdentity."""
    return {"UserId": "AIDAEMULATOR", "Account": ACCOUNT_ID, "Arn": f"arn:aws:iam::{ACCOUNT_ID}:user/emulator"}


def get_role(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Answer GetRole: every name is a role that Amazon's services may assume."""
    statement = {"Effect": "Allow", "Principal": {"Service": list(SERVICES)}, "Action": "sts:AssumeRole"}
    role = {
        "Path": "/",
        "RoleName": asked["RoleName"],
        "RoleId": "AROAEMULATOR00000",
        "Arn": ROLE_PREFIX + asked["RoleName"],
        "CreateDate": "2026-01-01T00:00:00Z",
        "AssumeRolePolicyDocument": quote(json.dumps({"Version": "2012-10-17", "Statement": [statement]})),
    }
    return {"Role": role}


def simulate(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Answer SimulatePrincipalPolicy: everything is allowed."""
    found = [
        {"EvalActionName": action, "EvalDecision": "allowed", "EvalResourceName": resource}
        for action in asked["ActionNames"]
        for resource in asked.get("ResourceArns", ["*"])
    ]
    return {"EvaluationResults": found, "IsTruncated": False}


OPERATIONS = {
    "sts": {"GetCallerIdentity": caller},
    "iam": {"GetRole": get_role, "SimulatePrincipalPolicy": simulate},
}


def from_form(form: Mapping[str, str], shape: Any) -> dict[str, Any]:
    """Return what a form says, lists of texts (`Names.member.1`) included; what is unknown stays, to be refused."""
    asked: dict[str, Any] = {}
    for key, value in form.items():
        name, _, place = key.partition(".")
        if key in ("Action", "Version"):
            continue
        if place:
            asked.setdefault(name, []).append(value)
        else:
            known = shape.members.get(name) if shape is not None else None
            asked[name] = int(value) if known is not None and known.type_name == "integer" else value
    return asked


def as_xml(name: str, answer: Mapping[str, Any]) -> bytes:
    """Return an answer as the query protocol words it."""
    return f"<{name}Response><{name}Result>{_inner(answer)}</{name}Result></{name}Response>".encode()


def _inner(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{key}>{_inner(part)}</{key}>" for key, part in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{_inner(part)}</member>" for part in value)
    return str(value).lower() if isinstance(value, bool) else escape(str(value))
