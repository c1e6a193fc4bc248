"""The ``agora`` command: a client of the HTTP API, plus up, demo, dispatcher, flower, db."""

import sys

from agora.cli.root import cli

EXIT_ERROR, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_UNREACHABLE, EXIT_INTERRUPTED = 1, 2, 3, 4, 130
NOT_FOUND = 404


def main() -> None:
    """Run the command; every error is one line, every outcome an exit code that scripts can use."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run with these arguments and return the exit code."""
    import click  # noqa: PLC0415  # each command imports what it needs, so that --help is quick

    try:
        code = cli.main(arguments, prog_name="agora", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; there is nobody to tell
        return EXIT_ERROR
    except Exception as error:  # noqa: BLE001  # the known ones below, the rest with its type
        return _explain(error)
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> int:
    from agora.client.errors import ApiError, Unreachable  # noqa: PLC0415
    from agora.errors import AgoraError  # noqa: PLC0415

    known = isinstance(error, ApiError | Unreachable | AgoraError | TimeoutError | OSError)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    print(f"agora: {' '.join(text.split())}", file=sys.stderr)
    if isinstance(error, ApiError) and error.status == NOT_FOUND:
        return EXIT_NOT_FOUND
    return EXIT_UNREACHABLE if isinstance(error, Unreachable) else EXIT_ERROR
