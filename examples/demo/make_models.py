"""Makes the demo's three model versions as MLflow model directories.

Run it with the pinned libraries; the output is committed:

    python -m venv venv && venv/bin/pip install mlflow==3.17.2 scikit-learn==1.9.1 skops==0.16.0 pandas==3.1.1
    venv/bin/python examples/demo/make_models.py examples/demo/models

All three take the same five columns and answer the name of an iris species.
The column `habitat` is invented: where a flower of that species was found.
"""

import pathlib
import shutil
import sys
import zipfile

import mlflow.sklearn
import numpy as np
import pandas as pd
import skops.io
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

NUMBERS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
HABITATS = {"setosa": "dune", "versicolor": "meadow", "virginica": "marsh"}

# Types skops does not trust by itself, and that are plain data here.
TRUSTED = [
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.link.Interval",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss._loss.CyHalfMultinomialLoss",
]


def data():
    iris = load_iris(as_frame=True)
    flowers = iris.data.set_axis(NUMBERS, axis=1)
    species = pd.Series(iris.target_names[iris.target], name="species")
    rng = np.random.default_rng(7)
    somewhere = rng.choice(list(HABITATS.values()), len(species))
    usual = species.map(HABITATS)
    flowers["habitat"] = np.where(rng.random(len(species)) < 0.8, usual, somewhere)
    return flowers, species.to_numpy(dtype=object)


def pipelines():
    """The versions in order. The third looks at the habitat alone, and errs."""
    scaled = ColumnTransformer([("numbers", StandardScaler(), NUMBERS)])
    encoded = ColumnTransformer([
        ("numbers", StandardScaler(), NUMBERS),
        ("habitat", OneHotEncoder(handle_unknown="ignore"), ["habitat"]),
    ])
    habitat = ColumnTransformer([
        ("habitat", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["habitat"]),
    ])
    return [
        make_pipeline(scaled, LogisticRegression(max_iter=500)),
        make_pipeline(encoded, RandomForestClassifier(n_estimators=20, max_depth=5, random_state=7)),
        make_pipeline(habitat, GradientBoostingClassifier(n_estimators=3, max_depth=2, random_state=7)),
    ]


def compress(path):
    """Stores the same model again in a tenth of the bytes, to keep the repository small."""
    model = skops.io.load(path, trusted=TRUSTED)
    skops.io.dump(model, path, compression=zipfile.ZIP_DEFLATED, compresslevel=9)


def main(target):
    flowers, species = data()
    example = flowers.iloc[[0, 20, 50, 70, 85, 100, 119, 133]].reset_index(drop=True)
    for number, model in enumerate(pipelines(), start=1):
        model.fit(flowers, species)
        path = pathlib.Path(target, f"iris-{number}")
        shutil.rmtree(path, ignore_errors=True)
        mlflow.sklearn.save_model(
            model,
            path,
            serialization_format="skops",
            skops_trusted_types=TRUSTED,
            signature=infer_signature(flowers, model.predict(flowers)),
            input_example=example,
        )
        compress(path / "model.skops")
        print(path, list(model.predict(example)), model.score(flowers, species))


main(sys.argv[1])
