"""The emulator's models, configurations and endpoints; an endpoint that is asked really loads and runs its archive."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunebridge.testing.serving import Servers
from tunebridge_aws.identity import ACCOUNT_ID
from tunebridge_aws.storage import Location
from tunebridge_aws.wire import REGION, Account, Operation, refusal
from tunebridge_sagemaker.emulated import moment

CREATING_SECONDS = 0.5
ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}"
KINDS = {
    "Model": ("models", "model"),
    "EndpointConfig": ("configs", "endpoint-config"),
    "Endpoint": ("endpoints", "endpoint"),
}
"""Kind -> where it is kept, and its word in an ARN."""


class Hosting:
    """What serves tuned models; what stands lies in the account's folder, the processes belong to this one."""

    def __init__(self, folder: Path, account: Callable[[], Account]) -> None:
        self._folder, self._account = folder / "endpoints", account
        self._servers = Servers()

    @property
    def operations(self) -> dict[str, Operation]:
        """The operations by name."""
        made = {f"Create{kind}": self._creator(kind) for kind in KINDS}
        removed = {f"Delete{kind}": self._remover(kind) for kind in KINDS}
        return {**made, **removed, "DescribeEndpoint": self._describe}

    def standing(self) -> list[str]:
        """Return the kind of everything that is there."""
        with self._account().shelf.opened() as state:
            return [kind for kind, (place, _) in KINDS.items() for _ in state[place]]

    def invoke(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer a call by the archive's own code."""
        name = asked["EndpointName"]
        if self._describe({"EndpointName": name})["EndpointStatus"] != "InService":
            raise refusal("ValidationError", f"Endpoint {name} of account {ACCOUNT_ID} is not in service.")
        said = self._servers.ask(name, self._command(name), self._folder / f"{name}.log", json.loads(asked["Body"]))
        if "error" in said:
            raise refusal("ModelError", f"Received client error (400) from primary: {said['error']}", status=424)
        return {"Body": json.dumps(said["ok"]).encode(), "ContentType": "application/json"}

    def end(self) -> None:
        """End every server."""
        self._servers.end_all()

    def _creator(self, kind: str) -> Operation:
        place, word = KINDS[kind]

        def create(asked: dict[str, Any]) -> dict[str, Any]:
            name = asked[f"{kind}Name"]
            self._check(kind, asked)
            with self._account().shelf.opened() as state:
                if name in state[place]:
                    raise refusal("ValidationException", f"Cannot create already existing {word} {name}")
                state[place][name] = {**asked, "created": time.time()}
            return {f"{kind}Arn": f"{ARN}:{word}/{name.lower()}"}

        return create

    def _remover(self, kind: str) -> Operation:
        place, word = KINDS[kind]

        def remove(asked: dict[str, Any]) -> dict[str, Any]:
            name = asked[f"{kind}Name"]
            with self._account().shelf.opened() as state:
                if state[place].pop(name, None) is None:
                    raise refusal("ValidationException", f'Could not find {word} "{ARN}:{word}/{name}".')
            if kind == "Endpoint":
                self._servers.end(name)
            return {}

        return remove

    def _check(self, kind: str, asked: dict[str, Any]) -> None:
        with self._account().shelf.opened() as state:
            if kind == "EndpointConfig":
                missing = [v["ModelName"] for v in asked["ProductionVariants"] if v["ModelName"] not in state["models"]]
                if missing:
                    raise refusal("ValidationException", f'Could not find model "{missing[0]}".')
            if kind == "Endpoint" and asked["EndpointConfigName"] not in state["configs"]:
                raise refusal("ValidationException", "Could not find endpoint configuration.")
        if kind == "Model":
            self._archive(asked)

    def _archive(self, model: dict[str, Any]) -> Path:
        uri = model["PrimaryContainer"]["ModelDataUrl"]
        place = Location.parse(uri)
        path = self._account().buckets.path(place.bucket, place.key)
        if not path.is_file():
            raise refusal("ValidationException", f"Could not find model data at {uri}.")
        return path

    def _describe(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["EndpointName"]
        with self._account().shelf.opened() as state:
            found = state["endpoints"].get(name)
        if found is None:
            raise refusal("ValidationException", f'Could not find endpoint "{ARN}:endpoint/{name}".')
        is_ready = time.time() - found["created"] > CREATING_SECONDS
        at = moment(found["created"])
        return {
            "EndpointName": name,
            "EndpointArn": f"{ARN}:endpoint/{name}",
            "EndpointConfigName": found["EndpointConfigName"],
            "EndpointStatus": "InService" if is_ready else "Creating",
            "CreationTime": at,
            "LastModifiedTime": at,
        }

    def _command(self, name: str) -> list[str]:
        """Return what loads an endpoint's archive and answers."""
        with self._account().shelf.opened() as state:
            config = state["configs"][state["endpoints"][name]["EndpointConfigName"]]
            model = state["models"][config["ProductionVariants"][0]["ModelName"]]
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        program = Path(__file__).with_name("hosting.py")
        return [sys.executable, "-P", str(program), str(self._archive(model)), str(folder)]
