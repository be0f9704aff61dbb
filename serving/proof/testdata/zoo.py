"""Pickles many scikit-learn models as MLflow does, and answers for them.

    python zoo.py MAKE_MODELS CONVERT SKOPS_FOLDER DIRECTORY PATTERN

MAKE_MODELS is serving/sklearn/testdata/make_models.py, whose models these are:
those that match PATTERN, or its "small" ones. Speaks JSON, a line each way:
first the list of models, then to {"convert": name}, {"mutate": [name, change]},
{"load": name} and {"ask": batch} what was asked for, or {"error": why}.
"""

import json
import os
import pathlib
import re
import shutil
import sys
import warnings

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MLFLOW_DISABLE_ENV_CREATION="true")
warnings.filterwarnings("ignore")
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import logging

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature

logging.getLogger("mlflow").setLevel(logging.ERROR)


def say(value):
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def source(path):
    """Runs a script but for its last line, which starts it."""
    scope = {"__name__": "source"}
    exec(compile(pathlib.Path(path).read_text().rstrip().rpartition("\n")[0] + "\n    pass", path, "exec"), scope)
    return scope


def save(directory, zoo, pattern):
    """Fits and saves the models; those with probabilities twice."""
    names = []
    for build in ("linear_models", "scalers", "imputers", "encoders", "compositions", "trees", "boosting", "histograms", "others"):
        zoo[build]()
    cases = zoo["CASES"] + floats(zoo)
    for name, model, X, y, _, _ in cases:
        if name not in zoo["SMALL"] and not name.startswith("single") if pattern == "small" else not re.search(pattern, name):
            continue
        try:
            model.fit(X, y)
            for method in ["predict", "predict_proba"]:
                if not hasattr(model, method):
                    continue
                path = directory / (name if method == "predict" else name + "@" + method)
                shutil.rmtree(path, ignore_errors=True)
                answer = getattr(model, method)(X)
                outputs = answer if isinstance(answer, np.ndarray) and answer.dtype != object else None
                mlflow.sklearn.save_model(
                    model, str(path), serialization_format="cloudpickle", pyfunc_predict_fn=method, pip_requirements=["scikit-learn"],
                    signature=signature(X, outputs), input_example=X.iloc[:12] if isinstance(X, pd.DataFrame) else X[:12],
                )
                names.append({"name": path.name, "class": kind(model)})
        except Exception as problem:
            names.append({"name": name, "class": kind(model), "error": f"{type(problem).__name__}: {problem}"[:300]})
    return names


def signature(X, outputs):
    try:
        return infer_signature(X, outputs)
    except Exception:  # old versions cannot tell the type of texts of which some are missing
        return infer_signature(X.dropna(), outputs)


def floats(zoo):
    """Models whose columns are float32."""
    X, pipe, scaler = zoo["X"].astype("float32"), zoo["make_pipeline"], zoo["StandardScaler"]
    return [
        ("single-forest", zoo["RandomForestClassifier"](5, max_depth=4, random_state=0), X, zoo["Y3"], [], []),
        ("single-hist", zoo["HistGradientBoostingClassifier"](max_iter=5), X, zoo["Y3"], [], []),
        ("single-linear", zoo["LinearRegression"](), X, zoo["R"], [], []),
        ("single-logistic", pipe(scaler(), zoo["LogisticRegression"]()), X, zoo["Y3"], [], []),
    ]


def kind(model):
    while hasattr(model, "steps"):
        model = model.steps[-1][1]
    return type(model).__name__


PYTHON_TYPES = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32", "boolean": "bool"}


def data(batch):
    if "tensor" in batch:
        return np.array(batch["values"], dtype=batch["tensor"]).reshape(batch["shape"])
    columns = {}
    for i, column in enumerate(batch["columns"]):
        dtype = PYTHON_TYPES.get(column["kind"])
        values = pd.Series(column["values"]) if dtype is None else np.array(column["values"], dtype=dtype)
        columns[column["name"] if column["name"] is not None else i] = values
    return pd.DataFrame(columns)


def encode(answer):
    if isinstance(answer, list):
        return {"list": [encode(one) for one in answer]}
    if isinstance(answer, (pd.DataFrame, pd.Series)):
        answer = answer.to_numpy()
    if answer.dtype == object and answer.size and not isinstance(answer.ravel()[0], str):
        answer = np.asarray(answer.tolist())
    kind = "float32" if answer.dtype == np.float32 else {"f": "float", "i": "int", "u": "int", "b": "bool"}.get(answer.dtype.kind, "string")
    return {"shape": list(answer.shape), "kind": kind, "values": [finite(value) for value in answer.ravel().tolist()]}


def finite(value):
    """JSON has no NaN and no infinities."""
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def mutate(directory, name, change):
    """Stores the model after the change, a Python statement, was made to it."""
    import skops.io

    changed = {"model": mlflow.sklearn.load_model(str(directory / name)), "np": np}
    exec(change, changed)
    skops.io.dump(changed["model"], directory / (name + ".skops"))
    return {}


def main(make_models, converter, skops, directory, pattern):
    directory = pathlib.Path(directory)
    sys.path.append(skops)
    convert = source(converter)["convert"]
    say(save(directory, source(make_models), pattern))
    model = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "convert" in order:
                say(convert(str(directory / order["convert"]), str(directory / (order["convert"] + ".skops"))))
            elif "mutate" in order:
                say(mutate(directory, *order["mutate"]))
            elif "load" in order:
                model = mlflow.pyfunc.load_model(str(directory / order["load"]))
                say({})
            else:
                say({"answer": encode(model.predict(data(order["ask"])))})
        except Exception as problem:
            say({"error": f"{type(problem).__name__}: {problem}"[:500]})


main(*sys.argv[1:])
