from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import ChangedMeanwhile, Manifest, MissingInput


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Yield a bucket on a local HTTP server with S3's API."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL_S3": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="lake-of-tests")
        yield "s3://lake-of-tests/prefix"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    return Lake(root=str(tmp_path) if request.param == "folder" else request.getfixturevalue("bucket"))


def _publish(lake: Lake, content: str, week: str | None = "2016-05-16", name: str = "things") -> str:
    with lake.staging() as staged:
        (staged / "part").mkdir()
        (staged / "part" / "a.txt").write_text(content)
        (staged / "b.txt").write_text("always the same")
        return lake.publish(name, week, staged, inputs={"origin": "x"}, attributes={"rows": 2}).digest


def _read(lake: Lake, key: str) -> str:
    with lake.filesystem.open_input_stream(lake.path(key)) as stream:
        return bytes(stream.read()).decode()


def test_a_published_partition_is_found_complete(lake: Lake) -> None:
    digest = _publish(lake, "first")
    manifest = lake.get("things", "2016-05-16")
    assert manifest.digest == digest
    assert manifest.attributes == {"rows": 2}
    assert [_read(lake, f.key) for f in manifest.files] == ["always the same", "first"]
    assert [_read(lake, f.key) for f in manifest.under("part")] == ["first"]
    assert list(lake.describe([f.key for f in manifest.files])) == list(manifest.files)


def test_a_compressed_file_is_described_as_stored(lake: Lake) -> None:
    content = gzip.compress(b"model", mtime=0)
    lake.write_bytes("models/model.tar.gz", content)
    (found,) = lake.describe(["models/model.tar.gz"])
    assert (found.bytes, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_same_content_is_the_same_version(lake: Lake) -> None:
    first = _publish(lake, "same")
    keys = lake.list("things")
    assert _publish(lake, "same") == first
    assert lake.list("things") == keys


def test_a_new_version_replaces_the_old_one_for_readers(lake: Lake) -> None:
    _publish(lake, "old", name="changing")
    before = lake.get("changing", "2016-05-16")
    _publish(lake, "new", name="changing")
    after = lake.get("changing", "2016-05-16")
    assert before.digest != after.digest
    assert _read(lake, before.files[1].key) == "old"
    assert _read(lake, after.files[1].key) == "new"


def test_partitions_are_those_with_a_manifest(lake: Lake) -> None:
    for week in ("2016-05-16", "2016-05-09"):
        _publish(lake, "x", week, name="weekly")
    lake.write_bytes("weekly/week=2016-05-02/half/written.txt", b"no manifest")
    assert lake.partitions("weekly") == ["2016-05-09", "2016-05-16"]
    assert lake.partitions("never") == []


def test_small_row_groups_are_merged_and_read_in_order(lake: Lake) -> None:
    with lake.staging() as staged:
        with pq.ParquetWriter(staged / "rows.parquet", pa.schema([("row", pa.int64())])) as writer:
            for first, last in ((0, 200_000), (200_000, 300_000), (300_000, 300_007)):
                writer.write_table(pa.table({"row": pa.array(range(first, last))}))
        lake.publish("rows", None, staged, inputs={}, attributes={})
    parts = list(lake.read_groups(lake.get("rows").files[0]))
    assert [len(part) for part in parts] == [300_000, 7]
    assert pa.concat_tables(parts)["row"].to_pylist() == list(range(300_007))


def test_a_missing_partition_is_named_with_the_remedy(lake: Lake) -> None:
    with pytest.raises(MissingInput, match=r"nothing, week 2016-05-16, is not in the lake; load it") as problem:
        lake.get("nothing", "2016-05-16", remedy="load it")
    assert problem.value.allow_retries is False


def test_a_failed_publication_publishes_nothing(lake: Lake) -> None:
    def interrupted() -> None:
        with lake.staging() as staged:
            (staged / "half.txt").write_text("half")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        interrupted()
    assert lake.find("unborn", "2016-05-16") is None


def test_uris_and_keys_round_trip(lake: Lake) -> None:
    assert lake.key(lake.uri("a/b.txt")) == "a/b.txt"
    with pytest.raises(ValueError, match="is not in the lake at"):
        lake.key("s3://elsewhere/a/b.txt")


def _before_step(lake: Lake, point: int, then: Callable[[], object]) -> list[str]:
    """Call `then` before this step of a publication; return a list of the steps so far, up to the switch."""
    seen: list[str] = []

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any) -> Any:
            if "_switch" not in seen:  # nobody else can come between the steps of a switch
                seen.append(name)
                if len(seen) == point + 1:
                    then()
            return call(*args)

        return step

    for name in ("_put", "_sync", "_switch"):
        object.__setattr__(lake, name, watched(name, getattr(lake, name)))
    return seen


@pytest.mark.parametrize("point", range(3))
def test_of_two_writers_one_wins_and_the_other_says_so(lake: Lake, point: int) -> None:
    name = f"raced-{point}"
    _publish(lake, "first", name=name)
    other, began = Lake(root=lake.root), lake.version(name, "2016-05-16")
    steps = _before_step(lake, point, lambda: _publish(other, "of the other", name=name))
    with lake.staging() as staged:
        (staged / "a.txt").write_text("late")
        with pytest.raises(ChangedMeanwhile, match=f"{name}, week 2016-05-16, was replaced by another process") as lost:
            lake.publish(name, "2016-05-16", staged, inputs={}, attributes={}, replacing=began)
    assert lost.value.allow_retries  # a retry builds on what the other wrote
    assert steps == ["_put", "_sync", "_switch"]
    assert _read(other, other.get(name, "2016-05-16").under("part")[0].key) == "of the other"
    # Without anything in between the retry is in force.
    assert _publish(Lake(root=lake.root), "late", name=name) == other.get(name, "2016-05-16").digest


@pytest.mark.parametrize("before", ["nothing", "an older one"])
def test_two_writers_of_the_same_content_both_succeed(lake: Lake, before: str) -> None:
    name = f"same-{before.replace(' ', '-')}"
    if before != "nothing":
        _publish(lake, "old", name=name)
    began = lake.version(name, "2016-05-16")
    digest = _publish(Lake(root=lake.root), "new", name=name)
    manifest = lake.get(name, "2016-05-16")
    assert lake.commit(manifest, replacing=began).digest == digest
    assert lake.version(name, "2016-05-16") != began


def test_of_two_first_writers_one_wins(lake: Lake) -> None:
    assert lake.version("new-born", "2016-05-16") == ""
    _publish(Lake(root=lake.root), "of the other", name="new-born")
    theirs = lake.get("new-born", "2016-05-16")
    with pytest.raises(ChangedMeanwhile):
        lake.commit(Manifest("new-born", "2016-05-16", theirs.files[:1]), replacing="")
    assert lake.get("new-born", "2016-05-16") == theirs


def test_a_removed_partition_counts_as_changed(lake: Lake) -> None:
    _publish(lake, "x", name="removed")
    theirs, began = lake.get("removed", "2016-05-16"), lake.version("removed", "2016-05-16")
    lake.filesystem.delete_file(lake.path("removed/week=2016-05-16/manifest.json"))
    with pytest.raises(ChangedMeanwhile):
        lake.commit(theirs, replacing=began)
    assert lake.find("removed", "2016-05-16") is None


def test_many_writers_lose_no_update(lake: Lake) -> None:
    """Each adds its number to what it read; a writer that lost starts again."""
    _publish(lake, "x", name="counted")

    def add(number: int) -> None:
        own = Lake(root=lake.root)
        while True:
            began = own.version("counted", "2016-05-16")
            manifest = own.get("counted", "2016-05-16")
            added = [*manifest.attributes.get("added", ()), number]
            try:
                own.commit(replace(manifest, attributes={"added": added}), replacing=began)
            except ChangedMeanwhile:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    assert sorted(lake.get("counted", "2016-05-16").attributes["added"]) == list(range(12))
