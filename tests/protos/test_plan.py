from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lapis.output import UnusablePaths, make_folders, write
from lapis.plan import Plan, plan
from lapis.sources import Found, Sources

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


def ordered(inputs: list[str]) -> list[str]:
    return [str(job.source) for job in made(inputs, "out")]


def test_frames_keep_their_order_and_their_names() -> None:
    frames = [f"frame{number}.png" for number in (1, 2, 9, 10, 11, 100)]
    touch(*(f"video/{name}" for name in sorted(frames)), "video/extra/frame3.png", "video/cover.png")
    jobs = list(made(["video"], "out"))
    assert [str(job.source) for job in jobs] == [
        "video/cover.png",
        *(f"video/{name}" for name in frames),
        "video/extra/frame3.png",
    ]
    assert [str(job.target) for job in jobs[1:7]] == [f"out/{name}" for name in frames]


def test_inputs_are_done_in_the_order_in_which_they_are_named() -> None:
    touch("z.png", "b/1.png", "a/2.png")
    assert ordered(["z.png", "b", "a"]) == ["z.png", "b/1.png", "a/2.png"]


def test_number_at_the_end_of_a_name_is_no_extension() -> None:
    touch("frame.0001", "frame.0002")
    assert targets(["frame.0001", "frame.0002"], "out") == {
        "frame.0001": "out/frame.0001.png",
        "frame.0002": "out/frame.0002.png",
    }


def test_list_names_pictures_and_folders_as_if_they_were_inputs() -> None:
    touch("a.png", "pics/b.png", "pics/deep/c.png", "d.png")
    Path("list.txt").write_text("d.png\n\npics\r\na.png")
    jobs = list(made([], "out", listed="list.txt"))
    assert [(str(job.source), str(job.target)) for job in jobs] == [
        ("d.png", "out/d.png"),
        ("pics/b.png", "out/b.png"),
        ("pics/deep/c.png", "out/deep/c.png"),
        ("a.png", "out/a.png"),
    ]


def test_list_may_name_the_translations() -> None:
    touch("a.png", "b.png")
    Path("list.txt").write_text("a.png\tx/one.png\nb.png\ttwo\n")
    jobs = list(made([], "out", listed="list.txt"))
    assert [str(job.target) for job in jobs] == ["out/x/one.png", "out/two.png"]


def test_names_in_a_list_may_have_any_bytes() -> None:
    name = os.fsdecode(b"caf\xe9 \xf0\x9f\x90\x88.png")
    touch(name)
    Path("list.txt").write_bytes(os.fsencode(name) + b"\n")
    [job] = made([], "out", listed="list.txt")
    assert (str(job.source), job.target.name) == (name, name)


@pytest.mark.parametrize("name", ["/elsewhere/a.png", "../a.png", "x/../../a.png"])
def test_list_cannot_lead_out_of_the_output(name: str) -> None:
    touch("a.png")
    Path("list.txt").write_text(f"a.png\t{name}\n")
    with pytest.raises(UnusablePaths, match="does not lie below the output"):
        made([], "out", listed="list.txt")


def test_list_that_cannot_be_read_is_named() -> None:
    with pytest.raises(UnusablePaths, match=r"cannot read the list none\.txt: No such file or directory"):
        made([], "out", listed="none.txt")


def test_what_a_list_names_and_is_not_there_is_named() -> None:
    Path("list.txt").write_text("".join(f"{number}.png\n" for number in range(25)))
    with pytest.raises(UnusablePaths, match=r"no such file or folder: 0.png, .*, 9.png and 15 more$"):
        made([], "out", listed="list.txt")


def test_empty_list_is_named() -> None:
    touch("list.txt")
    Path("list.txt").write_text("\n")
    with pytest.raises(UnusablePaths, match=r"no pictures .*in list.txt$"):
        made([], "out", listed="list.txt")


def test_pictures_keep_their_names_relative_to_the_root() -> None:
    touch("data/x/1.png", "data/y/1.png", "data/z/deep/2.png")
    Path("list.txt").write_text(f"data/x/1.png\n{Path('data/y/1.png').resolve()}\n")
    jobs = list(made(["data/z"], "out", listed="list.txt", root="data"))
    assert [str(job.target) for job in jobs] == ["out/z/deep/2.png", "out/x/1.png", "out/y/1.png"]


def test_picture_that_lies_elsewhere_than_the_root_is_named() -> None:
    touch("a.png", "data/b.png")
    with pytest.raises(UnusablePaths, match=r"a\.png does not lie in --root data"):
        made(["data/b.png", "a.png"], "out", root="data")


def test_resumed_run_skips_what_is_done_and_nothing_half_done() -> None:
    touch("pics/a.png", "pics/b.png", "pics/c.png", "pics/x/d.png", "out/a.png", "out/x/d.png", "out/.c0ffee.part")
    Path("out/b.png").touch()  # a name without bytes, as after a loss of power
    jobs = made(["pics"], "out", resume=True)
    assert ([str(job.source) for job in jobs], len(jobs), jobs.skipped) == (["pics/b.png", "pics/c.png"], 2, 2)
    assert [str(folder) for folder in jobs.folders()] == ["out"]


def test_resumed_run_that_has_nothing_left_is_empty() -> None:
    touch("pics/a.png", "out/a.png")
    jobs = made(["pics"], "out", resume=True)
    assert (list(jobs), len(jobs), jobs.skipped) == ([], 0, 1)


def test_resumed_run_still_refuses_what_cannot_be() -> None:
    touch("a.png", "x/a.jpg", "out/a.png")
    with pytest.raises(UnusablePaths, match=r"same file: a\.png, x/a\.jpg -> out/a\.png$"):
        made(["a.png", "x"], "out", resume=True)


def test_plan_stays_as_it_was_made() -> None:
    touch("pics/a.png", "pics/b.png")
    jobs = made(["pics"], "out")
    touch("pics/c.png")
    assert len(jobs) == len(list(jobs)) == len(list(jobs)) == 2


class Many(Sources):
    """As many pictures as wanted, without a file for each."""

    def __init__(self, count: int) -> None:
        super().__init__([], None, Path("out"), None)
        self.count = count

    def __iter__(self) -> Iterator[Found]:
        for number in range(self.count):
            yield Found(f"pics/{number}.png", f"{number}.png", f"{number:012}")


def test_memory_does_not_grow_with_the_pictures() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        jobs = plan(Many(count), Path("out"), ".png")
        assert sum(1 for _ in jobs) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(10_000) < peak(1_000) + 2_500_000  # in a list, 9,000 more jobs are twice as much


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
