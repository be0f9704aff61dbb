"""Stores the scikit-learn model of an MLflow model directory in skops' form.

    python convert.py MODEL_DIR OUT [FOLDER]

FOLDER holds skops and what it needs; it comes last on sys.path, so that the
model keeps its own libraries. The last line on stdout is JSON: what was stored,
or the reason why not. What the model prints goes to stderr.
"""

import json
import os
import sys

LIMIT = 300  # characters of a reason


class Refusal(Exception):
    """Why the model cannot be converted."""


def load(directory):
    try:
        import mlflow.sklearn
        from mlflow.models import Model
    except ImportError as problem:
        raise Refusal(f"no such module: {problem}")
    if "sklearn" not in Model.load(os.path.join(directory, "MLmodel")).flavors:
        raise Refusal("not scikit-learn: the model has no sklearn flavour")
    try:
        return mlflow.sklearn.load_model(directory)
    except ImportError as problem:
        raise Refusal(f"no such module: {problem}")
    except Exception as problem:
        raise Refusal(f"the model cannot be loaded: {type(problem).__name__}: {problem}")


def convert(directory, out):
    model = load(directory)
    kind = type(model)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__.split(".")[0] != "sklearn":
        raise Refusal(f"not scikit-learn: the model is a {name}")
    try:
        import sklearn
        import skops
        import skops.io
    except ImportError as problem:
        raise Refusal(f"no such module: {problem}")
    try:
        skops.io.dump(model, out)
    except Exception as problem:
        raise Refusal(f"skops cannot store {name}: {type(problem).__name__}: {problem}")
    return {"class": name, "sklearn": sklearn.__version__, "skops": skops.__version__}


def main(directory, out, folder=None):
    # The model shares this process: what it prints must not be taken for our answer.
    answer = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    if folder:
        sys.path.append(folder)
    try:
        said = convert(directory, out)
    except Refusal as reason:
        said = {"error": str(reason)[:LIMIT]}
    except BaseException as problem:  # a model may raise SystemExit, too
        said = {"error": f"{type(problem).__name__}: {problem}"[:LIMIT]}
    answer.write("\n" + json.dumps(said) + "\n")
    answer.flush()
    os._exit(1 if "error" in said else 0)  # threads of the model must not keep us


if __name__ == "__main__":
    main(*sys.argv[1:])
