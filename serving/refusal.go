package serving

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/slipway-dev/slipway"
)

// MLflow's error codes, of its scoring server (mlflow/exceptions.py).
const (
	badRequest       = "BAD_REQUEST"
	invalidParameter = "INVALID_PARAMETER_VALUE"
	internalError    = "INTERNAL_ERROR"
	unavailable      = "TEMPORARILY_UNAVAILABLE"
	tooLarge         = "REQUEST_LIMIT_EXCEEDED"
	notFound         = "ENDPOINT_NOT_FOUND"
	deadlineExceeded = "DEADLINE_EXCEEDED"
)

// MLflow's error classes.
const (
	classInvalid = "INVALID_PARAMETER_VALUE"
	classSchema  = "SCHEMA_ENFORCEMENT_FAILED"
)

// refusal is why a request is not answered, in the terms of the protocol.
type refusal struct {
	status  int
	code    string
	class   string
	message string
	stack   string // the model's stack trace, for a client that may see it
	plain   bool   // written as plain text
	err     error  // for the log; nil for what is the client's fault
}

func (r *refusal) Error() string { return r.message }
func (r *refusal) Unwrap() error { return r.err }

// malformed refuses a body that cannot be read.
func malformed(format string, args ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, code: badRequest, class: classInvalid, message: fmt.Sprintf(format, args...)}
}

// unfit refuses values that do not fit the signature.
func unfit(format string, args ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, code: invalidParameter, class: classSchema, message: fmt.Sprintf(format, args...)}
}

// untyped refuses values of a model without named columns, for which MLflow
// names no class of its own.
func untyped(format string, args ...any) *refusal {
	r := unfit(format, args...)
	r.class = classInvalid
	return r
}

func tooLargeBody(limit int) *refusal {
	return &refusal{status: http.StatusRequestEntityTooLarge, code: tooLarge, class: classInvalid,
		message: fmt.Sprintf("The body is larger than %d bytes. Send fewer rows at a time.", limit)}
}

func busy(message string) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, code: unavailable, class: unavailable, message: message}
}

// ModelError is an exception of the model's own code, or of MLflow around it,
// in answer to a request. MLflow's server answers 400 with the exception's own
// code where it is MLflow's, BAD_REQUEST where it is not; so does this one.
type ModelError struct {
	Code    string // MLflow's error code; "": BAD_REQUEST
	Class   string // MLflow's error class; "": as of an input that is not valid
	Message string // for the client: bounded, without paths
	Stack   string // "" where clients are not to see it
}

func (e *ModelError) Error() string { return e.Message }

// refusal keeps of the model's words what a status may depend on.
func (e *ModelError) refusal() *refusal {
	r := &refusal{status: http.StatusBadRequest, code: badRequest, class: classInvalid, message: short(e.Message, 2000), stack: e.Stack}
	if e.Code == invalidParameter {
		r.code = invalidParameter
	}
	if e.Class == classSchema {
		r.class = classSchema
	}
	if e.Code == internalError {
		r.status, r.code, r.class = http.StatusInternalServerError, internalError, internalError
	}
	return r
}

// failed turns an engine's error into a refusal: what the engine calls Invalid
// is the client's, a ModelError says itself what it is, Exhausted is that more
// was asked at a time than can wait, an end of the time is a 504, and all else
// is ours and its text stays in the log.
func failed(err error) *refusal {
	var raised *ModelError
	switch {
	case errors.As(err, &raised):
		return raised.refusal()
	case errors.Is(err, context.Canceled):
		return busy("The request was given up.") // by its client, so nobody reads this
	case errors.Is(err, context.DeadlineExceeded):
		return &refusal{status: http.StatusGatewayTimeout, code: deadlineExceeded, class: deadlineExceeded,
			message: "The model did not answer in time.", err: err}
	case slipway.CodeOf(err) == slipway.Exhausted:
		return busy("The model server has as many requests waiting as it may; try again in a second.")
	case slipway.CodeOf(err) == slipway.Unavailable:
		return busy("The model is being started again; try again in a second.")
	case slipway.CodeOf(err) != slipway.Invalid:
		return &refusal{status: http.StatusInternalServerError, code: internalError, class: internalError,
			message: "The model server failed to answer; its log says why.", err: err}
	}
	var e *slipway.Error
	errors.As(err, &e)
	return &refusal{status: http.StatusBadRequest, code: badRequest, class: classInvalid,
		message: "The model refused the input: " + short(e.Message, 300)}
}

// asError returns a refusal as the error that users of this package see.
func (r *refusal) asError() error {
	code := slipway.Invalid
	if r.status >= http.StatusInternalServerError {
		code = slipway.Internal
	}
	return &slipway.Error{Op: "predicting", Code: code, Message: r.message, Err: r.err}
}

// body writes the refusal as MLflow does.
func (r *refusal) body() []byte {
	if r.plain {
		return []byte(r.message)
	}
	state := "KAM00"
	if r.class == classSchema {
		state = "KAM01"
	}
	b := appendText([]byte(`{"error_code": `), r.code)
	b = appendText(append(b, `, "message": `...), r.message)
	b = appendText(append(b, `, "sqlstate": `...), state)
	b = appendText(append(b, `, "error_class": `...), r.class)
	if r.stack != "" {
		b = appendText(append(b, `, "stack_trace": `...), r.stack)
	}
	return append(b, '}')
}

// quoted returns at most 40 characters of what a client sent, for a message.
func quoted(s string) string { return strconv.Quote(short(s, 40)) }

func short(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
