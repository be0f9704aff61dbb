"""Fits many scikit-learn models, saves them with skops and writes what they answer.

    python make_models.py DIRECTORY [PATTERN | small]

For every model DIRECTORY gets NAME.skops; cases.json there holds the requests
and the answers of the Python library, or that it raised. Every model is loaded
again by skops before it answers, as MLflow does. "small" makes the models that
are committed beside this file, one directory for each version of scikit-learn.
"""

import json
import os
import pathlib
import re
import sys
import warnings
import zipfile

# Threads that wait for each other cost more than these small models.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import pandas as pd
import sklearn
import skops
import skops.io
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    ElasticNetCV,
    GammaRegressor,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

warnings.filterwarnings("ignore")
VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
SMALL = """logistic-str3 logistic-ovr-3 logistic-bool logistic-object logistic-liblinear-2 logistic-multinomial-2 logistic-named-array
linear linear-many lasso ridgecv multitasklasso poisson tweedie-identity ridgeclassifier-2 sgd-log_loss-2 sgd-modified_huber-3 sgd-hinge-3
sgdregressor-average linearsvc-2 scale-standard scale-minmax-clip scale-maxabs scale-robust scale-normalizer impute-mean-ind
impute-mean-empty impute-constant-empty impute-most_frequent-empty-keep impute-text-nan-most_frequent impute-union impute-minus1 onehot-plain onehot-ignore
onehot-infrequent onehot-first onehot-list onehot-infrequent-first onehot-nan-ignore onehot-numbers ordinal-plain ordinal-unknown
ordinal-infrequent ordinal-nan-value ordinal-nan-infrequent ordinal-none-value columns-names columns-remainder columns-slice columns-mask columns-selector
columns-pandas columns-weights columns-sparse columns-nested columns-named-positions union function passthrough tree-3 tree-many tree-nan
treeregressor forest-3 forest-words forest-nan forestregressor boosting-2 boosting-str3 boosting-exponential boosting-init3 boosting-zero
boostingregressor-huber hist-2 hist-str3 hist-nan hist-cat-positions hist-cat-text histregressor-poisson bayes-str3 kmeans minibatchkmeans""".split()
METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function"]


# ---- data ----


def rng(seed=0):
    return np.random.default_rng(seed)


def numbers(rows=150, seed=0):
    values = rng(seed).normal(size=(rows, 4)) * [1, 10, 0.1, 100] + [0, 5, -1, 50]
    return pd.DataFrame(values, columns=["a", "b", "c", "d"])


def holes(frame, share=0.15, seed=1, columns=("a", "c")):
    frame = frame.copy()
    for name in columns:
        frame.loc[rng(seed).random(len(frame)) < share, name] = np.nan
        seed += 1
    return frame


def score(frame):
    return (frame["a"].fillna(0) + (frame["b"].fillna(5) - 5) / 10 + (frame["c"].fillna(-1) + 1) * 5).to_numpy()


def classes(frame, names):
    cuts = np.quantile(score(frame), np.linspace(0, 1, len(names) + 1)[1:-1])
    return np.asarray(names)[np.searchsorted(cuts, score(frame))]


def target(frame, seed=3):
    return score(frame) * 3 + frame["d"].fillna(50).to_numpy() / 50 + rng(seed).normal(size=len(frame)) * 0.1


COLOURS = ["red", "green", "blue", "violet", "ochre", "grün", "日本"]


def objects(values):
    """A column of Python objects: pandas 3 would make text of an array, and NaN of None."""
    return pd.Series(values, dtype=object)


def mixed(rows=150, seed=5, missing=None):
    r = rng(seed)
    frame = numbers(rows, seed)[["a", "b"]]
    weights = np.array([30, 20, 10, 5, 3, 2, 1]) / 71
    frame["colour"] = r.choice(COLOURS, rows, p=weights).astype(object)
    frame["size"] = r.choice(["s", "m", "l"], rows).astype(object)
    frame["n"] = r.choice([1, 2, 3, 5, 8], rows)
    frame["flag"] = r.random(rows) < 0.4
    if missing is not None:
        frame.loc[r.random(rows) < 0.1, "a"] = np.nan
        kept = r.random(rows) > 0.1
        frame["colour"] = objects([colour if keep else missing["value"] for colour, keep in zip(frame["colour"], kept)])
    return frame


NONE, NAN = {"value": None}, {"value": np.nan}


def mixed_target(frame, names=("no", "yes")):
    value = frame["a"].fillna(0) + (frame["size"] == "m") * 2 + frame["flag"] + (frame["colour"] == "red")
    cuts = np.quantile(value, np.linspace(0, 1, len(names) + 1)[1:-1])
    return np.asarray(names)[np.searchsorted(cuts, value)]


def edge_numbers():
    """Rows that are answered, and rows each of which may be refused."""
    columns = ["a", "b", "c", "d"]
    fine = pd.DataFrame(
        [[0, 0, 0, 0], [-0.0, 5, -1, 50], [1e3, -1e3, 1e3, -1e3], [1e-300, 1e-9, -1e-9, 1], [1e6, 1e6, -1e6, 1e6], [0.1, 0.2, 0.3, 0.7]],
        columns=columns, dtype="float64",
    )
    nan = np.nan
    risky = [[nan, 5, -1, 50], [0, nan, nan, nan], [nan, nan, nan, nan], [np.inf, 0, 0, 0], [0, -np.inf, 0, 0], [1e39, 0, 0, 0], [1e300, -1e300, 0, 0]]
    return [fine] + [pd.DataFrame([row], columns=columns, dtype="float64") for row in risky]


def requests_for(frame):
    """The first rows in one request, the next one by one, then edges, another order, fewer and more columns."""
    some = [frame.iloc[:20].reset_index(drop=True)] + [frame.iloc[[i]].reset_index(drop=True) for i in (40, 41, 42)]
    return some + edge_numbers() + [frame.iloc[43:45, ::-1].reset_index(drop=True), frame.iloc[[45], 1:].reset_index(drop=True), frame.iloc[[46]].assign(more=1.0).reset_index(drop=True)]


def arrays_for(frame):
    return [frame.iloc[:20].to_numpy(), frame.iloc[20:21].to_numpy(), frame.iloc[21:24, :3].to_numpy()]


def unnamed(frame):
    return [frame.iloc[:10].reset_index(drop=True).set_axis(range(frame.shape[1]), axis=1)]


def singles(frame):
    return [frame.iloc[:30].astype("float32").reset_index(drop=True), frame.iloc[30:40].astype({"a": "float32", "b": "float32"}).reset_index(drop=True)]


def mixed_requests(frame, missing=None):
    first = frame.iloc[:20].reset_index(drop=True)
    out = [first] + [frame.iloc[[i]].reset_index(drop=True) for i in (40, 41, 42, 43)]
    unknown = frame.iloc[[44]].reset_index(drop=True)
    out.append(unknown.assign(colour=np.array(["mauve"], dtype=object)))
    out.append(unknown.assign(colour=np.array([""], dtype=object)))
    out.append(unknown.assign(size=np.array(["xl"], dtype=object)))
    out.append(unknown.assign(n=np.array([7])))
    out.append(unknown.assign(a=np.nan))
    out.append(unknown.assign(a=np.inf))
    out.append(frame.iloc[45:50, ::-1].reset_index(drop=True))
    out.append(frame.iloc[[50]].drop(columns="b").reset_index(drop=True))
    out.append(frame.iloc[[51]].drop(columns="flag").reset_index(drop=True))
    out.append(frame.iloc[[52]].assign(more="x").reset_index(drop=True))
    value = (missing or NAN)["value"]
    out.append(unknown.assign(colour=objects([value])))
    two = frame.iloc[53:56].reset_index(drop=True)
    two["colour"] = objects(["red", value, "mauve"])
    out.append(two)
    return out


# ---- cases ----

CASES = []


def case(name, model, X, y, requests, methods=METHODS):
    CASES.append((name, model, X, y, requests, methods))


X = numbers()
XH = holes(X)
two, three, names2, names3 = [0, 1], [3, 5, 9], ["no", "yes"], ["setosa", "versicolor", "virginica"]
Y2, Y3 = classes(X, two), classes(X, three)
R = target(X)
RR = np.column_stack([R, target(X, 9) ** 2, -R])
PLAIN = requests_for(X)
HOLED = requests_for(XH)


def linear_models():
    for name, labels in [("int2", two), ("int3", three), ("str2", names2), ("str3", names3), ("bool", [False, True]), ("float", [1.0, 2.0, 3.0]), ("neg", [-1, 1])]:
        y = classes(X, labels)
        case(f"logistic-{name}", make_pipeline(StandardScaler(), LogisticRegression()), X, y, PLAIN)
    objects = classes(X, names3).astype(object)
    case("logistic-object", make_pipeline(StandardScaler(), LogisticRegression()), X, objects, PLAIN)
    case("logistic-array", make_pipeline(StandardScaler(), LogisticRegression()), X.to_numpy(), Y3, arrays_for(X) + unnamed(X) + [X.iloc[:3]])
    case("logistic-named-array", make_pipeline(StandardScaler(), LogisticRegression()), X, Y3, arrays_for(X) + unnamed(X))
    for solver in ["liblinear", "newton-cholesky", "saga", "newton-cg"]:
        for kind, y in [("2", Y2), ("3", Y3)]:
            if (solver, kind) == ("liblinear", "3") and VERSION >= (1, 8):
                continue
            case(f"logistic-{solver}-{kind}", make_pipeline(StandardScaler(), LogisticRegression(solver=solver)), X, y, PLAIN)
    if VERSION < (1, 8):
        for multi in ["ovr", "multinomial"]:
            for kind, y in [("2", Y2), ("3", Y3)]:
                case(f"logistic-{multi}-{kind}", make_pipeline(StandardScaler(), LogisticRegression(multi_class=multi)), X, y, PLAIN)
    case("logistic-penalty", make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", fit_intercept=False, random_state=0)), X, Y3, PLAIN)
    case("logisticcv", make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=3, cv=3)), X, Y3, PLAIN)
    case("logisticcv-2", make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=3, cv=3)), X, Y2, PLAIN)
    case("linear", LinearRegression(), X, R, PLAIN + arrays_for(X))
    case("linear-many", LinearRegression(), X, RR, PLAIN)
    case("linear-column", LinearRegression(fit_intercept=False), X, R.reshape(-1, 1), PLAIN)
    case("linear-positive", LinearRegression(positive=True), X, R, PLAIN)
    case("ridge", Ridge(alpha=2), X, R, PLAIN)
    case("ridge-many", Ridge(alpha=np.array([1, 2, 3])), X, RR, PLAIN)
    case("ridgecv", RidgeCV(alphas=[0.1, 1, 10]), X, R, PLAIN)
    case("lasso", Lasso(alpha=0.05), X, R, PLAIN)
    case("lasso-many", Lasso(alpha=0.05), X, RR, PLAIN)
    case("lassocv", LassoCV(cv=3, n_alphas=5) if VERSION < (1, 9) else LassoCV(cv=3, alphas=5), X, R, PLAIN)
    case("elasticnet", ElasticNet(alpha=0.05), X, R, PLAIN)
    case("elasticnetcv", ElasticNetCV(cv=3, alphas=[0.1, 1]), X, R, PLAIN)
    case("multitasklasso", MultiTaskLasso(alpha=0.05), X, RR, PLAIN)
    case("multitaskelasticnet", MultiTaskElasticNet(alpha=0.05), X, RR, PLAIN)
    case("multitasklassocv", MultiTaskLassoCV(cv=3, alphas=[0.1, 1]), X, RR, PLAIN)
    case("multitaskelasticnetcv", MultiTaskElasticNetCV(cv=3, alphas=[0.1, 1]), X, RR, PLAIN)
    counts = np.round(np.exp(score(X) / 2)).clip(0, 50)
    for name, model in [("poisson", PoissonRegressor()), ("tweedie", TweedieRegressor(power=1.5)), ("tweedie-identity", TweedieRegressor(power=0, link="identity")), ("tweedie-auto", TweedieRegressor())]:
        case(name, make_pipeline(StandardScaler(), model), X, counts, PLAIN)
    case("gamma", make_pipeline(StandardScaler(), GammaRegressor()), X, counts + 0.5, PLAIN)
    case("ridgeclassifier-2", RidgeClassifier(), X, classes(X, names2), PLAIN)
    case("ridgeclassifier-3", RidgeClassifier(class_weight="balanced"), X, Y3, PLAIN)
    case("ridgeclassifiercv", RidgeClassifierCV(), X, classes(X, names3), PLAIN)
    for loss in ["hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron", "squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive"]:
        for kind, y in [("2", Y2), ("3", classes(X, names3))]:
            case(f"sgd-{loss}-{kind}", make_pipeline(StandardScaler(), SGDClassifier(loss=loss, random_state=0)), X, y, PLAIN)
    case("sgd-average", make_pipeline(StandardScaler(), SGDClassifier(average=True, early_stopping=True, random_state=0)), X, Y3, PLAIN)
    case("sgdregressor", make_pipeline(StandardScaler(), SGDRegressor(random_state=0)), X, R, PLAIN)
    case("sgdregressor-average", make_pipeline(StandardScaler(), SGDRegressor(average=10, loss="huber", random_state=0)), X, R, PLAIN)
    case("linearsvc-2", make_pipeline(StandardScaler(), LinearSVC(random_state=0)), X, Y2, PLAIN)
    case("linearsvc-3", make_pipeline(StandardScaler(), LinearSVC(random_state=0, multi_class="crammer_singer")), X, classes(X, names3), PLAIN)
    case("linearsvr", make_pipeline(StandardScaler(), LinearSVR(random_state=0)), X, R, PLAIN)
    case("linear-float32", LinearRegression(), X.astype("float32"), R.astype("float32"), singles(X) + PLAIN)
    case("logistic-float32", make_pipeline(StandardScaler(), LogisticRegression()), X.astype("float32"), Y3, singles(X) + PLAIN)


def scalers():
    for name, scaler in [
        ("standard", StandardScaler()), ("standard-nomean", StandardScaler(with_mean=False)), ("standard-nostd", StandardScaler(with_std=False)),
        ("standard-none", StandardScaler(with_mean=False, with_std=False)), ("minmax", MinMaxScaler()), ("minmax-clip", MinMaxScaler((-1, 2), clip=True)),
        ("maxabs", MaxAbsScaler()), ("robust", RobustScaler()), ("robust-unit", RobustScaler(unit_variance=True, quantile_range=(10, 90))),
        ("robust-nocenter", RobustScaler(with_centering=False)), ("robust-noscale", RobustScaler(with_scaling=False)),
        ("normalizer", Normalizer()), ("normalizer-l1", Normalizer("l1")), ("normalizer-max", Normalizer("max")),
    ]:
        constant = X.assign(d=7.0)
        case(f"scale-{name}", make_pipeline(scaler, LinearRegression()), constant, R, PLAIN + ([] if name in ("normalizer", "normalizer-l1") else singles(X)))
        case(f"scale-{name}-nan", make_pipeline(scaler, HistGradientBoostingRegressor(max_iter=5)), X if "normalizer" in name else XH, R, HOLED)
    if VERSION >= (1, 8):
        case("scale-maxabs-clip", make_pipeline(MaxAbsScaler(clip=True), LinearRegression()), X, R, PLAIN)
    ints = pd.DataFrame(rng(2).integers(-5, 9, (80, 3)), columns=["i", "j", "k"])
    case("scale-ints", make_pipeline(StandardScaler(), LinearRegression()), ints, ints["i"] * 2.0, [ints.iloc[:9], ints.iloc[:9].astype("int32"), ints.iloc[:9].astype({"i": "float64"}), ints.iloc[:9].astype({"i": bool})])


def imputers():
    for strategy in ["mean", "median", "most_frequent", "constant"]:
        for indicator in [False, True]:
            for empty in [False, True]:
                data = XH.assign(b=np.nan) if empty else XH
                for keep in [False, True] if empty else [False]:
                    model = make_pipeline(SimpleImputer(strategy=strategy, add_indicator=indicator, keep_empty_features=keep), LinearRegression())
                    case(f"impute-{strategy}{'-ind' if indicator else ''}{'-empty' if empty else ''}{'-keep' if keep else ''}", model, data, R, HOLED)
    case("impute-fill", make_pipeline(SimpleImputer(strategy="constant", fill_value=-7.5), LinearRegression()), XH, R, HOLED + singles(XH))
    minus = XH.fillna(-1.0)
    case("impute-minus1", make_pipeline(SimpleImputer(missing_values=-1.0, add_indicator=True), LinearRegression()), minus, R, requests_for(minus))
    ints = pd.DataFrame(rng(2).integers(-1, 4, (80, 3)), columns=["i", "j", "k"])
    for strategy in ["mean", "most_frequent"]:
        case(f"impute-ints-{strategy}", make_pipeline(SimpleImputer(missing_values=-1, strategy=strategy), LinearRegression()), ints, ints["i"] * 2.0, [ints.iloc[:30], ints.iloc[30:31]])
    case("impute-union", make_pipeline(make_union(SimpleImputer(), MissingIndicator()), LinearRegression()), XH, R, HOLED)
    case("impute-union-all", make_pipeline(FeatureUnion([("s", SimpleImputer()), ("m", MissingIndicator(features="all"))], transformer_weights={"s": 0.5}), LinearRegression()), XH, R, HOLED)
    case("impute-float32", make_pipeline(SimpleImputer(), LinearRegression()), XH.astype("float32"), R, singles(XH) + HOLED)
    for name, missing in [("none", NONE), ("nan", NAN)]:
        frame = mixed(missing=missing)
        text = frame[["colour", "size"]]
        asked = [request[["colour", "size"]] for request in mixed_requests(frame, missing) if {"colour", "size"} <= set(request)]
        value = missing["value"]
        for strategy in ["most_frequent", "constant"]:
            imputer = SimpleImputer(missing_values=value, strategy=strategy, fill_value="none" if strategy == "constant" else None)
            case(f"impute-text-{name}-{strategy}", make_pipeline(imputer, OneHotEncoder(handle_unknown="ignore"), LogisticRegression()), text, mixed_target(frame), asked)
    frame = mixed()
    blank = frame[["colour", "size"]].replace("green", "?")
    case("impute-text-mark", make_pipeline(SimpleImputer(missing_values="?", strategy="most_frequent", add_indicator=True).set_output(transform="default"), OneHotEncoder(handle_unknown="ignore"), LogisticRegression()), blank, mixed_target(frame), [blank.iloc[:20], blank.iloc[[20]]])


def encoders():
    frame = mixed()
    y = mixed_target(frame)
    asked = mixed_requests(frame)
    columns = ["colour", "size", "n", "flag"]

    def with_encoder(encoder, final=None):
        return make_pipeline(ColumnTransformer([("code", encoder, columns)], remainder="passthrough"), LogisticRegression(max_iter=1000) if final is None else final)

    options = {
        "plain": {}, "ignore": {"handle_unknown": "ignore"}, "infrequent": {"handle_unknown": "infrequent_if_exist", "min_frequency": 10},
        "first": {"drop": "first"}, "binary": {"drop": "if_binary"}, "first-ignore": {"drop": "first", "handle_unknown": "ignore"},
        "list": {"drop": np.array(["red", "m", 3, True], dtype=object)}, "dense": {"sparse_output": False, "handle_unknown": "ignore"},
        "max": {"max_categories": 4, "handle_unknown": "infrequent_if_exist"}, "max-error": {"max_categories": 3}, "max1": {"max_categories": 1, "handle_unknown": "ignore"},
        "share": {"min_frequency": 0.1, "handle_unknown": "ignore"}, "infrequent-first": {"min_frequency": 12, "drop": "first", "handle_unknown": "infrequent_if_exist"},
        "infrequent-binary": {"max_categories": 2, "drop": "if_binary", "handle_unknown": "infrequent_if_exist"}, "int": {"dtype": np.int64, "handle_unknown": "ignore"},
        "float32": {"dtype": np.float32, "handle_unknown": "ignore"}, "pyfloat": {"dtype": float}, "pyint": {"dtype": int}, "int32": {"dtype": np.int32},
        "given": {"categories": [COLOURS + ["mauve"], ["s", "m", "l", "xl"], [1, 2, 3, 5, 7, 8], [False, True]]},
    }
    if VERSION >= (1, 6):
        options["warn"] = {"handle_unknown": "warn", "min_frequency": 10}
    for name, option in options.items():
        case(f"onehot-{name}", with_encoder(OneHotEncoder(**option)), frame, y, asked)
    options = {
        "plain": {}, "unknown": {"handle_unknown": "use_encoded_value", "unknown_value": -1}, "unknown-nan": {"handle_unknown": "use_encoded_value", "unknown_value": np.nan},
        "infrequent": {"handle_unknown": "use_encoded_value", "unknown_value": -5, "min_frequency": 10}, "max": {"max_categories": 3}, "int": {"dtype": np.int64, "handle_unknown": "use_encoded_value", "unknown_value": 99},
        "float32": {"dtype": np.float32},
    }
    for name, option in options.items():
        final = HistGradientBoostingClassifier(max_iter=5) if name == "unknown-nan" else None
        case(f"ordinal-{name}", with_encoder(OrdinalEncoder(**option), final), frame, y, asked)
    for name, missing in [("none", NONE), ("nan", NAN)]:
        frame = mixed(missing=missing)
        y = mixed_target(frame)
        asked = mixed_requests(frame, missing)
        hist = lambda: HistGradientBoostingClassifier(max_iter=5)
        case(f"onehot-{name}", with_encoder(OneHotEncoder(), hist()), frame, y, asked)
        case(f"onehot-{name}-ignore", with_encoder(OneHotEncoder(handle_unknown="ignore", min_frequency=8), hist()), frame, y, asked)
        case(f"onehot-{name}-float", make_pipeline(ColumnTransformer([("code", OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=20, sparse_output=False), ["a", "colour"])]), hist()), frame, y, asked)
        case(f"ordinal-{name}", with_encoder(OrdinalEncoder(), hist()), frame, y, asked)
        case(f"ordinal-{name}-value", with_encoder(OrdinalEncoder(encoded_missing_value=-9, handle_unknown="use_encoded_value", unknown_value=-3), hist()), frame, y, asked)
        case(f"ordinal-{name}-infrequent", with_encoder(OrdinalEncoder(encoded_missing_value=-2, min_frequency=9, handle_unknown="use_encoded_value", unknown_value=-3), hist()), frame, y, asked)
    frame = mixed()
    codes = frame[["n"]].assign(f=frame["n"] * 0.5)
    asked = [codes.iloc[:30], codes.iloc[:3].assign(n=codes["n"].iloc[:3].astype("float64")), codes.iloc[[0]].assign(f=[0.7]), codes.iloc[[0]].assign(f=[np.nan]), codes.iloc[:3].astype("float32")]
    case("onehot-numbers", make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()), codes, mixed_target(frame), asked)
    case("onehot-array", make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()), codes.to_numpy(), mixed_target(frame), [codes.iloc[:30].to_numpy()] + asked)
    text = frame[["colour", "size"]]
    case("onehot-text-array", make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()), text.to_numpy(), mixed_target(frame), [text.iloc[:20].to_numpy(), text.iloc[:20]])
    case("onehot-fixed-text", make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()), text.to_numpy().astype("U6"), mixed_target(frame), [text.iloc[:20].to_numpy(), text.iloc[:20]])


def compositions():
    frame = mixed()
    y, y3 = mixed_target(frame), mixed_target(frame, ["x", "y", "z"])
    asked = mixed_requests(frame)
    numeric, text = ["a", "b"], ["colour", "size"]
    hot = lambda **more: OneHotEncoder(handle_unknown="ignore", **more)

    def columns(name, transformer, final=None, target=y):
        case(name, make_pipeline(transformer, LogisticRegression(max_iter=500) if final is None else final), frame, target, asked)

    columns("columns-names", ColumnTransformer([("n", StandardScaler(), numeric), ("t", hot(), text)]))
    columns("columns-drop", ColumnTransformer([("n", StandardScaler(), numeric), ("t", "drop", text), ("p", "passthrough", ["n"])]))
    columns("columns-remainder", ColumnTransformer([("t", hot(), text)], remainder="passthrough"), target=y3)
    columns("columns-remainder-scaler", ColumnTransformer([("t", hot(), text)], remainder=StandardScaler()))
    columns("columns-positions", ColumnTransformer([("n", StandardScaler(), [0, 1]), ("t", hot(), [2, -3])], remainder="passthrough"))
    columns("columns-slice", ColumnTransformer([("n", StandardScaler(), slice(0, 2)), ("t", hot(), slice("colour", "size"))]))
    columns("columns-slice-end", ColumnTransformer([("n", MinMaxScaler(), slice(-2, None)), ("t", hot(), slice(2, 4))]))
    columns("columns-mask", ColumnTransformer([("n", StandardScaler(), [True, True, False, False, False, False]), ("t", hot(), np.array([False, False, True, True, False, False]))]))
    columns("columns-selector", make_column_transformer((StandardScaler(), make_column_selector(dtype_include="number")), (hot(), make_column_selector(dtype_include=object))))
    columns("columns-pattern", make_column_transformer((hot(), make_column_selector(pattern="^(colour|size)$")), remainder="drop"))
    columns("columns-weights", ColumnTransformer([("n", StandardScaler(), numeric), ("t", hot(), text)], transformer_weights={"n": 2.5, "t": 0.1}))
    columns("columns-empty", ColumnTransformer([("n", StandardScaler(), numeric), ("t", hot(), [])]))
    columns("columns-quiet", ColumnTransformer([("n", StandardScaler(), numeric), ("t", hot(), text)], verbose_feature_names_out=False, n_jobs=1, sparse_threshold=0))
    columns("columns-twice", ColumnTransformer([("n", StandardScaler(), numeric), ("m", MinMaxScaler(), ["a"]), ("p", "passthrough", ["a"])]))
    columns("columns-pipeline", ColumnTransformer([("n", make_pipeline(SimpleImputer(), StandardScaler()), numeric), ("t", make_pipeline(SimpleImputer(strategy="most_frequent"), hot()), text)]))
    columns("columns-nested", ColumnTransformer([("both", ColumnTransformer([("n", StandardScaler(), numeric), ("t", hot(), text)]), numeric + text)], remainder="passthrough"))
    columns("columns-forest", ColumnTransformer([("n", StandardScaler(), numeric), ("t", hot(), text)]), RandomForestClassifier(8, random_state=0), y3)
    columns("columns-sparse", ColumnTransformer([("t", OneHotEncoder(), ["colour", "n"])], sparse_threshold=1), DecisionTreeClassifier(random_state=0))
    if VERSION >= (1, 4):  # 1.3 and a new scipy do not fit
        columns("columns-sparse-scale", make_pipeline(ColumnTransformer([("t", hot(), ["colour", "n", "size"])], sparse_threshold=1), StandardScaler(with_mean=False), MaxAbsScaler()), ExtraTreesClassifier(5, random_state=0))
    dense = {"sparse_output": False}
    first = ColumnTransformer([("n", StandardScaler(), numeric), ("t", hot(**dense), text)], remainder="passthrough", verbose_feature_names_out=False).set_output(transform="pandas")
    second = ColumnTransformer([("s", RobustScaler(), ["a", "size_m"]), ("n", "passthrough", ["n", "flag"])])
    columns("columns-pandas", make_pipeline(first, second))
    whole = make_pipeline(ColumnTransformer([("n", StandardScaler(), numeric), ("t", hot(**dense), text)]), StandardScaler(), LogisticRegression()).set_output(transform="pandas")
    case("pipeline-pandas", whole, frame, y, asked)
    case("columns-array", make_pipeline(ColumnTransformer([("n", StandardScaler(), [0, 2])], remainder="passthrough"), LogisticRegression()), X.to_numpy(), Y3, arrays_for(X) + unnamed(X) + [X.iloc[:5]])
    case("columns-named-array", make_pipeline(ColumnTransformer([("n", StandardScaler(), ["a", "c"])], remainder="passthrough"), LogisticRegression()), X, Y3, PLAIN + arrays_for(X) + unnamed(X))
    case("columns-named-positions", make_pipeline(ColumnTransformer([("n", StandardScaler(), [0, 2])], remainder="drop"), LogisticRegression()), X, Y3, PLAIN + arrays_for(X) + unnamed(X))
    case("union", make_pipeline(FeatureUnion([("s", StandardScaler()), ("m", MinMaxScaler()), ("d", "drop"), ("p", "passthrough")], transformer_weights={"m": 3}), LinearRegression()), X, R, PLAIN + arrays_for(X))
    case("function", make_pipeline(FunctionTransformer(), StandardScaler(), FunctionTransformer(), LogisticRegression()), X, Y3, PLAIN + arrays_for(X))
    case("passthrough", Pipeline([("a", "passthrough"), ("s", StandardScaler()), ("b", None), ("p", Pipeline([("m", MinMaxScaler()), ("n", "passthrough")])), ("c", LogisticRegression())]), X, Y3, PLAIN)
    case("pipeline-nested", make_pipeline(StandardScaler(), make_pipeline(MinMaxScaler(), make_pipeline(MaxAbsScaler(), LogisticRegression()))), X, Y3, PLAIN)


def trees():
    ties = pd.DataFrame({"a": [0.1, 0.2, 0.30000001, 0.3, 16777217.0, 16777216.0, 1e-45, 0.1 + 0.2], "b": [1.0] * 8, "c": [0.0] * 8, "d": [0.5] * 8})
    tied = X.assign(a=rng(4).choice(ties["a"], len(X)), b=rng(5).integers(0, 3, len(X)) * 1.0)
    more = [ties] + singles(X)
    both = np.column_stack([Y3, classes(X, [1, 2])])
    words = np.column_stack([classes(X, names3), classes(X, ["p", "q"])])
    for name, model in [("tree", DecisionTreeClassifier), ("extratree", ExtraTreeClassifier)]:
        case(f"{name}-2", model(random_state=0), X, Y2, PLAIN + more)
        case(f"{name}-3", model(random_state=0, max_depth=4, min_samples_leaf=3), tied, classes(tied, names3), PLAIN + more)
        case(f"{name}-many", model(random_state=0, max_depth=4), X, both, PLAIN)
        case(f"{name}-words", model(random_state=0, max_depth=4), X, words, PLAIN)
        case(f"{name}-array", model(random_state=0, max_depth=4), X.to_numpy(), Y3, arrays_for(X) + unnamed(X))
    case("tree-options", DecisionTreeClassifier(criterion="entropy", splitter="random", max_leaf_nodes=9, ccp_alpha=0.01, class_weight={3: 1, 5: 2, 9: 3}, random_state=0), X, Y3, PLAIN)
    case("tree-bool", DecisionTreeClassifier(max_depth=3, random_state=0), X, classes(X, [False, True]), PLAIN)
    case("tree-leaf", DecisionTreeClassifier(max_depth=1, min_samples_leaf=74, random_state=0), X, Y2, PLAIN)
    case("tree-nan", DecisionTreeClassifier(max_depth=5, random_state=0), XH, classes(XH, names3), HOLED)
    case("tree-int", DecisionTreeClassifier(max_depth=5, random_state=0), pd.DataFrame({"i": rng(1).integers(0, 50, 90), "j": rng(2).integers(0, 9, 90)}), rng(1).integers(0, 50, 90) > 20, [pd.DataFrame({"i": [16777217, 3, 25], "j": [1, 2, 3]}), pd.DataFrame({"i": [3.5], "j": [1]})])
    for name, model in [("treeregressor", DecisionTreeRegressor), ("extratreeregressor", ExtraTreeRegressor)]:
        case(name, model(random_state=0, max_depth=6), X, R, PLAIN + more)
        case(f"{name}-many", model(random_state=0, max_depth=4), X, RR, PLAIN)
    case("treeregressor-nan", DecisionTreeRegressor(max_depth=5, random_state=0), XH, target(XH), HOLED)
    case("treeregressor-absolute", DecisionTreeRegressor(criterion="absolute_error", max_depth=4, random_state=0), X, R, PLAIN)
    if VERSION >= (1, 4):
        case("tree-monotonic", DecisionTreeClassifier(max_depth=4, monotonic_cst=[1, 0, 0, 0], random_state=0), X, Y2, PLAIN)
    for name, model in [("forest", RandomForestClassifier), ("extratrees", ExtraTreesClassifier)]:
        case(f"{name}-2", model(6, random_state=0, max_depth=4), X, Y2, PLAIN + more)
        case(f"{name}-3", model(6, random_state=0, max_depth=4), X, classes(X, names3), PLAIN + more)
        case(f"{name}-many", model(4, random_state=0, max_depth=3), X, both, PLAIN)
        case(f"{name}-words", model(4, random_state=0, max_depth=3), X, words, PLAIN)
    case("forest-ties", RandomForestClassifier(4, max_depth=1, random_state=1), X.round(), classes(X, [1, 2, 3, 4]), PLAIN)
    case("forest-oob", RandomForestClassifier(20, oob_score=True, max_depth=2, criterion="log_loss", max_samples=0.5, random_state=0, n_jobs=1), X, Y3, PLAIN)
    case("forest-ten", RandomForestClassifier(3, max_depth=5, random_state=1), X, classes(X, list(range(10))), PLAIN)
    if VERSION >= (1, 4):
        case("forest-nan", RandomForestClassifier(5, max_depth=4, random_state=0), XH, classes(XH, names3), HOLED)
        case("forestregressor-nan", RandomForestRegressor(5, max_depth=4, random_state=0), XH, target(XH), HOLED)
    if VERSION >= (1, 6):
        case("extratrees-nan", ExtraTreesClassifier(5, max_depth=4, random_state=0), XH, classes(XH, names3), HOLED)
        case("extratreesregressor-nan", ExtraTreesRegressor(5, max_depth=4, random_state=0), XH, target(XH), HOLED)
    for name, model in [("forestregressor", RandomForestRegressor), ("extratreesregressor", ExtraTreesRegressor)]:
        case(name, model(6, random_state=0, max_depth=4), X, R, PLAIN + more)
        case(f"{name}-many", model(4, random_state=0, max_depth=3), X, RR, PLAIN)
    case("forestregressor-poisson", RandomForestRegressor(4, criterion="poisson", max_depth=3, random_state=0), X, np.abs(R) + 1, PLAIN)


def boosting():
    for name, labels in [("2", two), ("str2", names2), ("3", three), ("str3", names3)]:
        case(f"boosting-{name}", GradientBoostingClassifier(n_estimators=8, random_state=0), X, classes(X, labels), PLAIN)
    case("boosting-exponential", GradientBoostingClassifier(n_estimators=8, loss="exponential", random_state=0), X, Y2, PLAIN)
    case("boosting-zero", GradientBoostingClassifier(n_estimators=4, init="zero", random_state=0), X, Y3, PLAIN)
    case("boosting-zero2", GradientBoostingClassifier(n_estimators=4, init="zero", learning_rate=1.5, random_state=0), X, Y2, PLAIN)
    case("boosting-early", GradientBoostingClassifier(n_estimators=30, n_iter_no_change=2, subsample=0.7, max_features=2, random_state=0), X, Y3, PLAIN)
    case("boosting-init", GradientBoostingClassifier(n_estimators=4, init=LogisticRegression(max_iter=2000), random_state=0), X, Y2, PLAIN)
    case("boosting-init3", GradientBoostingClassifier(n_estimators=4, init=DecisionTreeClassifier(max_depth=3, random_state=0), random_state=0), X, Y3, PLAIN)
    case("boosting-init-exp", GradientBoostingClassifier(n_estimators=4, loss="exponential", init=GaussianNB(), random_state=0), X, Y2, PLAIN)
    case("boosting-dummy", GradientBoostingClassifier(n_estimators=2, init=DummyClassifier(strategy="prior"), random_state=0), X, Y3, PLAIN)
    for loss in ["squared_error", "absolute_error", "huber", "quantile"]:
        case(f"boostingregressor-{loss}", GradientBoostingRegressor(n_estimators=8, loss=loss, alpha=0.8, random_state=0), X, R, PLAIN)
    case("boostingregressor-zero", GradientBoostingRegressor(n_estimators=8, init="zero", random_state=0), X, R, PLAIN)
    case("boostingregressor-init", GradientBoostingRegressor(n_estimators=4, init=LinearRegression(), random_state=0), X, R, PLAIN)
    case("boostingregressor-dummy", GradientBoostingRegressor(n_estimators=4, init=DummyRegressor(strategy="constant", constant=4.5), random_state=0), X, R, PLAIN)


def histograms():
    few = {"max_iter": 6, "random_state": 0}
    for name, labels in [("2", two), ("str2", names2), ("str3", names3)]:
        case(f"hist-{name}", HistGradientBoostingClassifier(**few), X, classes(X, labels), PLAIN + singles(X))
    case("hist-array", HistGradientBoostingClassifier(**few), X.to_numpy(), Y3, arrays_for(X) + unnamed(X))
    case("hist-nan", HistGradientBoostingClassifier(**few), XH, classes(XH, names3), HOLED)
    case("hist-nan2", HistGradientBoostingClassifier(**few, early_stopping=True, max_leaf_nodes=5, class_weight="balanced"), XH, classes(XH, two), HOLED)
    for loss in ["squared_error", "absolute_error", "poisson", "quantile", "gamma"]:
        more = {"quantile": 0.7} if loss == "quantile" else {}
        case(f"histregressor-{loss}", HistGradientBoostingRegressor(**few, loss=loss, **more), XH, np.abs(target(XH)) + 1, HOLED)
    coded = X.assign(b=rng(8).integers(0, 12, len(X)) * 1.0, d=rng(9).integers(0, 40, len(X)) * 1.0)
    coded.loc[::9, "b"] = np.nan
    large = (256.0, 300.0, 1e10, np.inf) if VERSION >= (1, 4) else ()  # before, they wrapped around as C pleased
    y = np.where((coded["b"].fillna(3) % 3 == 0) ^ (coded["d"] % 5 == 1), "in", "out")
    asked = [coded.iloc[:40]] + [coded.iloc[[0]].assign(b=[value]) for value in (np.nan, -1.0, 13.0, 2.5, 200.0) + large] + [coded.iloc[:4, ::-1], coded.iloc[:4].astype("float32")]
    for name, features in [("positions", [1, 3]), ("mask", [False, True, False, True]), ("names", ["b", "d"])]:
        case(f"hist-cat-{name}", HistGradientBoostingClassifier(**few, categorical_features=features, min_samples_leaf=3), coded, y, asked)
    case("histregressor-cat", HistGradientBoostingRegressor(**few, categorical_features=[1, 3], min_samples_leaf=3), coded, (y == "in") * 3.0 + coded["a"], asked)
    case("hist-cat-array", HistGradientBoostingClassifier(**few, categorical_features=[1, 3], min_samples_leaf=3), coded.to_numpy(), y, [coded.iloc[:30].to_numpy(), coded.iloc[:30]])
    if VERSION >= (1, 4):
        frame = mixed(missing=NAN)
        asked = mixed_requests(frame, NAN)
        case("hist-cat-text", HistGradientBoostingClassifier(**few, categorical_features=["colour", "size"], min_samples_leaf=3), frame, mixed_target(frame), asked)
    case("hist-monotonic", HistGradientBoostingRegressor(**few, monotonic_cst=[1, 0, -1, 0], interaction_cst="no_interactions", max_bins=20, l2_regularization=1), X, R, PLAIN)
    first = ColumnTransformer([("code", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), ["colour", "size"])], remainder="passthrough")
    frame = mixed()
    case("hist-pipeline", make_pipeline(first, HistGradientBoostingClassifier(**few, categorical_features=[0, 1], min_samples_leaf=3)), frame, mixed_target(frame), mixed_requests(frame))


def others():
    for name, labels in [("2", two), ("str3", names3)]:
        case(f"bayes-{name}", GaussianNB(), X, classes(X, labels), PLAIN + singles(X))
    case("bayes-priors", GaussianNB(priors=[0.2, 0.3, 0.5], var_smoothing=1e-6), X, Y3, PLAIN)
    case("kmeans", make_pipeline(StandardScaler(), KMeans(4, n_init=2, random_state=0)), X, None, PLAIN + singles(X), ["predict"])
    case("kmeans-elkan", KMeans(3, algorithm="elkan", init="random", n_init=2, random_state=0), X, None, PLAIN, ["predict"])
    case("minibatchkmeans", MiniBatchKMeans(3, n_init=2, random_state=0), X, None, PLAIN, ["predict"])


# ---- writing ----


def encode_number(value):
    value = float(value)
    if np.isnan(value):
        return None
    if np.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def encode_value(value):
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, str):
        return str(value)
    return encode_number(value)


def kind_of(dtype):
    if dtype == np.float32:
        return "float32"
    kind = getattr(dtype, "kind", "O")
    return {"f": "float", "i": "int", "u": "int", "b": "bool"}.get(kind, "string")


def encode_request(request):
    if isinstance(request, pd.DataFrame):
        named = all(isinstance(name, str) for name in request.columns)
        return {
            "rows": len(request),
            "columns": [
                {"name": name if named else "", "kind": kind_of(request.dtypes.iloc[j]), "values": [encode_value(value) for value in request.iloc[:, j]]}
                for j, name in enumerate(request.columns)
            ],
        }
    dtype = "str" if request.dtype == object else str(request.dtype)
    return {"rows": len(request), "tensor": dtype, "shape": list(request.shape), "values": [encode_value(value) for value in request.ravel()]}


def encode_answer(answer):
    if isinstance(answer, list):
        return {"list": [encode_answer(one) for one in answer]}
    kind = kind_of(answer.dtype)
    if answer.dtype == object and answer.size and not isinstance(answer.ravel()[0], str):
        kind = kind_of(np.asarray(answer.tolist()).dtype)
    return {"shape": list(answer.shape), "kind": kind, "values": [encode_value(value) for value in answer.ravel()]}


def ask(model, method, request):
    try:
        return encode_answer(getattr(model, method)(request.copy()))
    except Exception as problem:
        return {"error": f"{type(problem).__name__}: {problem}"[:200]}


def overflows(model, request):
    """Says whether the classes hang on a score beyond the greatest float: whether
    that becomes infinite or NaN depends on the order in which a BLAS adds up,
    which is the processor's."""
    try:
        return not np.isfinite(model.decision_function(request.copy())).all()
    except Exception:  # there is none, or it refuses the request
        return False


def main(directory, pattern=""):
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for build in (linear_models, scalers, imputers, encoders, compositions, trees, boosting, histograms, others):
        build()
    cases, broken = [], []
    for name, model, X, y, requests, methods in CASES:
        if name not in SMALL if pattern == "small" else not re.search(pattern, name):
            continue
        path = directory / f"{name}.skops"
        try:
            skops.io.dump(model.fit(X, y), path, compression=zipfile.ZIP_DEFLATED, compresslevel=9)
            loaded = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
        except Exception as problem:
            broken.append(f"{name}: {type(problem).__name__}: {problem}")
            path.unlink(missing_ok=True)
            continue
        requests = [request for request in requests if not overflows(loaded, request)]
        cases.append({
            "name": name,
            "requests": [encode_request(request) for request in requests],
            # Every method checks its input alike: the others are asked less.
            "answers": {
                method: [ask(loaded, method, request) for request in (requests if method == "predict" else requests[:6])]
                for method in methods if hasattr(loaded, method)
            },
        })
    about = {"sklearn": sklearn.__version__, "skops": skops.__version__, "numpy": np.__version__, "pandas": pd.__version__, "cases": cases}
    (directory / "cases.json").write_text(json.dumps(about, ensure_ascii=False, separators=(",", ":")))
    print(f"scikit-learn {sklearn.__version__}: {len(cases)} models")
    if broken:
        sys.exit("\n".join(broken))


main(*sys.argv[1:])
