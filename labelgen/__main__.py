"""What the command `labelgen` starts: signals and standard streams made ready, then the command line.

Nothing but `signal` is imported before that, so that Ctrl-C ends the command quietly from its first moment on; what is
left is what Python does before it comes here.
"""

import signal

# Until main() can tell of it, Ctrl-C ends the process as it ends one that knows nothing of signals, and before anything
# else is imported. A shell's background job, in which it is ignored, goes on ignoring it.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import gc
import io
import os
import sys
from contextlib import suppress
from typing import Any, NoReturn, TextIO

INTERRUPTED = 128 + signal.SIGINT
FAULT = 3
# The hundred thousand rules of a policy stay to the end, and Python's collector looks through them again whenever some
# hundred objects were made: half of the time of `verify`. So it may do so only when this many were made.
OBJECTS_BETWEEN_COLLECTIONS = 500_000


class _Stream(io.FileIO):
    """A standard stream whose reader may go away (`labelgen verify | head -1`): what is printed then is lost, and the
    command goes on to its end, so that its exit status stays true. A full disk is told, on standard error if that has
    room."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            pass
        except OSError as error:
            if self.fileno() != 2:
                raise OSError(error.errno, error.strerror, "standard output") from error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        return len(data)


def _printing_to(descriptor: int, before: Any) -> TextIO:
    """A text stream to print to; what its encoding lacks is replaced, for nothing printed may end the command."""
    stream = io.BufferedWriter(_Stream(descriptor, "w", closefd=False))
    encoding = before.encoding if before is not None else "utf-8"
    interactive = descriptor == 2 or stream.isatty()
    return io.TextIOWrapper(stream, encoding=encoding, errors="replace", line_buffering=interactive)


def _open_streams() -> None:
    """Standard streams that work, whatever the command was started with (`>&-`: cron and daemons do that)."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free, so this one; the programs that are started have it too.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open
    sys.stdout, sys.stderr = _printing_to(1, sys.stdout), _printing_to(2, sys.stderr)


def _stop(number: int, _: object) -> None:
    """End as a signal asks, through every clean-up."""
    raise SystemExit(128 + number)


def _heed_signals() -> None:
    """Be ended through every clean-up by those signals that are not ignored: nohup and background jobs ignore some."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(status: object) -> NoReturn:
    """End at once: a hundred thousand rules need not be freed one by one, while Ctrl-C would be told as a failure."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status if isinstance(status, int) else 1)


def run() -> NoReturn:
    """Run the command line and end the process with its exit status."""
    try:
        _open_streams()
        gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
        # Whatever else is installed beside labelgen has no say in how role files are read, and is not looked for.
        os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
        from labelgen.cli import main  # noqa: PLC0415 - signals come first

        _heed_signals()
        main()
        _end(0)
    except SystemExit as end:
        _end(end.code)
    except KeyboardInterrupt:
        _end(INTERRUPTED)
    except BaseException:
        # Python would end with 1, which here means that a claim fails.
        import traceback  # noqa: PLC0415 - for this alone

        traceback.print_exc()
        print("error: this is a fault of labelgen itself, not of what it was given", file=sys.stderr)
        _end(FAULT)


if __name__ == "__main__":
    run()
