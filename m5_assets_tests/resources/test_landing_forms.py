"""The forms in which files arrive: read the same if they are unambiguous, else refused in words that help."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import boto3
import pandas as pd
import pytest

from m5_assets.resources.landing_files import BadInput, Landing, file_forms
from m5_assets_tests.resources.test_landing_files import s3_endpoint
from m5_assets_tests.support.landing_folders import CALENDAR, PRICES, SALES, assert_same, read_all, write_folder

NAMES = (CALENDAR, PRICES, SALES)
ARCHIVE = "m5-forecasting-accuracy.zip"

__all__ = ["s3_endpoint"]


@pytest.fixture
def expected(tmp_path: Path) -> list[pd.DataFrame]:
    return read_all(str(write_folder(tmp_path / "plain")))


def pack(folder: Path, archive: Path, prefix: str = "") -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for name in NAMES:
            target.write(folder / name, prefix + name)
            target.writestr(f"__MACOSX/{prefix}._{name}", b"\0\1")


def kaggle_zip(folder: Path) -> None:
    pack(folder, folder / ARCHIVE)
    for name in NAMES:
        (folder / name).unlink()


def zip_with_a_folder(folder: Path) -> None:
    pack(folder, folder / ARCHIVE, "m5-forecasting-accuracy/")
    for name in NAMES:
        (folder / name).unlink()


def zip_per_file(folder: Path) -> None:
    for name in NAMES:
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as target:
            target.write(folder / name, name)
        (folder / name).unlink()


def gz_per_file(folder: Path) -> None:
    for name in NAMES:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()


def gz_of_several_parts(folder: Path) -> None:
    for name in NAMES:
        head, *rows = (folder / name).read_bytes().splitlines(keepends=True)
        (folder / f"{name}.gz").write_bytes(gzip.compress(head) + gzip.compress(b"".join(rows)))
        (folder / name).unlink()


def gz_unpacked_by_the_browser(folder: Path) -> None:
    for name in NAMES:
        (folder / name).rename(folder / f"{name}.gz")


def zip_under_the_name_of_its_file(folder: Path) -> None:
    zip_per_file(folder)
    for name in NAMES:
        (folder / f"{name}.zip").rename(folder / name)


def zip_beside_its_files(folder: Path) -> None:
    pack(folder, folder / ARCHIVE)
    (folder / f"{CALENDAR}.gz").write_bytes(gzip.compress((folder / CALENDAR).read_bytes()))


def rewritten(change: Callable[[str, str], str]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        for name in NAMES:
            text = (folder / name).read_text()
            (folder / name).write_text(change(name, text))

    return rewrite


def lines(text: str, change: Callable[[int, str], str]) -> str:
    return "".join(change(number, line) + "\n" for number, line in enumerate(text.splitlines()))


def pandas_index(_: str, text: str) -> str:
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False).to_csv()


def pandas_index_read_and_written_again(_: str, text: str) -> str:
    indexed = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False).to_csv()
    return pd.read_csv(io.StringIO(indexed), dtype=str, keep_default_na=False).to_csv(index=False)


def r_row_names(_: str, text: str) -> str:
    return lines(text, lambda n, line: ",".join(f'"{c}"' for c in [str(n or ""), *line.split(",")]))


def with_decimals(name: str, text: str) -> str:
    """Write all whole numbers as a table of floats does."""
    columns = text.splitlines()[0].split(",")
    whole = {n for n in columns if re.match(r"d_|wm_yr_wk|wday|month|year|snap_", n)}

    def floats(number: int, line: str) -> str:
        cells = zip(columns, line.split(","), strict=True)
        return line if not number else ",".join(f"{c}.0" if n in whole and c.isdigit() else c for n, c in cells)

    return lines(text, floats)


FORMS: dict[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (
        kaggle_zip,
        zip_with_a_folder,
        zip_per_file,
        gz_per_file,
        gz_of_several_parts,
        gz_unpacked_by_the_browser,
        zip_under_the_name_of_its_file,
        zip_beside_its_files,
    )
} | {
    "no line break at the end": rewritten(lambda _, text: text.removesuffix("\n")),
    "carriage returns alone": rewritten(lambda _, text: text.replace("\n", "\r")),
    "a comma at the end of each line": rewritten(lambda _, text: text.replace("\n", ",\n")),
    "two commas at the end of each line": rewritten(lambda _, text: text.replace("\n", ",,\n")),
    "pandas' index": rewritten(pandas_index),
    "pandas' index, read and written again": rewritten(pandas_index_read_and_written_again),
    "R's row names and quotes": rewritten(r_row_names),
    "whole numbers with a decimal point": rewritten(with_decimals),
    "a comma at the end, CRLF, byte order mark": rewritten(lambda _, text: "\ufeff" + text.replace("\n", ",\r\n")),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_an_unambiguous_form_reads_like_the_usual_one(
    tmp_path: Path, expected: list[pd.DataFrame], form: Callable[[Path], None]
) -> None:
    folder = write_folder(tmp_path / "landed")
    form(folder)
    landing = Landing(str(folder))
    assert_same(read_all(str(folder)), expected)
    assert landing.missing() == []
    assert set(landing.stamps()) == {path.name for path in folder.iterdir()}
    assert [day.isoformat() for day in landing.days()] == ["2011-01-31", "2011-02-09"]


def test_large_numbers_in_scientific_notation_are_whole_numbers(tmp_path: Path) -> None:
    path = write_folder(tmp_path) / SALES
    path.write_text(path.read_text().replace(",13,", ",1e+05,"))
    assert Landing(str(tmp_path)).sales().units.max() == 100_000


def test_a_zip_archive_on_s3_reads_like_a_local_file(
    tmp_path: Path, expected: list[pd.DataFrame], s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="retailer")
    folder = write_folder(tmp_path / "landed")
    kaggle_zip(folder)
    (folder / f"{CALENDAR}.gz").write_bytes(gzip.compress((tmp_path / "plain" / CALENDAR).read_bytes()))
    for path in folder.iterdir():
        client.upload_file(str(path), "retailer", f"m5/{path.name}")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    assert_same(read_all("s3://retailer/m5"), expected)
    assert set(Landing("s3://retailer/m5").stamps()) == {ARCHIVE, f"{CALENDAR}.gz"}


def two_contents(folder: Path) -> None:
    text = (folder / PRICES).read_text().replace("2.97", "2.98")
    (folder / f"{PRICES}.gz").write_bytes(gzip.compress(text.encode()))


def half_a_gz(folder: Path) -> None:
    packed = gzip.compress((folder / PRICES).read_bytes())
    (folder / f"{PRICES}.gz").write_bytes(packed[: len(packed) // 2])
    (folder / PRICES).unlink()


def half_a_zip(folder: Path) -> None:
    kaggle_zip(folder)
    packed = (folder / ARCHIVE).read_bytes()
    (folder / ARCHIVE).write_bytes(packed[: len(packed) // 2])


def a_flipped_bit_in_a_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / f"{PRICES}.zip", "w", zipfile.ZIP_STORED) as target:
        target.write(folder / PRICES, PRICES)
    (folder / PRICES).unlink()
    packed = bytearray((folder / f"{PRICES}.zip").read_bytes())
    packed[packed.index(b"2.97")] ^= 1
    (folder / f"{PRICES}.zip").write_bytes(packed)


def zip_of_something_else(folder: Path) -> None:
    with zipfile.ZipFile(folder / f"{PRICES}.zip", "w") as target:
        target.writestr("prices_2016.csv", "")
    (folder / PRICES).unlink()


def zip_with_the_file_twice(folder: Path) -> None:
    with zipfile.ZipFile(folder / f"{PRICES}.zip", "w") as target:
        target.write(folder / PRICES, f"old/{PRICES}")
        target.write(folder / PRICES, f"new/{PRICES}")
    (folder / PRICES).unlink()


def a_form_that_is_not_read(folder: Path) -> None:
    (folder / PRICES).rename(folder / "Sell_Prices.csv.xz")


def a_folder(folder: Path) -> None:
    (folder / CALENDAR).unlink()
    (folder / CALENDAR).mkdir()


def a_folder_of_an_optional_file(folder: Path) -> None:
    (folder / "sales_store_dept_history.csv.gz").mkdir()


def a_link_to(target: str) -> Callable[[Path], None]:
    def link(folder: Path) -> None:
        (folder / CALENDAR).unlink()
        (folder / CALENDAR).symlink_to(target)

    return link


def a_pipe(folder: Path) -> None:
    (folder / CALENDAR).unlink()
    os.mkfifo(folder / CALENDAR)


def edited(name: str, change: Callable[[str], str | bytes]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        changed = change((folder / name).read_text())
        (folder / name).write_bytes(changed if isinstance(changed, bytes) else changed.encode())

    return edit


REFUSED: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "two forms with different contents": (two_contents, "more than once.*sell_prices.csv.gz", "Keep one of them"),
    "half a gz": (half_a_gz, "sell_prices.csv.gz.*damaged or incomplete", "Copy it again"),
    "half a zip": (half_a_zip, f"{ARCHIVE}: is not a complete zip", "Copy it again"),
    "a flipped bit in a zip": (a_flipped_bit_in_a_zip, "sell_prices.csv.zip.*Bad CRC-32", "Copy it again"),
    "a zip of something else": (zip_of_something_else, "does not hold sell_prices.csv but prices_2016.csv", "Put"),
    "a zip with the file twice": (zip_with_the_file_twice, "old/sell_prices.csv, new/sell_prices.csv", "Keep one"),
    "a form that is not read": (
        a_form_that_is_not_read,
        "missing file; .*Sell_Prices.csv.xz",
        r"\.csv\.gz or \.csv\.zip",
    ),
    "a folder": (a_folder, "calendar.csv: is a folder, not a file", "put the file itself there"),
    "a folder in place of an optional file": (
        a_folder_of_an_optional_file,
        "sales_store_dept_history.csv.gz: is a folder",
        "Remove it",
    ),
    "a link to itself": (a_link_to(CALENDAR), "calendar.csv: is a link that leads to no file", "put the file"),
    "a link to nothing": (a_link_to("gone.csv"), "calendar.csv: is a link that leads to no file", "put the file"),
    "a pipe": (a_pipe, "calendar.csv: is a device or pipe, not a file", "put the file itself there"),
    "half a unit": (edited(SALES, lambda t: t.replace(",13,", ",3.5,")), "line 3 .*d_3 is '3.5'", "whole numbers"),
    "no units": (edited(SALES, lambda t: t.replace(",13,", ",,")), "line 3 .*d_3 is empty", "0 on a day without"),
    "negative units": (edited(SALES, lambda t: t.replace(",13,", ",-3.0,")), "d_3 is '-3.0'", "whole numbers"),
    "semicolons": (edited(PRICES, lambda t: t.replace(",", ";")), "separated by semicolons", "with commas"),
    "tabs": (edited(SALES, lambda t: t.replace(",", "\t")), "separated by tabs", "with commas"),
    "decimal commas": (edited(PRICES, lambda t: t.replace("2.97", '"2,97"')), "line 3 .*'2,97'", "point in decimals"),
    "latin-1": (
        edited(SALES, lambda t: t.replace("FOODS_1_002_C", "F\xd6_C").encode("latin-1")),
        "line 4 .*id is not UTF-8 text",
        r"^((?!whole numbers).)*CSV in UTF-8\.$",
    ),
    "a last column without a name": (
        edited(PRICES, lambda t: lines(t, lambda n, line: line + (",x" if n == 2 else ","))),
        "line 3 .*column 5 has no name but holds x",
        "Name or remove the column",
    ),
    "a first column without a name": (
        edited(PRICES, lambda t: lines(t, lambda n, line: ("x," if n == 2 else ",") + line)),
        "line 3 .*column 1 has no name but holds x",
        "Name or remove the column",
    ),
    "a comma at the end of one line": (
        edited(PRICES, lambda t: t.replace("2.97", "2.97,", 1)),
        "line 3 .*5 cells, expected 4",
        "again",
    ),
    "a blank line": (edited(PRICES, lambda t: t + "\n"), "line 14 .*the line is blank", "Remove blank lines"),
    "a line without end": (edited(PRICES, lambda t: t + "x" * (3 << 20)), "line 14: more than", "again"),
    "a header without end": (edited(PRICES, lambda t: "x" * (3 << 20) + t), "line 1 has more than", "again"),
}


def read_whole(folder: Path) -> None:
    read_all(str(folder))
    Landing(str(folder)).totals()


@pytest.mark.parametrize(("form", "problem", "remedy"), REFUSED.values(), ids=REFUSED)
def test_an_ambiguous_form_is_refused_in_words_that_help(
    tmp_path: Path, form: Callable[[Path], None], problem: str, remedy: str
) -> None:
    folder = write_folder(tmp_path)
    form(folder)
    with pytest.raises(BadInput) as refusal:
        read_whole(folder)
    message = str(refusal.value)
    assert message.startswith(str(folder))
    assert re.search(problem, message), message
    assert re.search(remedy, message), message


@pytest.mark.parametrize("packed", [gz_per_file, zip_per_file])
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(
    tmp_path: Path, packed: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path)
    header, *rows = (folder / PRICES).read_text().splitlines(keepends=True)
    (folder / PRICES).write_text(header + "".join(rows) * 2000)
    packed(folder)
    monkeypatch.setattr(file_forms, "UNPACKED_LIMIT", 100_000)
    with pytest.raises(BadInput, match=r"unpacks to more than 100,000 bytes\. If that is right: Unpack it"):
        Landing(str(folder)).sell_prices()
    assert shutil.disk_usage(tmp_path).free
    assert [path for path in folder.iterdir() if not path.name.endswith((".gz", ".zip"))] == []
