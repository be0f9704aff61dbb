"""Answers requests as MLflow's own scoring server does, without HTTP: a line of
JSON in, {"model": directory, "type": content type, "body": text}, one out."""
import json
import sys

import mlflow.pyfunc
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

models = {}
for line in sys.stdin:
    asked = json.loads(line)
    if asked["model"] not in models:
        models[asked["model"]] = mlflow.pyfunc.load_model(asked["model"])
    model = models[asked["model"]]
    try:
        reply = scoring_server.invocations(asked["body"], asked["type"], model, model.metadata.get_input_schema())
        answer = {"status": reply.status, "body": reply.response}
    except MlflowException as error:
        answer = {"status": error.get_http_status_code(), "body": error.serialize_as_json()}
    print(json.dumps(answer), flush=True)
