"""Logs models in a real MLflow as data scientists do, and answers with them.

    python log_models.py URI ANSWERS

ANSWERS is a JSON file: for each model its identifier, requests and what
scikit-learn answers to them. Nothing is registered yet.
"""

import json
import sys

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]

TRUSTED = [
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
]


def data():
    iris = load_iris(as_frame=True)
    flowers = iris.data.set_axis(NUMBERS, axis=1)
    species = iris.target_names[iris.target].astype(object)
    rng = np.random.default_rng(11)
    flowers["habitat"] = rng.choice(["dune", "meadow", "marsh"], len(flowers))
    return flowers, species


def models(flowers, species):
    """Each is called by what the tests promote it as."""
    columns = ColumnTransformer([
        ("numbers", StandardScaler(), NUMBERS),
        ("habitat", OneHotEncoder(handle_unknown="ignore"), ["habitat"]),
    ])
    weight = (flowers.petal_length * flowers.petal_width / 3).to_numpy()
    return {
        "logistic": (make_pipeline(columns, LogisticRegression(max_iter=500)), species, "predict"),
        "forest": (make_pipeline(columns, RandomForestClassifier(n_estimators=15, random_state=3)), species, "predict"),
        "odds": (make_pipeline(columns, LogisticRegression(C=0.3, max_iter=500)), species, "predict_proba"),
        "ridge": (make_pipeline(columns, Ridge(alpha=0.7)), weight, "predict"),
        "trees": (make_pipeline(columns, HistGradientBoostingRegressor(max_iter=12, random_state=3)), weight, "predict"),
    }


def main(uri, answers):
    mlflow.set_tracking_uri(uri)
    flowers, species = data()
    rng = np.random.default_rng(23)
    asked = flowers.sample(40, random_state=5).reset_index(drop=True)
    asked[NUMBERS] += rng.normal(0, 0.2, (len(asked), 4))
    found = {}
    for name, (model, target, function) in models(flowers, species).items():
        model.fit(flowers, target)
        predicted = getattr(model, function)(asked)
        logged = mlflow.sklearn.log_model(
            model,
            name=name,
            serialization_format="skops",
            skops_trusted_types=TRUSTED,
            pyfunc_predict_fn=function,
            signature=infer_signature(flowers, getattr(model, function)(flowers)),
            pip_requirements=["scikit-learn==1.9.1"],  # guessing them would load each model in another process
            input_example=flowers.iloc[[0, 20, 50, 70, 85, 100]].reset_index(drop=True),
        )
        found[name] = {"id": logged.model_id, "requests": asked.to_dict("records"), "answers": predicted.tolist()}
    with open(answers, "w") as f:
        json.dump(found, f)


main(*sys.argv[1:])
