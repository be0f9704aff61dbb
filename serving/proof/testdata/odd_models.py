"""Saves models that convert.py must cope with: python odd_models.py DIRECTORY"""

import os
import pathlib
import sys
import types

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

X, y = np.arange(12.0).reshape(6, 2), [0, 1, 0, 1, 0, 1]


class Own(BaseEstimator):
    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return [0] * len(X)


class Runs:
    """Runs a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.run = function, arguments

    def __reduce__(self):
        return self.run


class Function(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input


def noisy(runs):
    model = LogisticRegression().fit(X, y)
    model.noise = runs
    return model


gone = types.ModuleType("gone")
exec("class Thing: pass", gone.__dict__)
gone.Thing.__module__ = "gone"
sys.modules["gone"] = gone

lie = b'{"class": "sklearn.lies.Lie", "sklearn": "9.9", "skops": "9.9"}\n' * 10
models = {
    "fine": LogisticRegression().fit(X, y),
    "own": Own(),
    "complex": noisy(1j),
    "prints": noisy(Runs(os.write, 1, lie)),
    "exits": noisy(Runs(sys.exit, 3)),
    "dies": noisy(Runs(os._exit, 3)),
    "gone": noisy(gone.Thing()),
}
for name, model in models.items():
    path = pathlib.Path(sys.argv[1]) / name
    mlflow.sklearn.save_model(model, str(path), serialization_format="cloudpickle", pip_requirements=["scikit-learn"])
mlflow.pyfunc.save_model(str(pathlib.Path(sys.argv[1]) / "pyfunc"), python_model=Function(), pip_requirements=["numpy"])
