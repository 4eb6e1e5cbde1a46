"""`python -m tunebridge.training.export`: a result in another form, and to the hub on request.

`safetensors` is the adapter or model as it was trained, `merged` a whole model with the adapter in its weights,
`gguf` the same as one file for llama.cpp. The folder is complete or not there.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from tunebridge.errors import StoreError, TuneBridgeError
from tunebridge.training.card import CARD_FILE
from tunebridge.training.process import share_the_cores

FORMS = ("merged", "safetensors", "gguf")


def main() -> int:
    """Export, then push where asked; 2 when the user can mend what is wrong."""
    options = _options()
    try:
        _check(options)
        partial = options.output.with_name(options.output.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            write(options.to, options.base_model, options.adapter, partial)
            partial.rename(options.output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        if options.push:
            push(options.output, options.push)
    except TuneBridgeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def write(form: str, base_model: str, adapter: Path | None, folder: Path) -> None:
    """Write a base model, with an adapter where there is one, into a new folder."""
    trained = adapter or Path(base_model)
    if form == "safetensors":
        shutil.copytree(trained, folder)
        return
    from tunebridge.training import models

    model = models.load_tuned(base_model, adapter)
    tokenizer = models.load_tokenizer(base_model)
    folder.mkdir(parents=True)
    tokenizer.save_pretrained(folder)
    if form == "gguf":
        _write_gguf(model, folder)
    else:
        model.save_pretrained(folder)
    if (trained / CARD_FILE).is_file():
        text = (trained / CARD_FILE).read_text().replace("library_name: peft", "library_name: transformers")
        (folder / CARD_FILE).write_text(text.replace("Adapter made by", "Model with a merged adapter, made by"))


def push(folder: Path, repository: str) -> None:
    """Upload a folder to a private repository of the hub; StoreError without a token or network."""
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        raise StoreError("HF_HUB_OFFLINE is set, so nothing is pushed. Unset it and export again with --push.")
    if get_token() is None:
        raise StoreError("There is no token for the hub. Set HF_TOKEN or run `hf auth login`, then export again.")
    try:
        api = HfApi()
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder)
    except (HfHubHTTPError, OSError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise StoreError(f"The hub did not take {repository}: {first}. The export is in {folder}.") from None


def _write_gguf(model: Any, folder: Path) -> None:
    from tunebridge.training.gguf import write_gguf

    write_gguf(model.float(), folder, folder / "model.gguf")
    for path in folder.iterdir():
        if path.suffix in (".json", ".jinja"):  # the file holds its tokenizer itself
            path.unlink()


def _check(options: argparse.Namespace) -> None:
    if options.output.exists():
        raise StoreError(f"{options.output} exists already. Choose another folder.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tunebridge.training.export", description=__doc__)
    parser.add_argument("--base-model", required=True, help="tunebridge/nano, a model folder or a hub id")
    parser.add_argument("--adapter", type=Path, help="folder of an adapter")
    parser.add_argument("--to", choices=FORMS, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder to write; it must not exist")
    parser.add_argument("--push", metavar="REPO", help="repository of the hub, such as me/my-model")
    return parser.parse_args()


if __name__ == "__main__":
    share_the_cores()
    sys.exit(main())
