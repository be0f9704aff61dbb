"""What a team writes by hand: FastAPI around scikit-learn, MLflow's request format."""
import os

import pandas as pd
import skops.io
from fastapi import FastAPI, Request

path = os.path.join(os.environ["MODEL_DIR"], "model.skops")
model = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
app = FastAPI()


@app.get("/ping")
def ping():
    return "ok"


@app.post("/invocations")
async def invocations(request: Request):
    split = (await request.json())["dataframe_split"]
    frame = pd.DataFrame(split["data"], columns=split["columns"])
    return {"predictions": model.predict(frame).tolist()}
