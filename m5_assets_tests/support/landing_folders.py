"""Small landing folders for the tests of reading, verifying and loading landed files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from m5_assets.resources.landing_files import Landing

CALENDAR, PRICES, SALES = "calendar.csv", "sell_prices.csv", "sales_train_evaluation.csv"
DAYS = range(3, 13)
ITEMS = ("HOBBIES_1_001", "FOODS_1_001", "FOODS_1_002")
STORES = ("CA_1", "WI_3")


def units_of(item: str, store: str) -> list[int]:
    return [(ITEMS.index(item) + 3 * STORES.index(store)) * 10 + day for day in DAYS]


def write_folder(folder: Path, kind: str = "evaluation") -> Path:
    """Write a valid folder: 2 stores x 3 items, 14 calendar days, sales of d_3 to d_12."""
    folder.mkdir(exist_ok=True)
    calendar = [
        "date,wm_yr_wk,weekday,wday,month,year,d,event_name_1,event_type_1,event_name_2,event_type_2,snap_CA,snap_WI"
    ]
    for index, day in enumerate(pd.date_range("2011-01-29", periods=14)):
        event = "SuperBowl,Sporting" if index == 8 else ","
        calendar.append(
            f"{day:%Y-%m-%d},{11101 + index // 7},{day:%A},{index % 7 + 1},{day.month},{day.year},d_{index + 1},"
            f"{event},,,{int(day.day <= 10)},{int(day.day == 2)}"
        )
    sales = ["id,item_id,dept_id,cat_id,store_id,state_id," + ",".join(f"d_{day}" for day in DAYS)]
    prices = ["store_id,item_id,wm_yr_wk,sell_price"]
    for store in STORES:
        for item in ITEMS:
            dept = item[:-4]
            units = ",".join(map(str, units_of(item, store)))
            sales.append(f"{item}_{store}_{kind},{item},{dept},{dept[:-2]},{store},{store[:2]},{units}")
            prices += [f"{store},{item},{week},{week - 11100}.97" for week in (11101, 11102)]
    for name, lines in ((CALENDAR, calendar), (PRICES, prices), (f"sales_train_{kind}.csv", sales)):
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def read_all(root: str) -> list[pd.DataFrame]:
    landing = Landing(root)
    sales = landing.sales()
    return [landing.calendar(), landing.sell_prices().to_pandas(), sales.series, pd.DataFrame(sales.units)]


def assert_same(found: list[pd.DataFrame], expected: list[pd.DataFrame]) -> None:
    for one, other in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(one, other)


def land(folder: Path) -> Path:
    """Write a valid folder whose calendar covers the horizon; d_3 is the Monday of its only full week."""
    write_folder(folder)
    head, *rows = (folder / CALENDAR).read_text().splitlines()
    for index, day in enumerate(pd.date_range("2011-02-12", periods=23), start=14):
        rows.append(
            f"{day:%Y-%m-%d},{11201 + index // 7},,{index % 7 + 1},{day.month},{day.year},d_{index + 1},,,,,0,0"
        )
    (folder / CALENDAR).write_text("\n".join([head, *rows]) + "\n")
    return folder
