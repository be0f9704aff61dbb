"""Saves models as most registries hold them: pickles.

    python save_models.py DIR

Each model becomes a folder of DIR. answers.json tells, for each, some requests
and what scikit-learn answers to them.
"""

import json
import pathlib
import sys

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

NUMBERS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def data():
    iris = load_iris(as_frame=True)
    flowers = iris.data.set_axis(NUMBERS, axis=1)
    rng = np.random.default_rng(11)
    flowers["habitat"] = rng.choice(["dune", "meadow", "marsh"], len(flowers))
    return flowers, iris.target_names[iris.target].astype(object)


def models():
    columns = ColumnTransformer([
        ("numbers", StandardScaler(), NUMBERS),
        ("habitat", OneHotEncoder(handle_unknown="ignore"), ["habitat"]),
    ])
    return {
        "pickle-1": (make_pipeline(columns, RandomForestClassifier(n_estimators=10, random_state=1)), "predict"),
        "pickle-2": (make_pipeline(columns, RandomForestClassifier(n_estimators=10, random_state=2)), "predict"),
        "odds": (make_pipeline(columns, LogisticRegression(max_iter=500)), "predict_proba"),
        "svc": (make_pipeline(columns, SVC(kernel="rbf")), "predict"),
    }


def main(folder):
    flowers, species = data()
    answers = {}
    for name, (model, method) in models().items():
        model.fit(flowers, species)
        answer = getattr(model, method)(flowers)
        mlflow.sklearn.save_model(model, str(folder / name), serialization_format="cloudpickle", pyfunc_predict_fn=method,
                                  signature=infer_signature(flowers, answer), input_example=flowers.head(3))
        asked = flowers.iloc[::7]
        answers[name] = {"requests": json.loads(asked.to_json(orient="records")), "answers": getattr(model, method)(asked).tolist()}
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
