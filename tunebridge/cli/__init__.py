"""The command line: one module per noun; `render` is the only one that prints."""

import os
import sys

from tunebridge.errors import TuneBridgeError

INTERRUPTED = 130


def main() -> None:
    """Run the command line and leave with its exit code: 0, 1 the backend failed, 2 mend it, 3 a gate said no."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; no traceback without --debug."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read has gone, as in `| head`: what is still buffered must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    import typer

    from tunebridge.cli.app import app
    from tunebridge.cli.stopping import Interrupted

    try:
        code = app(arguments, prog_name="tunebridge", standalone_mode=False)
        if code == INTERRUPTED:  # typer's word for Ctrl-C where nothing more is known
            raise typer.Abort
        return code if isinstance(code, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _explain(Interrupted(), arguments)
    except BrokenPipeError:
        raise
    except Exception as error:
        return _explain(error, arguments)


def _explain(error: Exception, arguments: list[str]) -> int:
    """Say what went wrong, on stderr or as a document, and return the exit code."""
    from tunebridge.cli import render

    # Typer carries its own copy of click: its usage errors have no public class, but they can show themselves.
    is_usage = hasattr(error, "format_message")
    if "--debug" in arguments and not is_usage:
        render.trace(error)
    if "--json" in arguments:
        message = error.format_message() if is_usage else _message(error)  # type: ignore[attr-defined]
        name = "UsageError" if is_usage else type(error).__name__
        render.document({"error": {"type": name, "message": message, **_details(error)}})
    elif is_usage:
        error.show()  # type: ignore[attr-defined]
    elif _exit_code(error) == INTERRUPTED:
        render.note(str(error))
    else:
        render.error(_message(error))
    return _exit_code(error)


def _message(error: Exception) -> str:
    if isinstance(error, TuneBridgeError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}. Check the path, its permissions and the free space."
    return f"TuneBridge itself failed ({type(error).__name__}: {error}). Run it again with --debug, and report it."


def _exit_code(error: Exception) -> int:
    if isinstance(error, TuneBridgeError):
        return error.exit_code
    return 2 if isinstance(error, OSError) or hasattr(error, "format_message") else 1


def _details(error: Exception) -> dict[str, object]:
    """Return what a TuneBridgeError knows beyond its message, such as file, line and backend."""
    if not isinstance(error, TuneBridgeError):
        return {}
    known = {key: value for key, value in vars(error).items() if not key.startswith("_") and key != "message"}
    return {key: value for key, value in known.items() if value not in (None, (), "")}
