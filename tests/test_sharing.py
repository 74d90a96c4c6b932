"""Work shared out among copies of this process: the same results in the same order, whatever becomes of a copy."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from labelgen import sharing
from labelgen.conditions import Condition, boolean, both, if_then_else, negation
from labelgen.sharing import LEAST, Ahead, shared_out

ITEMS = range(4 * LEAST + 3)


@pytest.fixture(autouse=True)
def processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of three processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})


def nothing_is_left() -> bool:
    """Whether this process has no child."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def in_a_copy(does: Callable[[], object]) -> Callable[[int], int]:
    """A function that says the item again, and in a copy of this process does something at the end of its share."""
    here = os.getpid()

    def function(item: int) -> int:
        if os.getpid() != here and item + 3 not in ITEMS:
            does()
        return item

    return function


def test_results_are_in_order_and_of_several_processes() -> None:
    results = shared_out(lambda item: (item, os.getpid()), ITEMS)
    assert [item for item, _ in results] == list(ITEMS)
    assert len({process for _, process in results}) == 3
    assert nothing_is_left()


def test_what_is_too_little_to_share_is_done_here() -> None:
    assert shared_out(lambda _: os.getpid(), ITEMS[: 2 * LEAST - 1]) == [os.getpid()] * (2 * LEAST - 1)


def no_process() -> int:
    raise BlockingIOError


def test_where_no_process_can_be_started_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", no_process)
    assert shared_out(lambda _: os.getpid(), ITEMS) == [os.getpid()] * len(ITEMS)


@pytest.mark.parametrize(
    "does",
    [
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: os.kill(os.getpid(), signal.SIGINT),
        lambda: os._exit(0),
        lambda: 1 / 0,
    ],
    ids=["killed", "interrupted", "ended", "failed"],
)
def test_what_a_copy_does_not_hand_back_is_worked_out_here(does: Callable[[], object]) -> None:
    assert shared_out(in_a_copy(does), ITEMS) == list(ITEMS)
    assert nothing_is_left()


@pytest.mark.parametrize("missing", [1, sharing._LENGTH, 1000])
def test_part_of_what_a_copy_hands_back_is_nothing(monkeypatch: pytest.MonkeyPatch, missing: int) -> None:
    whole = sharing._Copy._read
    monkeypatch.setattr(sharing._Copy, "_read", lambda copy: [b"".join(whole(copy))[:-missing]])
    assert shared_out(lambda item: item, ITEMS) == list(ITEMS)


def test_an_error_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        shared_out(lambda item: 1 / (len(ITEMS) - 1 - item), ITEMS)
    assert nothing_is_left()


def test_no_copy_outlives_an_interruption() -> None:
    here = os.getpid()

    def function(item: int) -> int:
        if os.getpid() != here:
            time.sleep(60)
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        shared_out(function, ITEMS)
    assert time.monotonic() - started < 30
    assert nothing_is_left()


def test_conditions_of_a_copy_are_those_of_this_process() -> None:
    def condition(item: int) -> object:
        return both(boolean(f"a{item}"), negation(boolean(f"b{item}")))

    for item, handed in enumerate(shared_out(condition, ITEMS)):
        assert handed is if_then_else(boolean(f"a{item}"), negation(boolean(f"b{item}")), False)


def test_what_is_worked_out_ahead_is_of_another_process_and_ends_with_it() -> None:
    here = os.getpid()
    ahead = Ahead(os.getpid)
    assert ahead.result() != here
    del ahead
    assert nothing_is_left()


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT])
def test_what_is_not_handed_back_of_it_is_worked_out_here(signal_: signal.Signals) -> None:
    here = os.getpid()

    def function() -> dict[str, int]:
        if os.getpid() != here:
            os.kill(os.getpid(), signal_)
        return {}

    assert Ahead(function).result() == {}
    assert nothing_is_left()


def test_what_nobody_asks_for_is_ended() -> None:
    started = time.monotonic()
    Ahead(lambda: time.sleep(60))
    assert nothing_is_left()
    assert time.monotonic() - started < 30


def test_on_one_processor_nothing_is_done_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert Ahead(os.getpid).result() == os.getpid()


def test_conditions_of_copies_that_met_the_booleans_in_another_order_are_the_same_object() -> None:
    def met(item: int) -> tuple[Condition, Condition]:
        if not item:  # which is done before there are copies
            return True, False
        names = ("copied_one", "copied_two") if item % 3 else ("copied_two", "copied_one")
        one, two = map(boolean, names)
        return both(one, two), if_then_else(one, two, negation(two))

    assert len({(id(one), id(two)) for one, two in shared_out(met, ITEMS)[1:]}) == 1
