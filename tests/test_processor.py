"""What the process may use of the processor."""

from pathlib import Path

import pytest

from gliomask import processor


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixteen processors, and control groups that the test writes."""
    monkeypatch.setattr(processor, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(processor, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    return tmp_path


def test_without_control_groups_the_threads_are_the_processors_of_the_process(limited: Path) -> None:
    assert processor.available_threads() == 16


@pytest.mark.parametrize(
    ("limit", "threads"), [("150000 100000", 2), ("20000 100000", 1), ("max 100000", 16), ("nonsense", 16), ("5 0", 16)]
)
def test_a_container_s_quota_bounds_the_threads(limited: Path, limit: str, threads: int) -> None:
    write(limited / "own", "0::/\n")
    write(limited / "cgroup" / "cpu.max", limit + "\n")
    assert processor.available_threads() == threads


def test_the_quota_of_a_group_above_holds_too(limited: Path) -> None:
    write(limited / "own", "0::/batch/job_17/step_0\n")
    write(limited / "cgroup" / "batch" / "job_17" / "cpu.max", "400000 100000\n")
    write(limited / "cgroup" / "batch" / "job_17" / "step_0" / "cpu.max", "max 100000\n")
    assert processor.available_threads() == 4


def test_version_1_control_groups_bound_the_threads(limited: Path) -> None:
    write(limited / "own", "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n")
    write(limited / "cgroup" / "cpu,cpuacct" / "job" / "cpu.cfs_quota_us", "300000\n")
    write(limited / "cgroup" / "cpu,cpuacct" / "job" / "cpu.cfs_period_us", "100000\n")
    write(limited / "cgroup" / "cpu,cpuacct" / "cpu.cfs_quota_us", "-1\n")
    write(limited / "cgroup" / "cpu,cpuacct" / "cpu.cfs_period_us", "100000\n")
    assert processor.available_threads() == 3


def test_a_path_of_the_host_s_leads_to_the_container_s_own_group(limited: Path) -> None:
    write(limited / "own", "0::/system.slice/docker-abc.scope\n")
    write(limited / "cgroup" / "cpu.max", "200000 100000\n")
    assert processor.available_threads() == 2


def test_a_dot_product_that_only_the_system_tells_of_is_found(limited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gliomask.processor.DOT_PRODUCTS", ())
    monkeypatch.setattr("gliomask.processor.CPUINFO", limited / "cpuinfo")
    assert not processor.has_fast_int8()
    for flags, fast in (("fma avx2", False), ("avx2 avx_vnni sha", True)):
        write(limited / "cpuinfo", f"processor : 0\nflags : {flags}\n")
        assert processor.has_fast_int8() is fast
