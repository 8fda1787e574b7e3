"""The sequence-to-sequence LSTM with attention: `training.fit` trains a `model.LSTMModel` on a panel.

Import from the modules, as `config` does not need PyTorch.
"""
