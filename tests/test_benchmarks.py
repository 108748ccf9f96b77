"""That the benchmarks run and say what they are for. No time is asserted: other tests run beside these."""

import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyperf
import pytest

from benchmarks import install, network, pipeline, rounds, scaling, startup, training
from benchmarks.cli import BENCHMARKS, EXAMPLES, main, make_parser
from benchmarks.cohort import first_slices, head
from benchmarks.effort import Effort
from benchmarks.errors import BenchmarkError, NotMeasuredError
from benchmarks.peak import contenders as peaks
from benchmarks.report import Report, significant
from benchmarks.rounds import Call, Contender, Measured, measure
from benchmarks.work import onnx_gflop, unet_gflop
from gliomask.models import DEFAULT, find_model


@pytest.fixture(autouse=True)
def plain_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give new processes no main module to run again: Streamlit's page tests leave their script in its place."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))


ONCE = Effort(rounds=3, turn_s=0.0, pause_s=0.0, at_once=True)

Run = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a benchmark in its tiny form and returns its JSON and what it printed."""

    def run(name: str, *options: str) -> tuple[dict[str, Any], str]:
        assert main([name, "--tiny", "--output", str(tmp_path / "found.json"), *options]) == 0, capsys.readouterr().err
        return json.loads((tmp_path / "found.json").read_text()), capsys.readouterr().out

    return run


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have contenders built and called once in this process, which loads TensorFlow once where workers would each."""

    def measure_here(contenders: Sequence[Contender], effort: Effort) -> dict[str, Measured]:
        return {contender.name: called_once(contender) for contender in contenders}

    for module in (network, pipeline, training):
        monkeypatch.setattr(module, "measure", measure_here)
        monkeypatch.setattr(module, "limit_threads", lambda threads: None)


def called_once(contender: Contender) -> Measured:
    try:
        contender.build(*contender.arguments)()
    except (NotMeasuredError, ModuleNotFoundError) as error:
        return rounds.absent(error)
    return Measured(pyperf.Benchmark([pyperf.Run([0.5], metadata={"name": contender.name}, collect_metadata=False)]), 1.0, 100.0)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines() if line.startswith("|")]


@pytest.mark.usefixtures("one_process")
def test_the_network_beside_its_peers_and_the_peak(run: Run) -> None:
    pytest.importorskip("keras")
    found, printed = run("network")
    table, peak = found["tables"]
    rows = {(row["network"], row["precision"]): row for row in table["rows"]}
    ours, student = rows["gliomask, ONNX Runtime", "float32"], rows[network.STUDENT, "float32"]
    assert ours["slices_per_s"] == student["slices_per_s"] == 2.0  # half a second each, as the fixture says
    assert ours["times_student"] == 1.0
    assert ours["share_of_peak_percent"] == pytest.approx(100 * ours["gflop_per_s"] / peak["rows"][0]["gflop_per_s"])
    buda = rows[network.BUDA, "bfloat16"]
    assert buda["slices_per_s"] or buda["note"] in (
        "not measured: install torch",
        "not measured: this processor has no bfloat16 instructions",
    )
    assert [row["precision"] for row in peak["rows"]] == ["float32", "bfloat16", "int8"]
    assert "slices/s" in printed and "GFLOP/s" in printed and "share of its precision's peak, %" in printed


@pytest.mark.usefixtures("one_process")
def test_files_to_masks_beside_the_peers(run: Run) -> None:
    pytest.importorskip("keras")
    found, _ = run("pipeline")
    rows = {row["what"]: row for row in found["tables"][0]["rows"]}
    assert rows["gliomask, ONNX Runtime, float32"]["slices"] == rows[pipeline.COLD]["slices"] == 6
    assert rows[pipeline.STUDENT]["slices"] == 3
    assert rows[pipeline.COLD]["slices_per_s"] > 0 and rows[pipeline.COLD]["memory_mb"] > 20
    assert rows[pipeline.COLD]["times_student"] == pytest.approx(rows[pipeline.COLD]["slices_per_s"] / 2.0)


@pytest.mark.usefixtures("one_process")
def test_training_with_input_and_step_apart(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras")
    pytest.importorskip("cv2")
    from small_networks import normalising

    from gliomask.training.recipes import RECIPES

    monkeypatch.setitem(RECIPES, "fast", replace(RECIPES["fast"], network=normalising))
    found, _ = run("training")
    rows = found["tables"][0]["rows"]
    assert [(row["recipe"], row["part"], row["slices_per_s"]) for row in rows] == [
        ("fast", training.INPUT, 2.0),
        ("fast", training.STEP, 2.0),
    ]


def test_the_crops_are_those_of_the_recipes() -> None:
    pytest.importorskip("keras")
    from gliomask.training.recipes import RECIPES

    assert {name: tuple(stage.size for stage in recipe.stages) for name, recipe in RECIPES.items()} == training.CROPS


def test_startup_of_commands_and_page(run: Run) -> None:
    found, printed = run("startup")
    rows = {row["what"]: row for row in found["tables"][0]["rows"]}
    assert rows["gliomask --help"]["goal_s"] == 0.2
    assert rows["import gliomask"]["times_interpreter"] > 0
    answers, _, ready, settled = (row for what, row in rows.items() if what.startswith("gliomask app"))
    assert ready["note"].startswith("not measured") or settled["seconds"] > ready["seconds"] > answers["seconds"] > 0
    assert len(found["pyperf"]["benchmarks"]) == sum(not row["note"] for row in rows.values())
    assert "| from a cold start to | time, s |" in printed


def test_memory_of_a_command_by_results_that_do_not_name_the_machine(run: Run) -> None:
    found, _ = run("memory")
    for row in found["tables"][0]["rows"]:
        assert row["slices"] == 2 and 20 < row["memory_mb"] < 2000
    assert found["machine"]["processor"] and found["machine"]["threads"] >= 1
    assert not re.search(rf"hostname|\b{re.escape(platform.node())}\b", json.dumps(found))


def test_scaling_with_its_plot(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found, _ = run("scaling", "--plot", str(tmp_path / "scaling.svg"))
    by_slices, by_size, by_threads = (table["rows"] for table in found["tables"])
    assert [row["slices"] for row in by_slices] == [1, 3]
    assert all(row["seconds"] == pytest.approx(row["slices"] / row["slices_per_s"]) for row in by_slices)
    assert [row["size"] for row in by_size] == [128]
    assert [(row["what"], row["threads"], row["times_one"]) for row in by_threads] == [("the network", 1, 1.0), ("files to masks", 1, 1.0)]
    assert "<svg" in (tmp_path / "scaling.svg").read_text()


def test_packages_are_counted_with_their_byte_code(tmp_path: Path) -> None:
    for name, size in (("Large", 2_000_000), ("small", 1000)):
        package, facts = tmp_path / name, tmp_path / f"{name}-1.0.dist-info"
        (package / "__pycache__").mkdir(parents=True)
        facts.mkdir()
        (package / "code.py").write_bytes(b"#" * size)
        (package / "__pycache__" / "code.cpython-311.pyc").write_bytes(b"\0" * 500)
        (package / "__pycache__" / "codes.cpython-311.pyc").write_bytes(b"\0" * 500)  # of another module
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (facts / "RECORD").write_text(f"{name}/code.py,,\n{name}/gone.py,,\n")
    assert install.sizes_mb(tmp_path) == {"large": pytest.approx(2.0005), "small": pytest.approx(0.0015)}
    assert install.on_disk_mb(tmp_path) >= 2.001


def test_environments_and_packages_become_two_tables() -> None:
    environments, packages = install.tables({"": ({"numpy": 40.0, "tiny": 0.1}, 41.0), "app": ({"numpy": 40.0, "streamlit": 30.0}, 72.0)})
    assert cells(environments.as_markdown())[2:] == [
        ["gliomask", "2", "40.1", "41.0", "250"],
        ["gliomask[app]", "2", "70.0", "72.0", "700"],
    ]
    assert cells(packages.as_markdown())[2:] == [
        ["numpy", "40.0", "40.0"],
        ["streamlit", "–", "30.0"],  # noqa: RUF001 - the dash of an empty cell
        ["1 packages under 0.5 MB together", "0.1", "0.0"],
    ]


def waiting(seconds: float) -> Call:
    return lambda: time.sleep(seconds)


def missing() -> Call:
    raise ModuleNotFoundError(name="nonexistent.part")


def failing() -> Call:
    raise ValueError("no such thing")


def test_contenders_take_turns_in_processes_of_their_own() -> None:
    found = measure([Contender("short", waiting, (0.01,), 5), Contender("long", waiting, (0.03,), 5), Contender("absent", missing)], ONCE)
    assert found["absent"].reason == "not measured: install nonexistent" and found["absent"].benchmark is None
    benchmark = found["short"].benchmark
    assert benchmark is not None and benchmark.get_nvalue() == 3 and benchmark.get_inner_loops() == 5
    assert min(benchmark.get_values()) >= 0.01 / 5
    assert found["short"].times_faster_than(found["short"]) == 1.0
    assert np.isnan(found["short"].times_faster_than(found["absent"]))
    assert found["long"].memory_mb > 1


def test_a_contender_that_fails_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="broken: ValueError: no such thing"):
        measure([Contender("broken", failing)], ONCE)


def test_work_of_a_unet_is_that_of_its_layers() -> None:
    # Two levels of 1 and 2 filters on 4 x 4 pixels: 3 x 3 convolutions above (1 to 1 twice), below (1 to 2, 2 to 2), the 2 x 2
    # transposed one (2 to 1 from 2 x 2 pixels), convolutions of the concatenated maps (2 to 1, 1 to 1), and the last of 1 x 1.
    multiplications = 16 * 9 * (1 + 1) + 4 * 9 * (2 + 4) + 4 * 4 * 2 + 16 * 9 * (2 + 1) + 16
    assert unet_gflop(1, size=4, depth=2, channels=1) == pytest.approx(2 * multiplications / 1e9)


def test_work_of_the_bundled_network() -> None:
    pytest.importorskip("onnx")
    assert onnx_gflop(find_model(DEFAULT).path) == pytest.approx(1.794, abs=1e-3)


def test_buda_has_its_published_size() -> None:
    pytest.importorskip("torch")
    from benchmarks.buda_unet import Unet

    assert sum(weights.numel() for weights in Unet().parameters()) == 7_763_041


def test_drawn_heads_are_as_long_and_as_large_as_asked_for() -> None:
    assert head(30).shape == (30, 256, 256, 3)
    assert head(2, size=64).shape == (2, 64, 64, 3)
    planes = head(30)
    assert len({plane.tobytes() for plane in planes}) == 30


def test_peers_get_whole_cases() -> None:
    cases = [[Path("a")] * 3, [Path("b")] * 3, [Path("c")] * 3]
    assert [len(case) for case in first_slices(cases, 7)] == [3, 3]
    assert [len(case) for case in first_slices(cases, 1)] == [3]


def test_three_digits_count() -> None:
    assert [significant(value) for value in (1234.5, 12.345, 0.012345, 0.0)] == ["1234", "12.3", "0.0123", "0"]


def test_the_peak_is_measured_in_every_precision() -> None:
    assert [contender.name for contender in peaks(1, tiny=True)] == ["peak float32", "peak bfloat16", "peak int8"]


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.NAME)
def test_every_benchmark_has_help_with_an_example_that_parses(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([benchmark.NAME, "--help"])
    example = EXAMPLES[benchmark.NAME]
    assert example in capsys.readouterr().out
    assert make_parser().parse_args(example.split()[3:]).run is benchmark.run


def test_the_load_is_that_of_before_the_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    load = [0.1]
    monkeypatch.setattr(os, "getloadavg", lambda: (load[0], 0.0, 0.0))

    def busy(_: Any) -> Report:
        load[0] = 2.0
        return Report("startup", "", ())

    monkeypatch.setattr(startup, "run", busy)
    assert main(["startup"]) == 0
    assert "other work" not in capsys.readouterr().out
    assert main(["startup"]) == 0
    assert "other work (load 2.0 before the start)" in capsys.readouterr().out


def test_what_cannot_be_measured_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["pipeline", "--dataset", str(tmp_path), "--peers"]) == 1
    assert "has no folders of slices" in capsys.readouterr().err


def test_scaling_shares_files_between_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "CASE", 2)
    folders = scaling._many(tmp_path / "five", 5)
    assert sorted(len(list(folder.iterdir())) for folder in folders) == [1, 2, 2]
