"""The process's environment while the SDK works: what it needs, and nothing of what it leaves behind.

The SDK writes AZUREML_CURRENT_CLOUD into the environment and reads it again at every call, asks git about the working
folder, prints and warns of what its own dependencies will change. One call at a time is let in, and the
environment is put back after it.
"""

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator, Mapping

NO_GIT = {"GIT_DIR": os.devnull}
"""With it git finds no repository, so the SDK has nothing to send of one."""
_TURN = threading.RLock()


@contextlib.contextmanager
def contained(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables while the block runs, and put the whole environment back afterwards."""
    said = io.StringIO()
    with _TURN, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = dict(os.environ)
        os.environ.update(variables)
        try:
            yield
        finally:
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)
