"""The command line: one module per noun; `render` is the only one that prints."""

import sys

from tunebridge.errors import TuneBridgeError


def main() -> None:
    """Run the command line and leave with its exit code: 0, 1 the backend failed, 2 mend it, 3 a gate said no."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; no traceback without --debug."""
    import typer

    from tunebridge.cli.app import app

    try:
        code = app(arguments, prog_name="tunebridge", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _interrupted()
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except TuneBridgeError as error:
        return _explain(error, arguments)
    except Exception as error:
        # Typer carries its own copy of click: its usage errors have no public class, but they can show themselves.
        if not hasattr(error, "show"):
            raise
        error.show()
        return 2


def _interrupted() -> int:
    from tunebridge.cli import render

    render.note("Interrupted. Jobs that were submitted go on; `tunebridge jobs list` shows them.")
    return 130


def _explain(error: TuneBridgeError, arguments: list[str]) -> int:
    from tunebridge.cli import render

    if "--debug" in arguments:
        raise error
    if "--json" in arguments:
        render.document({"error": {"type": type(error).__name__, "message": str(error), **_details(error)}})
    else:
        render.error(str(error))
    return error.exit_code


def _details(error: TuneBridgeError) -> dict[str, object]:
    return {key: str(value) for key, value in vars(error).items() if value not in (None, (), "")}
