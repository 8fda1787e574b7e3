"""Tests of the LSTM: what its windows contain, what its network computes, and reproducible, resumable training."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m5_assets.forecasting.lstm.config import LSTMConfig
from m5_assets.forecasting.lstm.data import (
    EFFECT_SCALE,
    PRIOR_DAYS,
    PROFILE_WEEKS,
    TRENDS,
    Windows,
    WindowSource,
    learn_vocabularies,
)
from m5_assets.forecasting.lstm.model import LSTMModel
from m5_assets.forecasting.lstm.network import Seq2SeqLSTM, tweedie_loss
from m5_assets.forecasting.lstm.training import fit
from m5_assets.forecasting.panel import HORIZON, Panel
from m5_assets_tests.support.panels import make_panel

TINY = LSTMConfig(
    members=1, windows=40 * 64, batch_size=64, hidden=16, encoder_days=28, learning_rate=1e-2, threads=1, device="cpu"
)
DAYS = 160


def ignore(line: str, done: float) -> None:
    pass


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(seed=3, items=12, stores=3, days=DAYS)


@pytest.fixture(scope="module")
def model(panel: Panel) -> LSTMModel:
    return fit(panel, TINY, ignore)


def source(panel: Panel) -> WindowSource:
    return WindowSource(panel, learn_vocabularies(panel), TINY.encoder_days, torch.device("cpu"))


def inputs(panel: Panel, rows: list[int], origins: list[int]) -> list[torch.Tensor]:
    windows = source(panel).windows(torch.tensor(rows), torch.tensor(origins))
    return [getattr(windows, field.name) for field in dataclasses.fields(windows)]


class TestWindows:
    @given(
        origin=st.integers(TINY.encoder_days, DAYS - HORIZON),
        row=st.integers(0, 35),
        seed=st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=40, deadline=None)
    def test_use_no_sales_from_their_origin_on(self, panel: Panel, origin: int, row: int, seed: int) -> None:
        future = panel.sales.copy()
        future[:, origin:] = np.random.default_rng(seed).integers(0, 1000, future[:, origin:].shape)
        changed = dataclasses.replace(panel, sales=future)
        for before, after in zip(inputs(panel, [row], [origin]), inputs(changed, [row], [origin]), strict=True):
            assert torch.equal(before, after)

    @given(origin=st.integers(TINY.encoder_days, DAYS - HORIZON), row=st.integers(0, 35))
    @settings(max_examples=40, deadline=None)
    def test_equal_those_of_the_panel_rewound_to_their_origin(self, panel: Panel, origin: int, row: int) -> None:
        then = panel.rewind(panel.days - origin)
        whole, cut = source(panel), source(then)
        index, at = torch.tensor([row]), torch.tensor([origin])
        for name in ("identities", "static", "encoder", "decoder", "level", "offered"):
            assert torch.equal(getattr(whole.windows(index, at), name), getattr(cut.windows(index, at), name)), name

    def test_cover_their_history_and_horizon(self, panel: Panel) -> None:
        row, origin = int(np.flatnonzero(panel.release < 0)[0]), 120
        gathered = source(panel)
        windows = gathered.windows(torch.tensor([row]), torch.tensor([origin]))
        sales = windows.encoder[0, :, 0].expm1() * windows.level[0]
        np.testing.assert_allclose(sales, panel.sales[row, origin - TINY.encoder_days : origin], atol=1e-4)
        target = gathered.targets(torch.tensor([row]), torch.tensor([origin]))
        np.testing.assert_array_equal(target[0], panel.sales[row, origin : origin + HORIZON])

    def test_level_skips_closed_days_and_days_before_the_release(self, panel: Panel) -> None:
        late = int(np.flatnonzero((panel.release > 0) & (panel.release < DAYS - 10))[0])
        closed = (panel.calendar["date"].dt.strftime("%m-%d") == "12-25").to_numpy()[:DAYS]
        sales = panel.sales.copy()
        sales[late] = np.where((np.arange(DAYS) >= panel.release[late]) & ~closed, 5.0, 0.0)
        level = inputs(dataclasses.replace(panel, sales=sales), [late], [DAYS])[5]
        assert level.item() == pytest.approx(5.0, rel=0.01)


class TestStoreDepartments:
    """Windows must reproduce a known rhythm that all series share."""

    def windows(self, panel: Panel, daily: np.ndarray, row: int) -> Windows:
        """Return the window at the origin of a panel whose sales are `daily`, (36, T), except on 25 December."""
        is_open = (panel.calendar["date"].dt.strftime("%m-%d") != "12-25").to_numpy()[: panel.days]
        sold = dataclasses.replace(panel, sales=(daily * is_open).astype(np.float32))
        return source(sold).windows(torch.tensor([row]), torch.tensor([DAYS]))

    def effects(self, panel: Panel, daily: np.ndarray, row: int) -> np.ndarray:
        """Return (28, 3) the store-department's effects of weekdays over 8 and 13 weeks, and of SNAP, as factors."""
        return np.exp(self.windows(panel, daily, row).decoder[0, :, -3:].numpy() / EFFECT_SCALE)

    def test_profile_reproduces_the_weekday_factors(self, panel: Panel) -> None:
        weekday = panel.calendar["date"].dt.day_of_week.to_numpy()
        factors = np.array([0.8, 0.7, 0.7, 0.8, 1.0, 1.6, 1.4])
        effects = self.effects(panel, np.tile(100 * factors[weekday[:DAYS]], (36, 1)), 0)
        for column, weeks in enumerate(PROFILE_WEEKS):
            shrunk = 1 + (factors / factors.mean() - 1) * weeks / (weeks + PRIOR_DAYS)
            np.testing.assert_allclose(effects[:, column], shrunk[weekday[DAYS:]], rtol=0.01)

    def test_snap_effect_is_that_of_the_series_state(self, panel: Panel) -> None:
        states, texas = panel.series["state_id"].to_numpy(str), panel.snap()[:, panel.states.index("TX")]
        daily = np.where((states == "TX")[:, None] & texas[:DAYS], 150.0, 100.0)
        effect, on = self.effects(panel, daily, int(np.flatnonzero(states == "TX")[0]))[:, 2], texas[DAYS:]
        assert on.any()
        assert not on.all()
        assert effect[on].mean() / effect[~on].mean() == pytest.approx(1.5, rel=0.05)
        np.testing.assert_allclose(
            self.effects(panel, daily, int(np.flatnonzero(states != "TX")[0]))[:, 2], 1, rtol=1e-3
        )

    def test_trend_compares_recent_days_with_earlier_ones(self, panel: Panel) -> None:
        daily = np.full((36, DAYS), 100.0)
        daily[:, -7:] = 200.0
        trends = self.windows(panel, daily, 0).static[0, -len(TRENDS) :].numpy() / EFFECT_SCALE
        means = {7: 200.0, 14: 150.0, 28: 125.0, 91: 100 * 97 / 90}  # 25 December does not count
        np.testing.assert_allclose(trends, [np.log(means[short] / means[long]) for short, long in TRENDS], rtol=0.01)


def test_religious_events_are_ignored(panel: Panel) -> None:
    calendar = panel.calendar.assign(event_name_2="", event_type_2="")
    plain = calendar.assign(event_name_1="", event_type_1="")
    for kind, used in (("Religious", False), ("Cultural", True)):
        feast = plain.assign(event_name_1=np.where(plain.index == 50, "Feast", ""))
        feast["event_type_1"] = np.where(plain.index == 50, kind, "")
        marked = dataclasses.replace(panel, calendar=feast)
        assert learn_vocabularies(marked)["event"] == (["Cultural", "Feast"] if used else [])
        assert bool(source(marked).calendar.events.any()) is used


class TestNetwork:
    def test_attention_weights_sum_to_one(self, panel: Panel) -> None:
        gathered = source(panel)
        network = Seq2SeqLSTM(TINY.hidden, learn_vocabularies(panel))
        rows = torch.arange(len(panel.series))
        forecast, weights = network(gathered.calendar, gathered.windows(rows, torch.full_like(rows, DAYS)))
        assert forecast.shape == (36, HORIZON)
        assert weights.shape == (36, 4, HORIZON, TINY.encoder_days)
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.detach().sum(dim=3), 1, atol=1e-5)

    def test_starts_from_the_level(self, panel: Panel) -> None:
        gathered = source(panel)
        rows = torch.arange(len(panel.series))
        windows = gathered.windows(rows, torch.full_like(rows, DAYS))
        forecast, _ = Seq2SeqLSTM(TINY.hidden, learn_vocabularies(panel))(gathered.calendar, windows)
        assert torch.equal(forecast, windows.level * windows.offered)

    def test_tweedie_loss_is_minimal_at_the_mean(self) -> None:
        sales = torch.tensor([[0.0, 0.0, 1.0, 7.0]])
        losses = {
            mean: tweedie_loss(torch.full((1, 4), mean), sales, torch.ones(1, 4)).item() for mean in (1.5, 2.0, 2.5)
        }
        assert min(losses, key=lambda mean: losses[mean]) == 2.0


class TestForecast:
    def test_shape_and_sign(self, panel: Panel, model: LSTMModel) -> None:
        forecast = model.predict(panel)
        assert forecast.shape == (36, HORIZON)
        assert forecast.dtype == np.float32
        assert np.isfinite(forecast).all()
        assert (forecast >= 0).all()

    def test_beats_the_level(self) -> None:
        """Training must lower the loss on days after the training data."""
        panel = make_panel(seed=3, items=40, stores=3, days=DAYS)
        past = panel.rewind(HORIZON)
        forecast = torch.from_numpy(fit(past, TINY, ignore).predict(past))
        gathered = source(panel)
        rows = torch.arange(len(panel.series))
        origins = torch.full_like(rows, past.days)
        windows, sales = gathered.windows(rows, origins), gathered.targets(rows, origins)
        level = (windows.level * windows.offered).expand(-1, HORIZON)
        assert tweedie_loss(forecast, sales, windows.offered) < tweedie_loss(level, sales, windows.offered) - 0.01

    def test_is_zero_before_the_release_and_on_christmas_day(self, panel: Panel, model: LSTMModel) -> None:
        december = panel.rewind(70)
        forecast = model.predict(december)
        horizon = december.calendar.iloc[december.days :]
        christmas = (horizon["date"].dt.strftime("%m-%d") == "12-25").to_numpy()
        unreleased = december.release[:, None] > np.arange(december.days, december.days + HORIZON)
        assert christmas.sum() == 1
        assert unreleased.any()
        assert (forecast[:, christmas] == 0).all()
        assert (forecast[unreleased] == 0).all()
        assert (forecast[~unreleased & ~christmas] > 0).all()

    def test_of_a_store_that_opens_on_christmas_day_is_not_zero(self, panel: Panel, model: LSTMModel) -> None:
        december = panel.rewind(70)
        stores = december.series["store_id"].to_numpy(str)
        opened = dataclasses.replace(december, closed=december.closed.only(stores[:1]))
        christmas = (december.calendar["date"].iloc[december.days :].dt.strftime("%m-%d") == "12-25").to_numpy()
        sells = december.release <= december.days
        forecast = model.predict(opened)[:, christmas]
        assert (forecast[stores == stores[0]] == 0).all()
        assert (forecast[sells & (stores != stores[0])] > 0).all()

    def test_of_a_store_does_not_depend_on_other_stores(self, panel: Panel, model: LSTMModel) -> None:
        alone = np.concatenate([model.predict(store) for _, store in panel.stores()])
        np.testing.assert_allclose(alone, model.predict(panel), rtol=1e-4, atol=1e-6)

    def test_accepts_unknown_items_and_events(self, panel: Panel, model: LSTMModel) -> None:
        calendar = panel.calendar.assign(event_name_1="Opening", event_type_1="Other")
        series = panel.series.assign(item_id=[f"FOODS_9_{i:03d}" for i in range(36)])
        forecast = model.predict(dataclasses.replace(panel, series=series, calendar=calendar))
        assert np.isfinite(forecast).all()
        sold = forecast.sum(), panel.sales[:, -HORIZON:].sum()
        assert 0.5 < sold[0] / sold[1] < 2

    def test_needs_a_history_as_long_as_the_encoder(self, panel: Panel, model: LSTMModel) -> None:
        shortest = make_panel(seed=3, items=12, stores=3, days=TINY.encoder_days)
        assert np.isfinite(model.predict(shortest)).all()
        with pytest.raises(ValueError, match="27 days of sales and the encoder reads 28"):
            model.predict(shortest.rewind(1))

    def test_rejects_a_state_without_snap_days(self, panel: Panel, model: LSTMModel) -> None:
        stores = make_panel(seed=3, items=2, stores=4, days=60)
        without = dataclasses.replace(stores, calendar=stores.calendar.drop(columns="snap_WI"))
        with pytest.raises(ValueError, match="no column snap_WI"):
            model.predict(without)


class TestTraining:
    def test_same_panel_and_settings_give_the_same_files(self, panel: Panel, model: LSTMModel, tmp_path: Path) -> None:
        model.save(tmp_path / "first")
        fit(panel, TINY, ignore).save(tmp_path / "second")
        for name in ("weights.pt", "config.json"):
            assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()

    def test_another_seed_gives_another_model(self, panel: Panel, model: LSTMModel) -> None:
        other = fit(panel, TINY.model_copy(update={"seed": 2}), ignore)
        assert not np.array_equal(other.predict(panel), model.predict(panel))

    @pytest.mark.parametrize("stop_at", [0.3, 0.7])
    def test_resumed_equals_uninterrupted(self, panel: Panel, tmp_path: Path, stop_at: float) -> None:
        config = TINY.model_copy(update={"members": 2, "windows": 20 * 64})

        def interrupt(line: str, done: float) -> None:
            if done >= stop_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fit(panel, config, interrupt, tmp_path)
        shares: list[float] = []
        resumed = fit(panel, config, lambda line, done: shares.append(done), tmp_path)
        whole = fit(panel, config, ignore)
        assert min(shares) > stop_at - 0.05
        assert resumed.curve == whole.curve
        for one, other in zip(resumed.members, whole.members, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in whole.members[0])

    def test_rejects_another_runs_checkpoint(self, panel: Panel, tmp_path: Path) -> None:
        short = TINY.model_copy(update={"windows": 64})
        fit(panel, short, ignore, tmp_path)
        with pytest.raises(ValueError, match="other settings or data; empty its folder"):
            fit(panel, short.model_copy(update={"seed": 9}), ignore, tmp_path)

    def test_progress_reports_step_and_loss(self, panel: Panel) -> None:
        lines: list[tuple[str, float]] = []
        fit(panel, TINY.model_copy(update={"windows": 64 * 4}), lambda line, done: lines.append((line, done)))
        assert [done for _, done in lines] == [0.25, 0.5, 0.75, 1.0]
        assert lines[-1][0].startswith("step 4 of 4, loss ")

    def test_rejects_a_history_too_short_for_a_window(self, panel: Panel) -> None:
        with pytest.raises(ValueError, match="50 days of sales, training needs"):
            fit(panel.rewind(DAYS - 50), TINY, ignore)


class TestFiles:
    def test_loaded_model_predicts_the_same(self, panel: Panel, model: LSTMModel, tmp_path: Path) -> None:
        model.save(tmp_path)
        loaded = LSTMModel.load(tmp_path)
        np.testing.assert_array_equal(loaded.predict(panel), model.predict(panel))
        assert (loaded.config, loaded.vocabularies, loaded.curve) == (model.config, model.vocabularies, model.curve)
        assert loaded.trained_through == panel.origin.date()

    def test_rejects_weights_of_another_model(self, panel: Panel, model: LSTMModel, tmp_path: Path) -> None:
        model.save(tmp_path / "one")
        fit(panel, TINY.model_copy(update={"windows": 64}), ignore).save(tmp_path / "two")
        (tmp_path / "one" / "weights.pt").write_bytes((tmp_path / "two" / "weights.pt").read_bytes())
        with pytest.raises(ValueError, match=r"not the file that config\.json describes"):
            LSTMModel.load(tmp_path / "one")

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [("format", 0, "its format is 0"), ("vocabularies", None, "size mismatch|NoneType")],
    )
    def test_rejects_a_description_that_does_not_match(
        self, model: LSTMModel, tmp_path: Path, key: str, value: object, message: str
    ) -> None:
        model.save(tmp_path)
        path = tmp_path / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
        with pytest.raises(ValueError, match=message):
            LSTMModel.load(tmp_path)

    def test_rejects_a_folder_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"config\.json: not a usable LSTM model"):
            LSTMModel.load(tmp_path)

    def test_does_not_run_a_pickle(self, model: LSTMModel, tmp_path: Path) -> None:
        mark = tmp_path / "ran"

        class Code:
            def __reduce__(self) -> tuple[object, ...]:
                return Path.touch, (mark,)

        model.save(tmp_path)
        weights, path = tmp_path / "weights.pt", tmp_path / "config.json"
        torch.save({"members": Code()}, weights)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_sha256": digest}))
        with pytest.raises(ValueError, match="contains more than tensors"):
            LSTMModel.load(tmp_path)
        assert not mark.exists()
        pickle.loads(pickle.dumps(Code()))  # noqa: S301 (shows that unpickling would create the mark)
        assert mark.exists()


class TestSettings:
    def test_are_read_from_strings(self) -> None:
        config = LSTMConfig.from_hyperparameters({"windows": "1000", "learning_rate": "1e-3", "device": "cpu"})
        assert (config.windows, config.learning_rate, config.device) == (1000, 1e-3, "cpu")
        assert config.hidden == LSTMConfig().hidden

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"epochs": "3"}, "unknown hyperparameters: epochs; known are seed, members"),
            ({"windows": "many"}, "hyperparameter windows='many': .* integer"),
            ({"batch_size": "0"}, "hyperparameter batch_size='0': .* greater than or equal to 1"),
            ({"learning_rate": "nan"}, "hyperparameter learning_rate='nan': .* finite"),
            ({"hidden": "30"}, "hyperparameter hidden='30': .* multiple of 4"),
            ({"encoder_days": "30"}, "hyperparameter encoder_days='30': .* multiple of 7"),
            ({"seed": "-1"}, "hyperparameter seed='-1': .* greater than or equal to 0"),
            ({"device": "tpu"}, "hyperparameter device='tpu': .* 'auto', 'cpu' or 'cuda'"),
        ],
    )
    def test_reject_invalid_values(self, values: dict[str, str], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            LSTMConfig.from_hyperparameters(values)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without a GPU")
    def test_a_missing_gpu_is_an_error(self, panel: Panel) -> None:
        with pytest.raises(ValueError, match="no usable GPU"):
            fit(panel, TINY.model_copy(update={"device": "cuda"}), ignore)


def test_few_series_are_trained_on_fewer_windows() -> None:
    config = LSTMConfig()
    assert config.for_series(30_490) == config
    assert config.for_series(600).windows == 36_000
    assert config.model_copy(update={"windows": 500}).for_series(600).windows == 500
