"""The page through Streamlit's own test harness, and what starts it."""

import io
import json
import logging
import re
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gliomask import EngineError, InputError, Segmenter, Volume
from gliomask.engine import OnnxEngine

pytest.importorskip("streamlit", reason="needs Streamlit: pip install 'gliomask[app]'")

import streamlit as st
from dicom_files import write_series
from heads import centred, scan
from streamlit.testing.v1 import AppTest

from gliomask.app import launch, pictures, server, settings, shared, wording
from gliomask.app.case import Found
from gliomask.app.keep import Keep
from gliomask.report import overlay

REPOSITORY = Path(__file__).parents[1]
LESION = 6  # the phantom's slice with most tumour
PATIENCE_S = 120.0
Upload = tuple[str, bytes, str]


@pytest.fixture(scope="module", autouse=True)
def fresh() -> Iterator[None]:
    """Start and end without what other tests have loaded; within this module the model is loaded once, as for visitors."""
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture
def page() -> AppTest:
    return opened()


def opened(script: Path = server.PAGE, **address: str) -> AppTest:
    page = AppTest.from_file(str(script), default_timeout=120)
    for name, value in address.items():
        page.query_params[name] = value
    return page.run()


@pytest.fixture
def predictions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each call of the network adds its number of slices."""
    calls: list[int] = []
    run = OnnxEngine.run

    def counted(self: OnnxEngine, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        calls.append(len(slices))
        return run(self, slices)

    monkeypatch.setattr(OnnxEngine, "run", counted)
    return calls


def file(pixels: NDArray[np.generic], name: str) -> Upload:
    """Return an image as the file that a browser sends."""
    content = io.BytesIO()
    kind = Image.registered_extensions()[Path(name).suffix]
    Image.fromarray(pixels).save(content, format=kind)
    return name, content.getvalue(), f"image/{kind.lower()}"


def settled(page: AppTest) -> AppTest:
    """Return the page once nothing is left to be done."""
    assert not page.exception
    deadline = time.monotonic() + PATIENCE_S
    while page.session_state["desk"].busy:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return page.run()


def upload(page: AppTest, *files: Upload) -> AppTest:
    return settled(page.file_uploader[0].set_value(list(files)).run())


def headings(page: AppTest) -> list[str]:
    return [unescaped(heading.value) for heading in (*page.header, *page.subheader)]


def downloads(page: AppTest) -> list[str]:
    return [button.label for button in page.get("download_button")]


def unescaped(text: str) -> str:
    return text.replace("\\", "")


def shown(page: AppTest) -> str:
    """Return all text of the page."""
    groups = (page.title, page.header, page.subheader, page.markdown, page.caption, page.info, page.warning, page.error)
    return "\n".join(unescaped(element.value) for group in groups for element in group)


class TestPage:
    def test_says_what_it_is_before_anything_is_uploaded(self, page: AppTest) -> None:
        assert not page.exception
        assert shown(page).count("not a medical device") == 1
        assert "Nothing leaves" in shown(page)
        assert "200 MB" in shown(page)
        assert headings(page) == []
        assert not page.radio and not page.slider

    def test_sample_is_answered_in_a_sentence_with_measurements_and_files(self, page: AppTest) -> None:
        page.button(key="try").click().run()
        settled(page)
        assert not page.exception
        assert (
            headings(page)[0].startswith("Abnormality found: ") and " ml in " in headings(page)[0] and " of 12 slices" in headings(page)[0]
        )
        assert "Measurements" in headings(page)
        assert list(page.table[0].value.columns) == ["Lesion", "Volume", "Diameters, mm", "Side", "Slices", "Peak probability"]
        assert downloads(page) == ["Everything (ZIP)", "Report (HTML)", "Mask (NIfTI)", "Overlay (PNG)", "Measurements (CSV)"]
        assert shown(page).count("not a medical device") == 1
        assert page.query_params["case"] == "sample"

    def test_single_slice_is_shown_as_two_pictures_with_alternative_texts(self, page: AppTest, phantom: Volume) -> None:
        upload(page, file(phantom.voxels[LESION], "head.png"))
        assert not page.exception
        assert headings(page)[0].startswith("Abnormality found: ") and "pixels" in headings(page)[0]
        assert [image.proto.imgs[0].alt for image in page.image] == [
            "FLAIR slice in grey",
            "FLAIR slice with the marked region outlined in amber",
        ]
        assert [slider.label for slider in page.slider] == ["Threshold", "Opacity", "Grey window"]
        assert "Mask (PNG)" in downloads(page)
        assert "The file holds no spacing: sizes are in pixels." in shown(page)

    def test_plain_pictures_say_whose_outline_is_whose(self, page: AppTest, phantom: Volume) -> None:
        upload(
            page,
            file(phantom.voxels[LESION], "head.png"),
            file((phantom.voxels[LESION, ..., 1] > 100).astype(np.uint8) * 255, "head_mask.png"),
        )
        legends = {
            "Outline": ["Marked by the model", "Reference", "Both outlines"],
            "Probability": ["Probability 0.05 to 1"],
            "Nothing": [],
        }
        for mark, told in legends.items():
            page.segmented_control(key="mark").set_value(mark).run()
            assert [text for part in page.get("html") for text in re.findall(r"</i>([^<]+)", part.proto.body)] == told

    @pytest.mark.parametrize("known", [False, True])
    def test_sides_are_told_where_they_are_known(self, page: AppTest, known: bool) -> None:
        shape = (96, 112, 8)
        affine = centred(np.diag([-2.0, -2.0, 10.0]), shape, (0.0, 0.0, 10.0))
        head = scan(affine, shape).transpose(2, 1, 0)
        image = nibabel.Nifti1Image(head, affine) if known else nibabel.Nifti1Image(head, None)
        image.header.set_zooms((2.0, 2.0, 10.0))
        upload(page, ("flair.nii", image.to_bytes(), "application/octet-stream"))
        (viewer,) = page.get("component_instance")
        assert json.loads(viewer.proto.json_args)["oriented"] is known
        assert ("left from right" in shown(page)) is not known

    @pytest.mark.parametrize("mark", ["Fill", "Probability", "Uncertainty", "Nothing"])
    def test_each_way_to_show_it(self, page: AppTest, phantom: Volume, mark: str) -> None:
        upload(page, file(phantom.voxels[LESION], "head.png"))
        before = [image.proto.imgs[0].url for image in page.image]
        page.segmented_control(key="mark").set_value(mark).run()
        after = [image.proto.imgs[0].url for image in page.image]
        assert not page.exception
        assert after[0] == before[0] and after[1] != before[1]

    def test_upload_leaves_the_field_empty_for_more(self, page: AppTest, phantom: Volume) -> None:
        upload(page, file(phantom.voxels[LESION], "head.png"))
        assert page.file_uploader[0].value == []
        upload(page, file(phantom.voxels[5], "other.png"))
        assert len(page.radio[0].options) == 2


class TestSettings:
    def test_nothing_is_predicted_again_for_another_threshold_opacity_window_view_or_session(
        self, page: AppTest, phantom: Volume, predictions: list[int]
    ) -> None:
        slices = [file(phantom.voxels[z, 8:], f"head_{z}.png") for z in (5, 6, 7)]
        upload(page, *slices)
        assert predictions == [3]
        before = headings(page)[0]
        page.slider(key="threshold").set_value(0.99).run()
        assert headings(page)[0] != before
        page.toggle(key="all lesions").set_value(True).run()
        page.slider(key="opacity").set_value(80).run()
        page.slider(key="window").set_value((10, 60)).run()
        page.segmented_control(key="view").set_value("Coronal").run()
        assert not page.exception
        upload(opened(), *slices)
        assert predictions == [3]

    def test_lesions_that_are_left_out_come_back_at_a_click(self, page: AppTest, phantom: Volume) -> None:
        upload(page, *(file(plane, f"head_{z}.png") for z, plane in enumerate(phantom.voxels, start=1)))
        page.slider(key="threshold").set_value(0.1).run()
        assert "left out of the mask" in shown(page)
        lesions = len(page.table[0].value)
        page.toggle(key="all lesions").set_value(True).run()
        assert len(page.table[0].value) > lesions
        assert "left out of the mask" not in shown(page)

    def test_where_no_agreement_is_expected_the_page_says_why(self, page: AppTest, phantom: Volume) -> None:
        upload(page, file(phantom.voxels[LESION], "head.png"))
        expected, unknown = "expected agreement with an expert", "Expected agreement with an expert not known: "
        assert expected in headings(page)[0] and unknown not in shown(page)
        page.slider(key="threshold").set_value(0.9).run()
        assert expected not in headings(page)[0] and f"{unknown}the threshold is not the model's own, 0.4" in shown(page)
        page.slider(key="threshold").set_value(1.0).run()
        assert headings(page)[0] == "No abnormality found in one slice" and unknown not in shown(page)

    def test_default_threshold_is_the_models_own(self, page: AppTest, segmenter: Segmenter, phantom: Volume) -> None:
        upload(page, file(phantom.voxels[LESION], "head.png"))
        assert page.slider(key="threshold").value == segmenter.model.threshold

    def test_settings_stay_while_a_case_without_result_is_looked_at(self, page: AppTest, phantom: Volume) -> None:
        upload(page, file(phantom.voxels[LESION], "head.png"), ("notes.png", b"none", "image/png"))
        page.slider(key="threshold").set_value(0.9).run()
        page.radio[0].set_value("2").run()
        assert not page.slider
        page.radio[0].set_value("1").run()
        assert page.slider(key="threshold").value == 0.9


class TestSeveralCases:
    def test_each_case_has_a_line_and_the_address_keeps_the_chosen_one(self, page: AppTest, phantom: Volume) -> None:
        upload(page, file(phantom.voxels[LESION], "one.png"), file(phantom.voxels[0], "two.png"))
        assert [unescaped(option) for option in page.radio[0].options] == ["one", "two"]
        assert any(caption.value.startswith("2 cases") for caption in page.caption)
        page.radio[0].set_value("2").run()
        assert page.query_params["case"] == "2"
        page.query_params["case"] = "1"  # as the back button does
        page.run()
        assert page.radio[0].value == "1"

    def test_scan_that_is_added_is_shown(self, page: AppTest, phantom: Volume) -> None:
        settled(page.button(key="try").click().run())
        alone = file(phantom.voxels[LESION], "other_mask.png")
        upload(page, alone, file(phantom.voxels[LESION], "head.png"), file(phantom.voxels[0], "two.png"))
        assert unescaped(page.radio[0].options[2]) == "head"
        assert page.radio[0].value == page.query_params["case"] == "2"
        assert headings(page)[0].startswith("Abnormality found")
        page.radio[0].set_value("sample").run()
        upload(page, alone)
        assert "Give the scan with it" in shown(page)

    def test_broken_file_does_not_spoil_the_other(self, page: AppTest, phantom: Volume) -> None:
        upload(page, ("notes.png", b"no image at all", "image/png"), file(phantom.voxels[LESION], "head.png"))
        assert page.radio[0].value == "2"
        page.radio[0].set_value("1").run()
        assert [unescaped(w.value) for w in page.warning] == ["notes.png: not an image that can be read. Expected PNG, JPEG or TIFF."]

    def test_refused_case_says_what_was_seen_and_can_be_forced(self, page: AppTest) -> None:
        upload(page, file(np.full((64, 64), 90, np.uint8), "grey.png"))
        assert headings(page) == ["This does not look like a brain FLAIR"]
        assert "What was seen" in shown(page) and "of one shade" in shown(page)
        page.button(key="force 1").click().run()
        settled(page)
        assert headings(page)[0] in ("No abnormality found in one slice",) or headings(page)[0].startswith("Abnormality found")
        assert "of one shade" in shown(page)

    def test_series_can_be_chosen_where_none_says_that_it_is_flair(self, page: AppTest, tmp_path: Path) -> None:
        grey = np.full((5, 40, 40), 90, np.uint16)
        files = write_series(tmp_path, grey, SeriesDescription="cerebrum", SeriesNumber=4, EchoTime=None, InversionTime=None)
        upload(page, *((file.name, file.read_bytes(), "application/dicom") for file in files))
        assert "No series of this study says that it is FLAIR." in shown(page) and "--" not in shown(page)
        (choice,) = page.selectbox
        assert choice.options == ["series 4 'cerebrum', 5 slices"]
        settled(choice.select_index(0).run())
        assert headings(page) == ["This does not look like a brain FLAIR"] and page.selectbox[0].label == choice.label

    def test_result_that_had_to_make_room_comes_back_by_itself(
        self, phantom: Volume, monkeypatch: pytest.MonkeyPatch, predictions: list[int]
    ) -> None:
        kept: Keep[Found] = Keep(1, 2**30)
        monkeypatch.setattr(shared, "results", lambda: kept)
        page = opened()
        upload(page, file(phantom.voxels[LESION], "one.png"), file(phantom.voxels[LESION - 1], "two.png"))
        for number in "121":
            before = len(predictions)
            settled(page.radio[0].set_value(number).run())
            assert headings(page)[0].startswith("Abnormality found")
        assert len(predictions) == before + 1

    def test_volume_of_slices_can_be_taken_apart_and_cases_removed(self, page: AppTest, phantom: Volume) -> None:
        upload(page, *(file(phantom.voxels[z, :, 8:], f"head_{z}.png") for z in (5, 6)))
        assert "sizes are in pixels, and the distance of slices is assumed for the picture." in shown(page)
        page.button(key="apart 1").click().run()
        settled(page)
        assert [unescaped(option) for option in page.radio[0].options] == ["head_5", "head_6"]
        page.button(key="remove 2").click().run()
        assert not page.radio and not page.exception

    def test_link_to_a_case_of_another_session_says_so(self) -> None:
        page = opened(case="17")
        assert "gone with its session" in shown(page)

    def test_link_to_the_sample_brings_it_along(self) -> None:
        assert headings(settled(opened(case="sample")))[0].startswith("Abnormality found")


class TestShared:
    def test_model_is_loaded_once_for_all_sessions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loads = []
        load = Segmenter.__init__

        def counted(self: Segmenter, *args: Any, **options: Any) -> None:
            loads.append(self)
            load(self, *args, **options)

        shared.workroom.clear()
        monkeypatch.setattr(Segmenter, "__init__", counted)
        for _ in range(2):
            settled(opened(case="sample"))
        assert len(loads) == 1

    def test_model_that_cannot_be_loaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: Any, **options: Any) -> None:
            raise EngineError("model_x: missing.")

        shared.workroom.clear()
        monkeypatch.setattr("gliomask.segmenter.Segmenter", fail)
        page = opened()
        deadline = time.monotonic() + PATIENCE_S
        while not page.error and time.monotonic() < deadline:
            page.run()
        assert [unescaped(error.value) for error in page.error] == ["model_x: missing."]
        shared.workroom.clear()


class TestPictures:
    def test_screen_shrinks_what_is_larger_and_leaves_the_rest(self) -> None:
        assert pictures.for_screen(np.zeros((2048, 1024), np.uint8)).shape == (1024, 512)
        assert pictures.for_screen(np.zeros((20, 10), np.uint8)).shape == (20, 10)

    def test_grey_window_stretches_what_lies_within(self) -> None:
        assert pictures.windowed(np.array([[0, 50, 100, 150, 255]], np.uint8), (50, 150)).tolist() == [[0, 0, 127, 255, 255]]

    def test_reference_is_outlined_in_blue_over_what_is_marked(self) -> None:
        chance = np.zeros((9, 9), np.float32)
        chance[2:7, 2:7] = 0.9
        reference = np.zeros((9, 9), np.bool_)
        reference[2:7, 1:6] = True
        for mark, inside in (("fill", (255, 176, 0)), ("outline", (80, 80, 80))):
            drawn = pictures.marked_slice(np.full((9, 9), 80, np.uint8), chance > 0.5, chance, reference, mark, 1.0)
            assert tuple(drawn[4, 1]) == overlay.REFERENCE
            assert tuple(drawn[4, 6]) == (255, 176, 0)
            assert tuple(drawn[2, 4]) == pictures.BOTH
            assert tuple(drawn[4, 4]) == inside
            assert tuple(drawn[0, 0]) == (80, 80, 80)


class TestWording:
    @pytest.mark.parametrize(
        ("url", "sentence"),
        [
            ("http://localhost:8501", "Nothing leaves this computer."),
            ("http://127.0.0.1:8501/", "Nothing leaves this computer."),
            ("http://[::1]:8501/", "Nothing leaves this computer."),
            (None, "Nothing leaves the computer that runs this page."),
            ("https://head.example.org/app", "Images go to head.example.org, which runs this page, and nowhere else."),
        ],
    )
    def test_privacy_depends_on_where_the_page_is(self, url: str | None, sentence: str) -> None:
        assert wording.privacy(url) == sentence

    def test_name_cannot_make_the_page_fetch_an_image(self) -> None:
        assert wording.plain("![x](http://a.b/c.png)") == r"\!\[x\]\(http\:\/\/a\.b\/c\.png\)"

    def test_about_names_licence_and_training(self, segmenter: Segmenter) -> None:
        rows = dict(wording.about(segmenter.model))
        assert "CC BY-NC-SA 4.0" in rows["Licence of the weights"]
        assert "TCGA-LGG" in rows["Trained on"]


class TestRoot:
    def test_script_of_a_checkout_shows_the_page(self) -> None:
        page = settled(opened(REPOSITORY / "app.py", case="sample"))
        assert not page.exception
        assert headings(page)[0].startswith("Abnormality found")
        assert sys.path.count(str(REPOSITORY / "src")) == 1

    def test_its_configuration_is_that_of_the_command(self) -> None:
        def flat(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
            for name, value in table.items():
                if isinstance(value, dict):
                    yield from flat(value, f"{above}{name}.")
                else:
                    yield f"{above}{name}", value

        written = dict(flat(tomllib.loads((REPOSITORY / ".streamlit" / "config.toml").read_text(encoding="utf-8"))))
        assert written == {**settings.STREAMLIT, "browser.serverAddress": "localhost"}


class TestLaunch:
    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """Return a list that gets Streamlit's arguments in place of a start."""
        from streamlit import net_util
        from streamlit.web import cli

        starts: list[list[str]] = []
        monkeypatch.setattr(cli, "main", lambda arguments, **_: starts.append(arguments))
        monkeypatch.setattr(net_util, "get_external_ip", net_util.get_external_ip)
        return starts

    def test_serves_the_page_on_that_host_and_port_without_statistics(self, started: list[list[str]], free_port: Callable[[], int]) -> None:
        port = free_port()
        assert launch("localhost", port, browser=False) == 0
        (arguments,) = started
        assert arguments[:2] == ["run", str(server.PAGE)]
        assert {"--server.address=localhost", f"--server.port={port}", "--server.headless=true"} <= set(arguments)
        assert {"--browser.gatherUsageStats=false", "--server.maxUploadSize=200", "--server.fileWatcherType=none"} <= set(arguments)

    @pytest.mark.parametrize(
        ("host", "variable", "restricted"),
        [
            ("localhost", None, True),
            ("0.0.0.0", None, False),  # other machines ask for it by names that nobody knows here
            ("localhost", "STREAMLIT_SERVER_BASE_URL_PATH", False),
            ("localhost", "STREAMLIT_SERVER_ALLOWED_HOSTS", False),
        ],
    )
    def test_answers_to_names_of_this_machine_alone_and_is_steered_by_no_other_site(
        self,
        started: list[list[str]],
        free_port: Callable[[], int],
        monkeypatch: pytest.MonkeyPatch,
        host: str,
        variable: str | None,
        restricted: bool,
    ) -> None:
        if variable is not None:
            monkeypatch.setenv(variable, "tools")
        port = free_port()
        launch(host, port, browser=False)
        (arguments,) = started
        assert f"--client.allowedOrigins=http://localhost:{port}" in arguments
        allowed = [argument.partition("=")[2] for argument in arguments if argument.startswith("--server.allowedHosts=")]
        assert allowed == (["localhost", "127.0.0.1", "::1"] if restricted else [])

    @pytest.mark.parametrize(("below", "path"), [("", ""), ("/tools/gliomask/", "/tools/gliomask")])
    def test_the_address_told_is_the_one_served(
        self, started: list[list[str]], free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch, below: str, path: str
    ) -> None:
        monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", below)
        told: list[str] = []
        port = free_port()
        launch("localhost", port, browser=False, announce=told.append)
        assert told == [f"http://localhost:{port}{path}"]

    def test_the_address_told_of_an_ipv6_host_is_one_that_opens(
        self, started: list[list[str]], free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "check_free", lambda host, port: None)  # the machine may have no IPv6
        told: list[str] = []
        port = free_port()
        launch("::1", port, browser=False, announce=told.append)
        assert told == [f"http://[::1]:{port}"]

    def test_asks_nobody_for_its_public_address(self, started: list[list[str]], free_port: Callable[[], int]) -> None:
        from streamlit import net_util

        launch("localhost", free_port(), browser=False)
        assert net_util.get_external_ip() is None

    def test_only_of_a_visitor_who_left_in_the_middle_of_an_upload_nothing_is_logged(
        self, started: list[list[str]], free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
    ) -> None:
        from starlette.requests import ClientDisconnect

        launch("localhost", free_port(), browser=False)
        log = logging.getLogger("uvicorn.error")
        for error in (ClientDisconnect(), OSError()):
            log.error("Exception in ASGI application", exc_info=error)
        log.error("something else")
        assert [record.exc_info and type(record.exc_info[1]) for record in caplog.records] == [OSError, None]

    def test_without_streamlit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "find_spec", lambda name: None if name == "streamlit" else util.find_spec(name))
        with pytest.raises(EngineError, match=r"pip install 'gliomask\[app\]'"):
            launch()

    def test_port_that_is_taken(self, started: list[list[str]]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(InputError, match=f"Cannot listen on localhost:{port} .*--port {port % 65000 + 1}"):
                launch("localhost", port)
        assert started == []

    @pytest.mark.parametrize(("host", "port"), [("no such host.invalid", 8501), ("localhost", 70000)])
    def test_place_that_does_not_exist(self, started: list[list[str]], host: str, port: int) -> None:
        with pytest.raises(InputError, match="Choose another"):
            launch(host, port)
        assert started == []

    def test_importing_it_loads_no_streamlit(self) -> None:
        code = "import sys, gliomask.app; raise SystemExit('streamlit' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_page_is_there_before_anything_heavy_is_loaded(self) -> None:
        """The first paint waits for what the page's modules import; this part alone was twice as long with nibabel in it."""
        heavy = [
            "nibabel",
            "pydicom",
            "highdicom",
            "scipy",
            "onnxruntime",
            "matplotlib",
            "pandas",
            "gliomask.report",
            "gliomask.segmentation",
            "gliomask.segmenter",
        ]
        code = f"import sys, gliomask.app.page; print(*(name for name in {heavy} if name in sys.modules))"
        assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() == []

    @pytest.fixture
    def free_port(self) -> Callable[[], int]:
        def find() -> int:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port: int = probe.getsockname()[1]
            return port

        return find
