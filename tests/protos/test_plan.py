from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lapis.output import UnusablePaths, make_folders, write
from lapis.plan import Plan, plan
from lapis.sources import Sources

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, so that paths in tests and in messages are short."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"picture")


def made(
    inputs: list[str], output: str, *, listed: str | None = None, root: str | None = None, **options: bool
) -> Plan:
    sources = Sources(map(Path, inputs), listed and Path(listed), Path(output), root and Path(root))
    return plan(sources, Path(output), ".png", **options)


def targets(inputs: list[str], output: str, extension: str = ".png", **options: bool) -> dict[str, str]:
    sources = Sources(map(Path, inputs), None, Path(output), None)
    jobs = plan(sources, Path(output), extension, **options)
    return {str(job.source): str(job.target) for job in jobs}


def test_one_picture_to_a_file() -> None:
    touch("cat.jpg")
    assert targets(["cat.jpg"], "out/Cat.PNG") == {"cat.jpg": "out/Cat.PNG"}


def test_one_picture_to_a_folder_that_is_not_there_yet() -> None:
    touch("cat.jpg")
    assert targets(["cat.jpg"], "out", ".webp") == {"cat.jpg": "out/cat.webp"}


def test_folder_named_like_a_picture_is_a_folder() -> None:
    touch("cat.jpg")
    Path("out.png").mkdir()
    assert targets(["cat.jpg"], "out.png") == {"cat.jpg": "out.png/cat.png"}


def test_folders_are_searched_recursively_and_keep_their_shape() -> None:
    touch("pics/b.PNG", "pics/a.jpeg", "pics/deep/er/c.webp", "pics/notes.txt", "pics/.hidden.png", "pics/.git/d.png")
    assert targets(["pics"], "out", ".jpg") == {
        "pics/a.jpeg": "out/a.jpg",
        "pics/b.PNG": "out/b.jpg",
        "pics/deep/er/c.webp": "out/deep/er/c.jpg",
    }


def test_dots_in_a_name_stay() -> None:
    touch("cat.v2.final.png")
    assert targets(["cat.v2.final.png"], "out", ".jpg") == {"cat.v2.final.png": "out/cat.v2.final.jpg"}


def test_earlier_answers_inside_an_input_folder_are_no_inputs() -> None:
    touch("pics/a.jpg", "pics/out/old.png")
    assert targets(["pics"], "pics/out") == {"pics/a.jpg": "pics/out/a.png"}


def test_named_file_is_taken_whatever_its_extension() -> None:
    touch("drawing")
    assert targets(["drawing"], "out") == {"drawing": "out/drawing.png"}


def test_picture_named_twice_is_sent_once() -> None:
    touch("pics/a.jpg")
    assert targets(["pics", "pics/a.jpg"], "out") == {"pics/a.jpg": "out/a.png"}


def refused(message: str, inputs: list[str], output: str, *, overwrite: bool = False) -> None:
    before = sorted(Path().rglob("*"))
    with pytest.raises(UnusablePaths, match=message):
        targets(inputs, output, overwrite=overwrite)
    assert sorted(Path().rglob("*")) == before


def test_all_missing_inputs_are_named() -> None:
    touch("a.png")
    refused("no such file or folder: b.png, c$", ["a.png", "b.png", "c"], "out")


def test_folder_without_pictures_is_refused() -> None:
    touch("pics/notes.txt")
    refused("no pictures .*in pics$", ["pics"], "out")


def test_many_pictures_do_not_fit_into_one_file() -> None:
    touch("a.png", "b.png")
    refused("--output out.png is one file, but there are 2 pictures", ["a.png", "b.png"], "out.png")


def test_pictures_that_would_become_the_same_file_are_named() -> None:
    touch("a.png", "a.jpg", "x/a.webp", "b.png")
    refused("same file: a.png, a.jpg, x/a.webp -> out/a.png$", ["a.png", "a.jpg", "x", "b.png"], "out")


def test_existing_outputs_are_named_unless_they_may_be_replaced() -> None:
    touch("a.png", "b.png", "out/a.png")
    refused(r"exist already \(--overwrite replaces them, --resume leaves them\): out/a.png$", ["a.png", "b.png"], "out")
    assert targets(["a.png", "b.png"], "out", overwrite=True) == {"a.png": "out/a.png", "b.png": "out/b.png"}


@pytest.mark.parametrize("output", [".", "../pics/sub/..", "link"])
def test_inputs_are_never_overwritten(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    touch("pics/a.png", "pics/sub/b.txt")
    monkeypatch.chdir("pics")
    Path("link").symlink_to(".")
    refused("never overwritten: ", ["a.png"], output, overwrite=True)


def test_long_lists_are_cut() -> None:
    names = [f"{number:02}.png" for number in range(12)]
    touch(*names, *(f"out/{name}" for name in names))
    refused("out/09.png and 2 more$", names, "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder_is_named() -> None:
    touch("pics/a.png", "pics/secret/b.png")
    Path("pics/secret").chmod(0)
    with pytest.raises(UnusablePaths, match="cannot read the folder pics/secret: Permission denied"):
        targets(["pics"], "out")


def test_output_folder_that_cannot_be_made_is_named() -> None:
    touch("file")
    with pytest.raises(UnusablePaths, match="cannot make the folder file/out: Not a directory"):
        make_folders([Path("file/out")])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_output_folder_that_cannot_be_written_to_is_named() -> None:
    Path("out").mkdir(mode=0o500)
    with pytest.raises(UnusablePaths, match="cannot write to the folder out"):
        make_folders([Path("out")])


def test_failed_write_leaves_the_old_file_and_nothing_else(folder: Path) -> None:
    Path("out.png").mkdir()
    with pytest.raises(OSError, match=r"out\.png"):
        write(Path("out.png"), b"new")
    assert [path.name for path in folder.iterdir()] == ["out.png"]


def test_written_file_is_whole_and_readable_by_the_usual_people() -> None:
    touch("ordinary")
    write(Path("out.png"), b"new")
    assert Path("out.png").read_bytes() == b"new"
    assert Path("out.png").stat().st_mode == Path("ordinary").stat().st_mode


names = st.sampled_from(["a.png", "a.jpg", "b.png", "x/a.png", "x/b.jpg", "x/y/a.webp", "c.txt", "out/a.png"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(files=st.sets(names, min_size=1), overwrite=st.booleans())
def test_a_plan_loses_no_picture_and_no_file(
    tmp_path_factory: pytest.TempPathFactory, files: set[str], overwrite: bool
) -> None:
    root = tmp_path_factory.mktemp("plan")
    touch(*(str(root / name) for name in files))
    try:
        jobs = list(plan(Sources([root], None, root / "out", None), root / "out", ".png", overwrite=overwrite))
    except UnusablePaths:
        return
    sources = {str(job.source.relative_to(root)) for job in jobs}
    assert sources == {name for name in files if name != "c.txt" and not name.startswith("out/")}
    assert len({job.target for job in jobs}) == len(jobs)
    assert not {job.target for job in jobs} & {job.source for job in jobs}
    assert overwrite or not any(job.target.exists() for job in jobs)
