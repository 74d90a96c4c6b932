"""Answers as stretches of values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgen.witness.answers import OK, Answer, Stretch, WitnessError, join, parse, together, total
from labelgen.witness.calls import spell, values

REFUSED = Answer(1, 13)
ANSWERS = st.sampled_from([OK, REFUSED, Answer(0, 97)])


def _spelled(answers: list[Answer]) -> list[str]:
    return ["ok" if not answer.errno else f"{answer.step}.{answer.errno}" for answer in answers]


def test_stretches_skip_what_was_not_asked() -> None:
    assert parse(["ok*2", "1.13*2"], 2, values([1, 2, 7, 9])) == (
        Stretch(1, 2, OK),
        Stretch(7, 7, REFUSED),
        Stretch(9, 9, REFUSED),
    )


@pytest.mark.parametrize("token", ["", "ok*0", "fine", "1.", "1.0", "-1.13", "2.13", "ok ok", "1.13*", "1.99999"])
def test_what_is_no_answer_is_an_error(token: str) -> None:
    with pytest.raises(WitnessError):
        parse([token], 2, (range(1, 9),))


def test_more_answers_than_values_are_an_error() -> None:
    with pytest.raises(WitnessError, match="more values"):
        parse(["ok*9"], 1, (range(1, 9),))


def test_values_are_spelled_as_ranges() -> None:
    assert spell(values([3, 1, 2, 9, 2])) == "1-3,9"


@given(st.lists(ANSWERS, min_size=1, max_size=50), st.data())
def test_rows_laid_over_one_another_meet_each_value_once(answers: list[Answer], data: st.DataObject) -> None:
    size = len(answers)
    numbers = data.draw(st.lists(st.integers(1, 99), min_size=size, max_size=size, unique=True))
    others = [data.draw(st.lists(ANSWERS, min_size=size, max_size=size)) for _ in range(2)]
    asked = values(numbers)
    rows = [parse(_spelled(each), 2, asked) for each in (answers, *others)]
    met = [(value, found) for low, high, found in together(*rows) for value in range(low, high + 1)]
    assert met == list(zip(sorted(numbers), zip(answers, *others)))
    assert total(rows[0]) == size and join(rows[0]) == rows[0]


def test_a_row_that_ends_early_ends_them_all() -> None:
    assert list(together([(1, 2, "a")], [(1, 9, "b")])) == [(1, 2, ("a", "b"))]
