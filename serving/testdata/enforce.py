"""Asks MLflow's own scoring server, in process, and says what its model would get.

Each line of the input is {"inputs": SIGNATURE, "params": SIGNATURE, "body": TEXT, "type": CONTENT_TYPE};
each line of the output is {"status": N, "code": TEXT, "columns": {NAME: [VALUE, …]}, "params": {…}}.
"""

import base64
import json
import logging
import math
import sys
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.signature import ModelSignature
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import invocations


def plain(v):
    if isinstance(v, np.ndarray):
        return [plain(x) for x in v.tolist()]
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    if v is None or v is pd.NaT or (isinstance(v, np.datetime64) and np.isnat(v)):
        return None
    if isinstance(v, (bool, np.bool_)):
        return bool(v)
    if isinstance(v, (int, np.integer)):
        return int(v)
    if isinstance(v, (float, np.floating)):
        v = float(v)
        return repr(v).replace("inf", "Infinity").replace("nan", "NaN") if not math.isfinite(v) else v
    if isinstance(v, (pd.Timestamp, np.datetime64)):
        return pd.Timestamp(v).isoformat()
    if isinstance(v, bytes):
        return base64.b64encode(v).decode()
    return str(v)


class Spy:
    def predict(self, data, params=None):
        if isinstance(data, pd.DataFrame):
            columns = {str(c): [plain(v) for v in data[c].tolist()] for c in data.columns}
        elif isinstance(data, dict):
            columns = {k: plain(np.asarray(v)) for k, v in data.items()}
        else:
            columns = {"": plain(np.asarray(data))}
        return [json.dumps({"columns": columns, "params": {k: plain(v) for k, v in (params or {}).items()}})]


def answer(case):
    signature = ModelSignature.from_dict({"inputs": case["inputs"], "params": case.get("params")})
    meta = Model(signature=signature, flavors={"python_function": {"loader_module": "x"}})
    model = PyFuncModel(model_meta=meta, model_impl=Spy(), predict_fn="predict")
    try:
        r = invocations(case["body"].encode(), case.get("type", "application/json"), model, signature.inputs)
    except MlflowException as e:
        return {"status": e.get_http_status_code(), "code": e.error_code, "message": e.message[-200:]}
    if r.status != 200:
        return {"status": r.status}
    reply = json.loads(r.response)
    return {"status": 200} | json.loads((reply["predictions"] if isinstance(reply, dict) else reply)[0])


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
