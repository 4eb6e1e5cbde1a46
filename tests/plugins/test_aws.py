"""What Amazon's plugins share: the strict reading of botocore's models, S3 beside moto's, errors."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunebridge.errors import (
    AuthenticationError,
    BackendError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    ServiceUnavailable,
)

pytest.importorskip("boto3")

from tunebridge_aws import storage
from tunebridge_aws.errors import backend_error
from tunebridge_aws.session import Session, connect
from tunebridge_aws.storage import Location, Storage
from tunebridge_aws.strict import problem_of
from tunebridge_aws.wire import Account, service_model

TRAINING = {
    "TrainingJobName": "tb-1",
    "RoleArn": "arn:aws:iam::123456789012:role/tuner",
    "OutputDataConfig": {"S3OutputPath": "s3://b/x"},
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"Tags": [{"Key": "tunebridge-job", "Value": "Größe: 1"}]}, None),
        ({"TrainingJobName": "a" * 64}, "less than or equal to 63"),
        ({"TrainingJobName": "bad_name!"}, "does not satisfy the pattern"),
        ({"TrainingJobName": None}, "must not be null"),
        ({"RoleArn": "tuner"}, "greater than or equal to 20"),
        ({"ResourceConfig": {"InstanceType": "ml.bogus"}}, "is not one of the enum values"),
        ({"HyperParameters": {"epochs": 1}}, "'HyperParameters.epochs' has the type int"),
        ({"HyperParameters": {str(n): "" for n in range(101)}}, "less than or equal to 100"),
        ({"EnableNetworkIsolation": 1}, "boolean was expected"),
        ({"RetryStrategy": {"MaximumRetryAttempts": 31}}, "less than or equal to 30"),
        ({"NoSuchThing": 1}, "is not a member of"),
    ],
)
def test_a_request_is_checked_for_all_that_the_model_says(changes: dict[str, Any], says: str | None) -> None:
    found = problem_of(
        {**TRAINING, **changes}, service_model("sagemaker").operation_model("CreateTrainingJob").input_shape
    )
    assert says in found if found and says else found == says, found


@pytest.fixture(params=["ours", "moto"])
def session(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """Give S3 as our emulator has it, and as moto has it, which others wrote."""
    if request.param == "ours":
        account = Account(tmp_path / "account", {}, creates="", quota_code="", empty={})
        account.wire.start()
        yield Session("sagemaker", "us-east-1", endpoint_url=account.wire.url, credentials=account.credentials)
        account.wire.stop()
        return
    moto = pytest.importorskip("moto")
    before = dict(os.environ)
    with moto.mock_aws():
        yield Session("sagemaker", "us-east-1")
    os.environ.clear()
    os.environ.update(before)


def test_s3_is_as_others_have_it(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PART_BYTES", 5 * 2**20)
    session.client("s3").create_bucket(Bucket="my-bucket")
    store, home = Storage(session), Location("my-bucket", "some folder/ä")
    small, large = tmp_path / "small.bin", tmp_path / "large.bin"
    small.write_bytes(b"hello")
    large.write_bytes(os.urandom(12 * 2**20))
    places = [store.put_file(path, home).below(path.name) for path in (small, large)]
    assert [store.size(place) for place in places] == [5, 12 * 2**20]
    for path, place in zip((small, large), places, strict=True):
        assert store.get(place, tmp_path / "back").read_bytes() == path.read_bytes()
    ranged = session.client("s3").get_object(Bucket="my-bucket", Key=places[0].key, Range="bytes=1-3")
    assert (ranged["Body"].read(), ranged["ContentRange"]) == (b"ell", "bytes 1-3/5")
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "folder" / "deep" / f"{number} & <more>").write_text("")
    store.put_folder(tmp_path / "folder", home.below("a folder"))
    pages = (
        session.client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket="my-bucket", Prefix=f"{home.key}/a folder", PaginationConfig={"PageSize": 2})
    )
    keys = [[found["Key"] for found in page["Contents"]] for page in pages]
    names = [f"{home.key}/a folder/deep/{number} & <more>" for number in range(3)]
    assert keys == [names[:2], names[2:]]
    store.delete(home.below("a folder"))
    assert sorted(store.list(home), key=lambda place: place.key) == sorted(places, key=lambda place: place.key)
    assert store.size(home.below("nothing")) is None
    with pytest.raises(NotFound):
        store.get(home.below("nothing"), tmp_path / "back")
    with pytest.raises(NotFound):
        store.put_file(small, Location("no-such-bucket"))


def test_what_is_there_is_not_sent_again(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session.client("s3").create_bucket(Bucket="my-bucket")
    path = tmp_path / "rows.jsonl"
    path.write_text("{}")
    first = Storage(session).put_file(path, Location("my-bucket"))
    monkeypatch.setattr(session.client("s3"), "upload_file", None)
    assert Storage(session).put_file(path, Location("my-bucket")) == first


def client_error(code: str, status: int, message: str = "No.", **headers: str) -> Exception:
    from botocore.exceptions import ClientError

    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers, "RequestId": "r-1"}
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "Describe")


@pytest.mark.parametrize(
    ("error", "kind", "unknown"),
    [
        (client_error("ThrottlingException", 400), RateLimited, False),
        (client_error("ExpiredTokenException", 400), AuthenticationError, False),
        (client_error("AccessDeniedException", 403), PermissionDenied, False),
        (client_error("ResourceLimitExceeded", 400), QuotaExceeded, False),
        (client_error("ServiceQuotaExceededException", 402), QuotaExceeded, False),
        (client_error("ValidationException", 400, "Requested resource not found."), NotFound, False),
        (client_error("ValidationException", 400, "1 validation error detected"), InvalidRequest, False),
        (client_error("SomethingNew", 400), InvalidRequest, False),
        (client_error("InternalFailure", 500), ServiceUnavailable, True),
        (TimeoutError("x"), ServiceUnavailable, True),
    ],
)
def test_errors_are_told_apart(error: Exception, kind: type[BackendError], unknown: bool) -> None:
    found = backend_error(error, backend="sagemaker", operation="submit")
    assert (type(found), found.outcome_unknown) == (kind, unknown)


def test_an_error_keeps_what_helps_and_hides_what_may_be_secret() -> None:
    slow = backend_error(
        client_error("ThrottlingException", 400, **{"retry-after": "7"}), backend="sagemaker", operation="poll"
    )
    assert (slow.retry_after, slow.request_id) == (7.0, "r-1")
    refused = backend_error(
        client_error("InvalidClientTokenId", 403, "AKIASECRET is wrong"), backend="sagemaker", operation="poll"
    )
    assert "AKIASECRET" not in str(refused)


def test_missing_credentials_and_profiles_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    bare = Session("sagemaker", "us-east-1", endpoint_url="http://127.0.0.1:9")
    with pytest.raises(AuthenticationError, match="aws sso login"), bare.translated("check"):
        bare.client("sts").get_caller_identity()
    with pytest.raises(AuthenticationError, match="ProfileNotFound"):
        connect("sagemaker", {"region": "us-east-1", "profile": "nobody"}).client("s3")
    with pytest.raises(InvalidRequest, match="region"):
        connect("sagemaker", {}).client("sagemaker")


@pytest.mark.parametrize("text", ["", "bucket/key", "s3://", "https://bucket/key"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no S3 address"):
        Location.parse(text)
