import io
import sys
import time

import pytest

from gliomask import commands
from gliomask.training.progress import Clock, Pace


def test_time_left_goes_by_the_pixels_that_are_left() -> None:
    # 4 steps of 2 slices of 10 x 10, then 4 of 20 x 20: 800 pixels and 3200. The clock starts after the first step.
    time_s = 50.0
    clock = Clock([10] * 4 + [20] * 4, batch_size=2, now=lambda: time_s)
    assert clock.after(1) is None
    time_s = 52.0
    assert clock.after(2) == Pace(share=0.1, slices_per_s=1.0, elapsed_s=2.0, left_s=36.0)  # 200 pixels took 2 s, and 3600 are left
    time_s = 56.0
    assert clock.after(4) == Pace(share=0.2, slices_per_s=1.0, elapsed_s=6.0, left_s=32.0)
    time_s = 64.0  # 800 pixels in 8 s: as fast as before, with a quarter of the slices
    assert clock.after(5) == Pace(share=0.4, slices_per_s=0.25, elapsed_s=14.0, left_s=24.0)
    time_s = 88.0
    assert clock.after(8) == Pace(share=1.0, slices_per_s=0.25, elapsed_s=38.0, left_s=0.0)


def test_a_resumed_run_is_timed_from_where_it_went_on() -> None:
    time_s = 0.0
    clock = Clock([10, 10, 20, 20], batch_size=1, may_end_earlier=True, now=lambda: time_s)
    assert clock.after(3) is None
    assert clock.after(3) is None  # the first step's epoch is over, and nothing is known yet
    time_s = 8.0
    assert clock.after(4) == Pace(share=1.0, slices_per_s=0.125 * 1, elapsed_s=8.0, left_s=0.0, may_end_earlier=True)


@pytest.mark.parametrize(
    ("left_s", "words"),
    [(12.4, "12 s"), (89.0, "89 s"), (90.0, "2 min"), (7000.0, "117 min"), (7200.0, "2 h 0 min"), (100_000.0, "27 h 47 min")],
)
def test_time_left_is_told_as_people_do(left_s: float, words: str) -> None:
    assert str(Pace(0.5, 3.0, 10.0, left_s)) == f"3.0 slices/s  about {words} left"
    assert str(Pace(0.5, 3.0, 10.0, left_s, may_end_earlier=True)) == f"3.0 slices/s  at most {words} left"


def test_a_log_gets_one_line_before_the_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    with commands._training_progress() as (_, show):
        show(Pace(1.0, 2.0, 61.0, 0.0))  # its epoch's line is next
    with commands._training_progress() as (report, show):
        for second in range(0, 300, 7):
            show(Pace(second / 600, 2.0, float(second), 600.0 - second))
        report("epoch 1/2")
    told = capsys.readouterr()
    assert told.out.splitlines() == ["2.0 slices/s  about 9 min left", "epoch 1/2"]
    assert told.err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with commands._training_progress() as (report, show):
        report("88 patients")
        assert "%" not in terminal.getvalue()
        time.sleep(0.2)  # a bar is drawn ten times a second at most
        show(Pace(0.25, 2.0, 100.0, 300.0))
        report("epoch 1/4")
    assert " 25%|" in terminal.getvalue() and "2.0 slices/s  about 5 min left" in terminal.getvalue()
    assert capsys.readouterr().out.splitlines() == ["88 patients", "epoch 1/4"]
