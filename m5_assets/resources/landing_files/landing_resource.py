"""The landing folder as a Dagster resource, which remembers the files that it has verified."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import dagster as dg

from m5_assets.forecasting.atomic_files import write_text
from m5_assets.resources.conditional_writes import locked
from m5_assets.resources.landing_files import Landing
from m5_assets.resources.landing_files.verification import Verified, verify
from m5_assets.settings import Settings


class LandingFolder(dg.ConfigurableResource):  # type: ignore[type-arg]  # dagster's generic has no useful argument here
    """The folder or `s3://bucket/prefix` URI where M5's files arrive.

    Attributes:
        root: the folder or URI.
        home: folder that remembers which files were verified; empty: verify them each time.
        unpriced_series: largest share of live series that may lack a price.
        first_weekday: weekday on which weeks begin, Monday is 0.
    """

    root: str
    home: str = ""
    unpriced_series: float = 0.01
    first_weekday: int = 0

    @classmethod
    def of(cls, source: Settings) -> LandingFolder:
        """Return the landing folder of these settings."""
        return cls(
            root=source.landing,
            home=str(source.home),
            unpriced_series=source.checks.unpriced_series,
            first_weekday=source.first_weekday,
        )

    def open(self) -> Landing:
        """Return the folder's reader."""
        return Landing(self.root)

    def verified(self) -> Verified:
        """Check all files, each whole and against the others; at once if the same files were verified before.

        Every step that writes what was landed calls this first. Steps that call it at the same time wait for the first.

        Raises:
            BadInput: a file is missing or invalid, or two files contradict each other.
        """
        if not self.home:
            return self._verify()
        folder = Path(self.home)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "landing.lock"):
            record, key = folder / "landing-verified.json", self._key()
            if (known := _read(record, key)) is not None:
                return known
            found = self._verify()
            if self._key() == key:  # else the files changed meanwhile, and the next step verifies them again
                write_text(record, json.dumps({"key": key, "verified": found.as_json()}))
            return found

    def _verify(self) -> Verified:
        return verify(self.open(), unpriced_series=self.unpriced_series, first_weekday=self.first_weekday)

    def _key(self) -> str:
        """Return a digest of the files' sizes and times and of the rules by which they are verified."""
        digest = hashlib.sha256()
        for path in sorted(Path(__file__).parent.glob("*.py")):
            digest.update(path.read_bytes())
        rules = [self.root, self.unpriced_series, self.first_weekday, self.open().stamps()]
        digest.update(json.dumps(rules, sort_keys=True).encode())
        return digest.hexdigest()


def _read(record: Path, key: str) -> Verified | None:
    """Return what was verified under this key; a record that is missing or cannot be read counts as none."""
    try:
        found = json.loads(record.read_text())
        return Verified.from_json(found["verified"]) if found["key"] == key else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
