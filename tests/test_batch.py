"""Cases that are worked on at a time."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gliomask import Segmenter
from gliomask.batch import Outcome, _overlapping, segment_cases
from gliomask.io import find_cases


def test_outcomes_come_in_order_and_few_cases_are_worked_on_at_a_time() -> None:
    cases: list[Any] = [SimpleNamespace(name=str(n)) for n in range(9)]
    both, most, running, lock = threading.Barrier(2, timeout=20), 0, 0, threading.Lock()

    def work(case: Any) -> Outcome:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        if int(case.name) < 2:
            both.wait()  # the first two have to be at work together
        with lock:
            running -= 1
        return Outcome(case.name, "done", {})

    outcomes = list(_overlapping(work, cases, 2, threading.Event()))
    assert [outcome.case for outcome in outcomes] == [case.name for case in cases]
    assert most == 2


def test_a_run_that_ends_stops_what_is_being_predicted(
    tmp_path: Path, write_slices: Any, monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter
) -> None:
    for name in "abc":
        write_slices(tmp_path / "in" / name)
    going_on, begun = threading.Event(), threading.Event()
    segment = Segmenter.segment

    def slow(self: Segmenter, case: Any, progress: Any, **options: Any) -> Any:
        if case.name != "a":
            begun.set()
            assert going_on.wait(20)
        return segment(self, case, progress, **options)

    monkeypatch.setattr(Segmenter, "segment", slow)
    monkeypatch.setattr("gliomask.engine.available_threads", lambda: 2)
    outcomes = segment_cases(find_cases([tmp_path / "in"]), segmenter, tmp_path / "out")
    assert next(outcomes).case == "a"
    assert begun.wait(20)
    threading.Timer(0.2, going_on.set).start()
    outcomes.close()  # type: ignore[attr-defined]
    assert [path.parent.name for path in tmp_path.glob("out/*/result.json")] == ["a"]
    assert (tmp_path / "out" / "cases.csv").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("threshold", "status", "reason"), [(None, "kept", ""), (0.9, "failed", "holds a result made with --threshold 0.9")]
)
def test_a_case_that_another_run_finishes_meanwhile_is_kept_if_it_is_the_same(
    tmp_path: Path, write_slices: Any, monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter, threshold: Any, status: str, reason: str
) -> None:
    cases, segment = find_cases([write_slices(tmp_path / "in" / "a")]), Segmenter.segment

    def overtaken(self: Segmenter, *arguments: Any) -> Any:
        monkeypatch.setattr(Segmenter, "segment", segment)
        assert [other.status for other in segment_cases(cases, Segmenter(threshold=threshold), tmp_path / "out")] == ["done"]
        return segment(self, *arguments)

    monkeypatch.setattr(Segmenter, "segment", overtaken)
    (outcome,) = segment_cases(cases, segmenter, tmp_path / "out")
    assert outcome.status == status and reason in outcome.reason
