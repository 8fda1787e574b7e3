"""The sequence-to-sequence LSTM with attention: `fit` trains an `LSTMModel` on a panel, which predicts one."""

from m5_assets.forecasting.lstm.config import LSTMConfig
from m5_assets.forecasting.lstm.model import LSTMModel
from m5_assets.forecasting.lstm.training import fit

__all__ = ["LSTMConfig", "LSTMModel", "fit"]
