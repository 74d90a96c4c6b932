"""The strict reading of a report: whatever is not exactly as it was asked for is an error."""

from __future__ import annotations

import zlib

import pytest

from labelgen.witness.answers import OK, Answer, Stretch, WitnessError
from labelgen.witness.calls import Result, Swept, Trial, call
from labelgen.witness.script import Reader, Report, Script

SWEEP = Trial("sweep", (call("socket", 2, 1, 6), call("listen", Result(0), Swept())), (range(1, 11),))
LABEL = "u:r:web_t:s0"


def _script() -> Script:
    script = Script()
    script.sysctl("net.ipv4.ip_local_port_range", "65535 65535")
    script.policy("/policy")
    script.job(script.actor(LABEL), SWEEP)
    script.enforce()
    script.job(0, SWEEP)
    script.label(0)
    return script


GOOD = [
    "labelgen-probe 1 6.1.0",
    "1 sysctl 0 65535_65535",
    "2 policy 0 4711",
    f"3 actor 0 {LABEL} 42",
    "4 job 0 00 ok*10",
    "5 enforce 0 1 1",
    "6 job 0 11 1.13*3 ok*7",
    f"7 label {LABEL} 1",
]


def _signed(lines: list[str], end: str = "8 end 1") -> list[bytes]:
    text = "".join(f"{line}\n" for line in lines) + end
    return [*(f"{line}\n".encode() for line in lines), f"{end} {zlib.crc32(text.encode()):08x}\n".encode()]


def _read(lines: list[bytes]) -> Report:
    reader = Reader(_script())
    for line in lines:
        reader.feed(line)
    return reader.report()


def test_a_whole_report_is_read() -> None:
    report = _read(_signed(GOOD))
    assert report.release == "6.1.0" and report.processes == {0: 42}
    assert report.answers[6] == (Stretch(1, 3, Answer(1, 13)), Stretch(4, 10, OK))


def test_the_lines_end_of_a_terminal_do_no_harm() -> None:
    assert _read([line.replace(b"\n", b"\r\n") for line in _signed(GOOD)])


@pytest.mark.parametrize("missing", range(len(GOOD)))
def test_a_missing_line_is_an_error(missing: int) -> None:
    with pytest.raises(WitnessError):
        _read(_signed(GOOD[:missing] + GOOD[missing + 1 :]))


@pytest.mark.parametrize("kept", range(len(GOOD) + 1))
def test_an_early_end_is_an_error(kept: int) -> None:
    with pytest.raises(WitnessError):
        _read(_signed(GOOD)[:kept])


@pytest.mark.parametrize(
    ("number", "instead"),
    [
        (0, "Linux version 6.1"),
        (1, "1 sysctl 0 32768_60999"),
        (1, "1 sysctl 13 65535_65535"),
        (2, "2 policy 22 4711"),
        (3, "3 actor 22 u:r:kernel_t:s0 42"),
        (3, "3 actor 0 u:r:kernel_t:s0 42"),
        (4, "4 job 0 11 ok*10"),
        (5, "5 enforce 0 1 0"),
        (5, "5 enforce 13 0 0"),
        (6, "6 job 0 10 ok*10"),
        (6, "6 job 0 00 ok*10"),
        (6, "6 job 1 11 ok*10"),
        (6, "6 job 0 11 ok*9"),
        (6, "6 job 0 11 ok*11"),
        (6, "6 job 0 11"),
        (6, "6 job 0 11 1.13*3"),
        (6, "6 job 0 11 rubbish"),
        (6, "6 failed the actor died No such process"),
        (6, "9 job 0 11 ok*10"),
        (6, "avc: denied"),
        (7, "7 label u:r:kernel_t:s0 1"),
        (7, f"7 label {LABEL} 0"),
    ],
)
def test_an_answer_to_another_question_is_an_error(number: int, instead: str) -> None:
    with pytest.raises(WitnessError):
        _read(_signed([*GOOD[:number], instead, *GOOD[number + 1 :]]))


def test_a_sweep_may_end_with_the_call_that_prepares_it() -> None:
    lines = [*GOOD[:6], "6 job 0 11 0.13", GOOD[7]]
    assert _read(_signed(lines)).answers[6] == (Stretch(1, 1, Answer(0, 13)),)


@pytest.mark.parametrize("end", ["8 end 0", "7 end 1", "8 end 1 "])
def test_another_end_is_an_error(end: str) -> None:
    with pytest.raises(WitnessError):
        _read(_signed(GOOD, end))


def test_a_damaged_report_is_an_error() -> None:
    lines = _signed(GOOD)
    lines[6] = lines[6].replace(b"*3", b"*4").replace(b"*7", b"*6")
    with pytest.raises(WitnessError, match="checksum"):
        _read(lines)


def test_what_comes_after_the_end_is_an_error() -> None:
    with pytest.raises(WitnessError, match="after its end"):
        _read([*_signed(GOOD), b"9 more\n"])
