"""A worker of Slipway's Python engine: it loads one model with mlflow.pyfunc and
answers what arrives on the Unix socket at descriptor 3. doc.go has the protocol."""
import base64
import faulthandler
import inspect
import json
import os
import select
import signal
import site
import socket
import struct
import sys
import traceback

NUMBERS = {"d": "<f8", "f": "<f4", "l": "<i8", "i": "<i4", "b": "?", "t": "<M8[ns]"}
TEXT = 2000  # characters of an exception's message
TRACE = 6000  # characters of a stack trace: its end


class Unsplittable(Exception):
    """The answer to several requests has no rows to share out."""


class Unwritable(Exception):
    """The answer cannot be written as JSON."""


class Channel:
    def __init__(self, fd):
        self.socket = socket.socket(fileno=fd)
        self.socket.set_inheritable(False)

    def read(self, n):
        data = bytearray(n)
        view = memoryview(data)
        while view:
            got = self.socket.recv_into(view)
            if not got:
                os._exit(0)  # the server is gone
            view = view[got:]
        return data

    def waits(self):
        """Whether a frame is there, or comes within the time that a busy server needs for it."""
        return bool(select.select([self.socket], [], [], 0.002)[0])

    def receive(self):
        (size,) = struct.unpack("<I", self.read(4))
        frame, messages, at = memoryview(self.read(size)), [], 0
        while at < size:
            head, body = struct.unpack_from("<II", frame, at)
            at += 8
            messages.append((json.loads(bytes(frame[at : at + head])), frame[at + head : at + head + body]))
            at += head + body
        return messages

    def send(self, messages):
        parts = [b""]
        for head, bodies in messages:
            head = json.dumps(head).encode()
            parts += [struct.pack("<II", len(head), sum(map(len, bodies))), head, *bodies]
        parts[0] = struct.pack("<I", sum(map(len, parts)))
        self.socket.sendall(b"".join(parts))


def mark(number):
    """Tells the reader of this process's output which request follows."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    try:
        os.write(1, b"\x1e%d\n" % number)
    except OSError:
        pass  # the model closed it


def failure(error, at):
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else kind.__module__ + "." + kind.__name__
    failed = {
        "at": at,
        "type": name[:200],
        "message": str(getattr(error, "message", None) or error)[:TEXT],
        "trace": "".join(traceback.format_exception(kind, error, error.__traceback__))[-TRACE:],
        "memory": isinstance(error, MemoryError),
    }
    if isinstance(error, ModuleNotFoundError):
        failed["module"] = str(error.name)[:200]
    if kind.__name__ == "MlflowException" and kind.__module__.startswith("mlflow"):
        failed["code"] = str(getattr(error, "error_code", ""))[:100]
        failed["class"] = str(getattr(error, "error_class", "") or "")[:100]
    return {"failed": failed}


def add_packages(folders):
    """Puts the folders between the standard library and the interpreter's own packages."""
    own = [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")]
    sys.path[:] = [p for p in sys.path if p not in own]
    for folder in folders:
        site.addsitedir(folder)
    sys.path += own


def limit_memory(size):
    if size:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (size, hard))


class Model:
    def __init__(self, path):
        global np, pd
        import mlflow.pyfunc
        import numpy as np
        import pandas as pd

        from mlflow.utils import proto_json_utils

        self.json = proto_json_utils
        self.model = mlflow.pyfunc.load_model(path, suppress_warnings=True)
        meta = self.model.metadata
        self.columns = self.index = None  # of the last table
        self.hinted = bool(self.ask(meta, "_is_signature_from_type_hint"))
        self.params = self.ask(meta, "get_params_schema")
        function = getattr(self.model, "_predict_fn", None)
        shaped = self.ask(meta, "_is_type_hint_from_example")
        # The server fits the input to the signature as PyFuncModel.predict
        # would, which takes a millisecond to do it again.
        if function and meta.get_input_schema() is not None and not self.hinted and not shaped:
            self.predict_fn, self.direct = function, True
        else:
            self.predict_fn, self.direct = self.model.predict, False
        parameter = inspect.signature(self.predict_fn).parameters.get("params")
        self.takes_params = parameter is not None and parameter.kind is not inspect.Parameter.VAR_KEYWORD

    @staticmethod
    def ask(meta, name):
        return getattr(meta, name, lambda: None)()

    def predict(self, messages):
        data, params = self.data(messages), messages[0][0].get("params")
        if not self.takes_params:
            return self.predict_fn(data)
        if self.direct and self.params is not None:
            from mlflow.models.utils import _enforce_params_schema

            params = _enforce_params_schema(params, self.params)
        return self.predict_fn(data, params=params)

    def data(self, messages):
        head = messages[0][0]
        if "format" in head:
            return self.unsigned(head["format"], json.loads(bytes(messages[0][1])))
        pieces = [pieces_of(head, body) for head, body in messages]
        if "tensors" in head:
            return tensors([head["tensors"] for head, _ in messages], pieces)
        if not self.hinted and is_numeric(head["columns"]):
            return self.table(head["columns"], messages)
        columns = {}
        for i, (label, kind) in enumerate(head["columns"]):
            columns[i if label is None else label] = column(kind, [p[i] for p in pieces])
        if self.hinted and len(columns) == 1 and head["columns"][0][0] is None:
            return next(iter(columns.values())).tolist()
        return pd.DataFrame(columns)

    def table(self, columns, messages):
        """The same DataFrame as from a dict of columns, in a tenth of the time."""
        parts = [np.frombuffer(body, NUMBERS[columns[0][1]]).reshape(len(columns), head["rows"]) for head, body in messages]
        if columns != self.columns:
            self.columns, self.index = columns, pd.Index([label for label, _ in columns])
        return pd.DataFrame(np.concatenate(parts, axis=1).T, columns=self.index.view(), copy=False)

    def unsigned(self, form, value):
        """What MLflow hands to a model without a signature."""
        if form == "whole":
            return value
        if form == "dataframe_split":
            return pd.DataFrame(index=value.get("index"), columns=value.get("columns"), data=value["data"])
        if form == "dataframe_records":
            return pd.DataFrame(value)
        return self.json.parse_tf_serving_input({form: value})

    def encode(self, result):
        if is_raw(result):
            return one_array(result)
        if isinstance(result, dict):
            named = list(result.items())
            if named and all(isinstance(k, str) and k and is_raw(v) for k, v in named):
                return many_arrays("named", named)
        if isinstance(result, pd.DataFrame) and result.columns.is_unique and len(result.columns):
            if all(isinstance(k, str) and k for k in result.columns) and all(is_raw_type(t) for t in result.dtypes):
                return many_arrays("columns", [(k, result[k].to_numpy()) for k in result.columns])
        rows = len(result) if isinstance(result, (np.ndarray, pd.DataFrame, pd.Series)) and result.ndim else -1
        try:
            text = json.dumps(self.json._get_jsonable_obj(result, pandas_orient="records"), cls=self.json.NumpyEncoder)
        except Exception as error:
            raise Unwritable(type(error).__name__ + ": " + str(error)) from error
        return {"json": rows}, [text.encode()]


def pieces_of(head, body):
    pieces, at = [], 0
    for size in head["sizes"]:
        pieces.append(body[at : at + size])
        at += size
    return pieces


def is_numeric(columns):
    """Whether all columns are of one type of numbers, and have names of their own."""
    kinds, labels = {kind for _, kind in columns}, {label for label, _ in columns}
    named = len(labels) == len(columns) and all(isinstance(label, str) for label in labels)
    return named and len(kinds) == 1 and kinds <= NUMBERS.keys()


def column(kind, pieces):
    if kind in NUMBERS:
        return np.frombuffer(pieces[0] if len(pieces) == 1 else b"".join(pieces), NUMBERS[kind])
    values = [v for piece in pieces for v in json.loads(bytes(piece))]
    if kind == "x":
        return pd.Series([None if v is None else base64.b64decode(v) for v in values], dtype=object)
    series = pd.Series(values, dtype=None if len(values) else object)
    if kind == "s" and series.dtype.kind in "iufb":
        return series.astype(object)  # numbers where text is declared stay numbers
    return series


def tensors(described, pieces):
    arrays = {}
    for i, (name, dtype, _) in enumerate(described[0]):
        parts = [tensor(dtype, d[i][2], p[i]) for d, p in zip(described, pieces)]
        arrays[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return arrays[None] if None in arrays else arrays


def tensor(dtype, shape, piece):
    if dtype.startswith(("float", "int", "uint", "bool")):
        packed = "<f4" if dtype == "float32" else "<f8" if dtype[0] == "f" else "<i8"
        return np.frombuffer(piece, packed).astype(dtype).reshape(shape)
    values = json.loads(bytes(piece))
    if dtype == "bytes":
        values = [v.encode() for v in values]
    return np.array(values, dtype=dtype).reshape(shape)


def is_raw_type(dtype):
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype.itemsize <= 8 and dtype != np.uint64


def is_raw(value):
    return type(value) is np.ndarray and value.ndim > 0 and is_raw_type(value.dtype)


def raw(array):
    kind = {"b": "?", "f": "<f8"}.get(array.dtype.kind, "<i8")
    return kind, np.ascontiguousarray(array, dtype=kind).tobytes()


def one_array(array):
    kind, data = raw(array)
    return {"array": [kind, list(array.shape)]}, [data]


def many_arrays(name, arrays):
    described, bodies = [], []
    for key, array in arrays:
        kind, data = raw(array)
        described.append([key, kind, list(array.shape)])
        bodies.append(data)
    return {name: described}, bodies


def split(result, counts):
    """Shares an answer out to the requests that were asked together."""
    if len(counts) == 1:
        return [result]
    if isinstance(result, dict) and result:
        shares = {key: split(value, counts) for key, value in result.items()}
        return [{key: share[i] for key, share in shares.items()} for i in range(len(counts))]
    sliceable = isinstance(result, (list, pd.DataFrame, pd.Series)) or isinstance(result, np.ndarray) and result.ndim
    if not sliceable or len(result) != sum(counts):
        raise Unsplittable()
    rows, shares, at = getattr(result, "iloc", result), [], 0
    for count in counts:
        shares.append(rows[at : at + count])
        at += count
    return shares


def answer(model, messages):
    at = "predict"
    try:
        result, at = model.predict(messages), "answer"
        return [model.encode(share) for share in split(result, [head["rows"] for head, _ in messages])]
    except Exception as error:
        return [(failure(error, at), [])]


def main():
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(3)
    ((order, _),) = channel.receive()
    try:
        add_packages(order["site"])
        limit_memory(order["memory"])
        model = Model(order["model"])
    except Exception as error:
        channel.send([(failure(error, "load"), [])])
        return
    channel.send([({"ready": {"python": "%d.%d" % sys.version_info[:2], "hinted": model.hinted}}, [])])
    number = 0
    while True:
        messages, number = channel.receive(), number + 1
        mark(number)
        channel.send(answer(model, messages))
        if not channel.waits():
            mark(0)  # each mark wakes the server: not between two requests


main()
