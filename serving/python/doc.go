// Package python serves models with the Python that made them: worker
// processes load the model with mlflow.pyfunc and answer over a socket.
//
// A worker runs foreign code. Nothing it says is believed: lengths, shapes,
// types and JSON are checked, its output is bounded, and when it crashes,
// hangs, ends or takes too much memory it is replaced, and the requests it had
// are asked again. The server's own schema fits inputs to the signature, as
// for every engine, so the model gets what MLflow would give it.
//
// # Protocol
//
// Server and worker talk over one end each of a Unix socket pair, the worker's
// is descriptor 3. One side speaks, then the other. All numbers are
// little-endian. What is sent is a frame of messages:
//
//	frame   = length of the rest (uint32), message...
//	message = length of head (uint32), length of body (uint32), head (JSON object), body
//
// The first frame is the order to load: {"model": directory, "site": [folder],
// "memory": bytes or 0}. The worker answers {"ready": {"python": "3.11",
// "hinted": bool}} or {"failed": …}, and ends then.
//
// After that each frame holds requests, one a message, which are answered
// together: they have the same columns, types and parameters. A head has
// "rows" and one of
//
//	"columns": [[label, type]...], "sizes": [bytes...]         label null: the signature names none
//	"tensors": [[name, dtype, shape]...], "sizes": [bytes...]
//	"format": "inputs"                                         the body is JSON as a client sent it
//
// and "params" where the model declares some. The body is the values of one
// column or tensor after the other. Types: d, f, l, i, b, t are packed float64,
// float32, int64, int32, bool and datetime64[ns]; s, x, o are a JSON list of
// texts, base64 texts, and anything. A tensor's dtype is numpy's name; float32 is
// packed as it is, other numbers in 64 bits, and texts are a JSON list.
//
// The answer has one message for each request, or one message {"failed": …}
// for all:
//
//	{"array": [type, shape]}                  body: packed values, "<f8", "<i8" or "?"
//	{"named": [[name, type, shape]...]}       body: the same, one array after the other
//	{"columns": [[name, type, [rows]]...]}    likewise, the columns of a DataFrame
//	{"json": rows}                            body: JSON as Python writes it; rows -1: it has none
//	{"failed": {"at": "load|predict|answer", "type", "message", "trace", "module", "code", "class", "memory"}}
//
// In the worker's output, which is stdout and stderr together, the byte 0x1e,
// a number and a newline say which request the lines after it belong to: the
// n-th frame of requests, or 0 for none, which a worker writes when no frame
// comes soon.
package python
