"""The page through Streamlit's own test harness, and what it is made of."""

import io
import socket
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gliomask import EngineError, InputError, Segmenter, Volume
from gliomask.engine import OnnxEngine

pytest.importorskip("streamlit", reason="needs Streamlit: pip install 'gliomask[app]'")

import streamlit as st
from streamlit.testing.v1 import AppTest

from gliomask.app import cases, launch, pictures, server, settings, wording

REPOSITORY = Path(__file__).parents[1]
LESION, NEIGHBOUR = 6, 5  # slices of the phantom
Upload = tuple[str, bytes, str]


@pytest.fixture(autouse=True)
def no_cache() -> Iterator[None]:
    st.cache_data.clear()
    st.cache_resource.clear()
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_file(str(server.PAGE), default_timeout=120).run()


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


def file(pixels: NDArray[np.generic] | list[NDArray[np.generic]], name: str) -> Upload:
    """Return an image as the file that a browser sends."""
    first, *others = [Image.fromarray(page) for page in (pixels if isinstance(pixels, list) else [pixels])]
    content = io.BytesIO()
    kind = Image.registered_extensions()[Path(name).suffix]
    first.save(content, format=kind, **({"save_all": True, "append_images": others} if others else {}))
    return name, content.getvalue(), f"image/{kind.lower()}"


def upload(page: AppTest, *files: Upload) -> AppTest:
    return page.file_uploader[0].set_value(list(files)).run()


def headings(page: AppTest) -> list[str]:
    return [heading.value for heading in (*page.header, *page.subheader)]


def downloads(page: AppTest) -> list[str]:
    return [button.label for button in page.get("download_button")]


def unescaped(text: str) -> str:
    return text.replace("\\", "")


def shown(page: AppTest) -> str:
    """Return all text of the page but for the model's description."""
    groups = (page.title, page.header, page.subheader, page.markdown, page.caption, page.info, page.warning, page.error)
    return "\n".join(unescaped(element.value) for group in groups for element in group)


class TestPage:
    def test_says_what_it_is_before_anything_is_uploaded(self, page: AppTest) -> None:
        assert not page.exception
        assert shown(page).count("not a medical device") == 1
        assert "Nothing leaves" in shown(page)
        assert "64 MB" in shown(page) and "16 megapixels" in shown(page)
        assert headings(page) == []

    def test_sample_is_segmented(self, page: AppTest) -> None:
        page.button(key="try").click().run()
        assert not page.exception
        assert headings(page)[0].startswith("Tumour found in ")
        assert downloads(page) == ["Mask (PNG)", "Overlay (PNG)", "All masks (ZIP)"]

    def test_starts_at_the_slice_with_most_tumour(self, page: AppTest, phantom: Volume, segmenter: Segmenter) -> None:
        page.button(key="try").click().run()
        areas = np.count_nonzero(segmenter.segment(phantom).mask, axis=(1, 2))
        assert page.slider[0].label == "Slice"
        assert page.slider[0].value == int(np.argmax(areas)) + 1
        assert f"{areas.max():,} pixels" in shown(page)

    def test_slice_is_shown_as_image_mask_and_overlay_with_alternative_texts(self, page: AppTest, phantom: Volume) -> None:
        upload(page, file(phantom.voxels[LESION], "head.png"))
        assert not page.exception
        assert len(headings(page)) == 1 and "umour found" in headings(page)[0]
        assert [slider.label for slider in page.slider] == ["Threshold", "Opacity of the overlay"]
        assert downloads(page) == ["Mask (PNG)", "Overlay (PNG)"]
        assert [image.proto.imgs[0].caption for image in page.image] == ["FLAIR", "Mask", "Overlay"]
        assert [image.proto.imgs[0].alt for image in page.image] == [
            "FLAIR slice in grey",
            "Mask of the slice: marked pixels white on black",
            "FLAIR slice with the marked pixels outlined in amber",
        ]

    @pytest.mark.parametrize("name", ["head.png", "head.jpg", "head.jpeg", "head.tif", "head.tiff"])
    def test_reads_each_kind_of_file(self, page: AppTest, phantom: Volume, name: str) -> None:
        upload(page, file(phantom.voxels[LESION], name))
        assert not page.exception and not page.warning
        assert len(headings(page)) == 1

    def test_pages_of_a_tiff_are_a_volume(self, page: AppTest, phantom: Volume) -> None:
        upload(page, file([phantom.voxels[0], phantom.voxels[LESION]], "head.tif"))
        assert not page.exception
        assert (page.slider[0].label, page.slider[0].min, page.slider[0].max) == ("Slice", 1, 2)
        assert "2 slices" in headings(page)[0]
        assert downloads(page)[-1] == "All masks (ZIP)"

    def test_volume_replaced_by_a_shorter_one_of_the_same_name(self, page: AppTest, phantom: Volume) -> None:
        upload(page, file(list(phantom.voxels[3:9]), "head.tif"))
        page.slider[0].set_value(6).run()
        upload(page, file(list(phantom.voxels[5:7]), "head.tif"))
        assert not page.exception
        assert page.slider[0].max == 2

    def test_upload_takes_the_place_of_the_sample(self, page: AppTest, phantom: Volume) -> None:
        page.button(key="try").click().run()
        upload(page, file(phantom.voxels[LESION], "head.png"))
        assert not page.radio
        assert "256 x 256 pixels." in shown(page)

    def test_sample_joins_uploads_and_is_shown(self, page: AppTest, phantom: Volume) -> None:
        upload(page, file(phantom.voxels[LESION], "head.png"))
        page.button(key="try").click().run()
        assert len(page.radio[0].options) == 2
        assert page.radio[0].value == cases.SAMPLE_NAME


class TestSettings:
    def test_threshold_cuts_again_without_predicting_again(self, page: AppTest, predictions: list[int]) -> None:
        page.button(key="try").click().run()
        before, calls = shown(page), list(predictions)
        assert sum(calls) == 12
        page.slider(key="threshold").set_value(0.99).run()
        assert shown(page) != before
        assert predictions == calls

    def test_default_threshold_is_the_models_own(self, page: AppTest, segmenter: Segmenter) -> None:
        page.button(key="try").click().run()
        assert page.slider(key="threshold").value == segmenter.model.threshold

    def test_opacity_and_slice_do_not_predict_again(self, page: AppTest, predictions: list[int]) -> None:
        page.button(key="try").click().run()
        calls = list(predictions)
        page.slider(key="opacity").set_value(80).run()
        page.slider[0].set_value(1).run()
        assert not page.exception
        assert predictions == calls

    def test_same_file_in_another_session_is_not_predicted_again(self, phantom: Volume, predictions: list[int]) -> None:
        for _ in range(2):
            page = AppTest.from_file(str(server.PAGE), default_timeout=120).run()
            upload(page, file(phantom.voxels[LESION], "head.png"))
        assert predictions == [1]

    def test_model_is_loaded_once_for_all_sessions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loads = []
        load = Segmenter.__init__

        def counted(self: Segmenter, *args: Any, **options: Any) -> None:
            loads.append(self)
            load(self, *args, **options)

        monkeypatch.setattr(Segmenter, "__init__", counted)
        for _ in range(2):
            AppTest.from_file(str(server.PAGE), default_timeout=120).run().button(key="try").click().run()
        assert len(loads) == 1


class TestSeveralFiles:
    def test_each_case_has_a_line(self, page: AppTest, phantom: Volume) -> None:
        upload(page, file(phantom.voxels[LESION], "one.png"), file(np.zeros((64, 48), np.uint8), "two.png"))
        assert not page.exception
        assert [unescaped(option) for option in page.radio[0].options] == ["one.png", "two.png"]
        assert "of 2 cases" in headings(page)[0]
        page.radio[0].set_value("two.png").run()
        assert "48 x 64 pixels" in shown(page)

    def test_broken_file_does_not_spoil_the_other(self, page: AppTest, phantom: Volume) -> None:
        upload(page, ("notes.png", b"no image at all", "image/png"), file(phantom.voxels[LESION], "head.png"))
        assert not page.exception
        assert page.radio[0].value == "head.png"
        assert headings(page)[0].endswith("; 1 could not be segmented")
        page.radio[0].set_value("notes.png").run()
        assert [unescaped(w.value) for w in page.warning] == ["notes.png: not an image that can be read. Expected PNG, JPEG or TIFF."]

    def test_same_name_twice_is_two_cases(self, page: AppTest, phantom: Volume) -> None:
        upload(page, file(phantom.voxels[LESION], "a.png"), file(phantom.voxels[NEIGHBOUR], "a.png"))
        assert [unescaped(option) for option in page.radio[0].options] == ["a.png", "a.png (2)"]

    def test_same_content_keeps_each_files_own_name(self, phantom: Volume, segmenter: Segmenter) -> None:
        one, two = (
            cases.segment_source(source, segmenter)
            for source in cases.sources_of([Sent(*file(phantom.voxels[LESION], name)[:2]) for name in ("a.png", "b.png")], False)
        )
        assert isinstance(one, cases.Case) and isinstance(two, cases.Case)
        assert (one.result.volume.slice_names, two.result.volume.slice_names) == (("a",), ("b",))

    def test_more_files_than_are_taken_are_counted(self, page: AppTest, phantom: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
        tiny = [file(np.full((8, 8), value, np.uint8), f"{value}.png") for value in range(settings.MAX_FILES + 2)]
        monkeypatch.setattr(OnnxEngine, "run", lambda self, slices: np.zeros(slices.shape[:3], np.float32))
        upload(page, *tiny)
        assert [w.value for w in page.warning] == [
            "Only the first 64 of 66 files are segmented. For more, use the command line: `gliomask segment`."
        ]
        assert len(page.radio[0].options) == settings.MAX_FILES


class TestWhatIsRefused:
    def refused(self, page: AppTest, *files: Upload) -> str:
        upload(page, *files)
        assert not page.exception
        assert headings(page) == []
        assert "Traceback" not in shown(page) and "/tmp" not in shown(page)
        return "\n".join(unescaped(warning.value) for warning in page.warning)

    def test_no_image(self, page: AppTest) -> None:
        assert self.refused(page, ("notes.png", b"hello", "image/png")).startswith("notes.png: not an image")

    def test_empty_file(self, page: AppTest) -> None:
        assert self.refused(page, ("empty.png", b"", "image/png")).startswith("empty.png: not an image")

    def test_cut_short(self, page: AppTest, phantom: Volume) -> None:
        name, content, kind = file(phantom.voxels[LESION], "half.png")
        assert self.refused(page, (name, content[: len(content) // 2], kind)).startswith("half.png: damaged or cut short")

    def test_too_many_pixels(self, page: AppTest) -> None:
        sentence = self.refused(page, file(np.zeros((4097, 4096), np.uint8), "vast.png"))
        assert sentence == "vast.png: too large (1 page(s) of 4096 x 4097 pixels). At most 16 megapixels are read of a file, 16 of a page."

    def test_reference_mask(self, page: AppTest) -> None:
        assert "a reference mask by its name" in self.refused(page, file(np.zeros((8, 8), np.uint8), "head_mask.png"))

    def test_every_file_has_its_sentence(self, page: AppTest) -> None:
        sentences = self.refused(page, ("a.png", b"1", "image/png"), ("b.png", b"2", "image/png")).splitlines()
        assert [sentence[:6] for sentence in sentences] == ["a.png:", "b.png:"]

    @pytest.mark.parametrize(
        ("error", "sentence"),
        [
            (RuntimeError("at /tmp/secret"), "head.png: could not be segmented (RuntimeError). Export it again as PNG, or report this."),
            (MemoryError(), "head.png: too large for this computer's memory."),
        ],
    )
    def test_unexpected_error(
        self, page: AppTest, phantom: Volume, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
    ) -> None:
        def fail(*args: Any, **options: Any) -> None:
            raise error

        monkeypatch.setattr(cases, "read_image", fail)
        assert self.refused(page, file(phantom.voxels[LESION], "head.png")) == sentence

    def test_model_that_cannot_be_loaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise EngineError("model_x: missing.")

        monkeypatch.setattr(cases, "Segmenter", fail)
        page = AppTest.from_file(str(server.PAGE), default_timeout=120).run()
        assert not page.exception
        assert [unescaped(error.value) for error in page.error] == ["model_x: missing."]


class Sent:
    """An uploaded file."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name, self._content = name, content

    def getvalue(self) -> bytes:
        return self._content


class TestPictures:
    def test_mask_is_png_of_0_and_255_at_the_slices_size(self) -> None:
        mask = np.zeros((5, 7), bool)
        mask[2, 3] = True
        image = Image.open(io.BytesIO(pictures.png(pictures.mask_pixels(mask))))
        assert (image.format, image.mode, image.size) == ("PNG", "L", (7, 5))
        assert np.array_equal(np.asarray(image), mask * np.uint8(255))

    def test_zip_holds_a_mask_for_each_slice(self, phantom: Volume, segmenter: Segmenter) -> None:
        result = segmenter.segment(phantom)
        with zipfile.ZipFile(io.BytesIO(pictures.masks_zip(result))) as archive:
            assert archive.namelist() == [f"phantom_{z}_mask.png" for z in range(1, 13)]
            masks = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()]
        assert np.array_equal(np.stack(masks) == 255, result.mask)

    def test_screen_shrinks_what_is_larger_and_leaves_the_rest(self) -> None:
        assert pictures.for_screen(np.zeros((2048, 1024), np.uint8)).shape == (1024, 512)
        assert pictures.for_screen(np.zeros((20, 10), np.uint8)).shape == (20, 10)


class TestWording:
    @pytest.mark.parametrize(
        ("areas", "sentence"),
        [
            ([3], "Tumour found"),
            ([0], "No tumour found"),
            ([0, 3, 1], "Tumour found in 2 of 3 slices"),
            ([0, 0], "No tumour found in 2 slices"),
        ],
    )
    def test_headline(self, areas: list[int], sentence: str) -> None:
        assert wording.headline(areas) == sentence

    @pytest.mark.parametrize(
        ("areas", "count", "sentence"),
        [
            ([[0], [0, 2]], 2, "Tumour found in 1 of 2 cases"),
            ([[0], [0]], 2, "No tumour found in 2 of 2 cases"),
            ([[1]], 3, "Tumour found in 1 of 3 cases; 2 could not be segmented"),
        ],
    )
    def test_summary(self, areas: list[list[int]], count: int, sentence: str) -> None:
        assert wording.summary(areas, count) == sentence

    def test_details_do_not_call_the_highest_probability_that_of_a_tumour(self, segmenter: Segmenter, phantom: Volume) -> None:
        result = segmenter.segment(phantom)
        result.probability[:] = 0.0
        result.probability[2, :64, :32] = 0.753
        sentence = wording.details(result, [0, 0, 2048, *[0] * 9], 2)
        assert sentence == (
            "Marked: **2,048 pixels** in slice 3. In slice 3: **2,048 pixels** (3.1% of the slice). "
            "Highest probability of a pixel: **0.75** (not the probability of a tumour)."
        )
        assert "**19 pixels** (under 0.1% of the slice)" in wording.details(result, [0, 0, 19, *[0] * 9], 2)
        assert "An empty mask does not mean that there is no tumour" in wording.details(result, [0] * 12, 2)

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

    @pytest.mark.parametrize(
        ("sent", "cleaned"),
        [
            ("a.png", "a.png"),
            ("../../etc/a.png", "a.png"),
            ("C:\\scans\\a.png", "a.png"),
            ('a<b>"c"\n|?*.png', "a_b__c_ ___.png"),
            ("", "image"),
            ("x" * 300 + ".png", "x" * 116 + ".png"),
        ],
    )
    def test_names_are_cleaned(self, sent: str, cleaned: str) -> None:
        assert wording.clean_name(sent) == cleaned

    def test_name_cannot_make_the_page_fetch_an_image(self) -> None:
        assert wording.plain("![x](http://a.b/c.png)") == r"\!\[x\]\(http\:\/\/a\.b\/c\.png\)"

    def test_about_names_licence_and_training(self, segmenter: Segmenter) -> None:
        rows = dict(wording.about(segmenter.model))
        assert "CC BY-NC-SA 4.0" in rows["Licence of the weights"]
        assert "TCGA-LGG" in rows["Trained on"]

    def test_scores_are_shown_as_recorded(self, segmenter: Segmenter) -> None:
        row = {"patients": 14, "mean_dice": 0.8812, "mean_dice_95": [0.8, 0.925], "median_dice": 0.9, "marked_clean_slices_share": 0.0312}
        held_out = {"whole volumes": row, "slice by slice": row | {"marked_clean_slices_share": None}}
        model = replace(segmenter.model, scores={"held_out": held_out}, training={"chosen_on_held_out": True})
        assert wording.scores(model).splitlines() == [
            "- **Scores, whole volumes:** mean Dice 0.881 (95% interval 0.800 to 0.925), median 0.900, "
            "over 14 patients that it was not trained on; something marked in 3.1% of the slices without tumour",
            "- **Scores, slice by slice:** mean Dice 0.881 (95% interval 0.800 to 0.925), median 0.900, "
            "over 14 patients that it was not trained on",
            "- **Mind:** when to stop the training was chosen on the same patients, which flatters these scores",
        ]

    def test_scores_that_are_not_recorded_are_not_shown(self, segmenter: Segmenter) -> None:
        assert wording.scores(replace(segmenter.model, scores={})) == ""


class TestRoot:
    def test_script_of_a_checkout_shows_the_page(self) -> None:
        page = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=120).run()
        page.button(key="try").click().run()
        assert not page.exception
        assert headings(page)[0].startswith("Tumour found")
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
        assert {"--browser.gatherUsageStats=false", "--server.maxUploadSize=64", "--server.fileWatcherType=none"} <= set(arguments)

    def test_asks_nobody_for_its_public_address(self, started: list[list[str]], free_port: Callable[[], int]) -> None:
        from streamlit import net_util

        launch("localhost", free_port(), browser=False)
        assert net_util.get_external_ip() is None

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

    @pytest.fixture
    def free_port(self) -> Callable[[], int]:
        def find() -> int:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port: int = probe.getsockname()[1]
            return port

        return find
