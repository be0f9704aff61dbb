package slipway

import (
	"errors"
	"fmt"
)

// Code says what kind of failure an Error is. Callers branch on codes, never
// on messages.
type Code string

// The codes of an Error.
const (
	Invalid      Code = "invalid"      // the input is wrong; asking again gives the same answer
	NotFound     Code = "not_found"    // what was named does not exist
	Conflict     Code = "conflict"     // somebody else changed it, or it exists already
	Unauthorized Code = "unauthorized" // credentials are missing, wrong or too weak
	Unavailable  Code = "unavailable"  // out of reach for now; asking again may help
	Exhausted    Code = "exhausted"    // a limit was reached: size, count, time, disk
	Superseded   Code = "superseded"   // a newer release owns the target
	Corrupt      Code = "corrupt"      // bytes are not what they were said to be
	Internal     Code = "internal"     // a defect of ours
)

// Error is the error of every package of this module that a user may see. It
// says what happened (Op and Message), why (Err), and what mends it (Hint).
type Error struct {
	Op      string // what was being done: "resolving models:/iris@champion"
	Code    Code
	Message string // what went wrong, for the user, one line
	Hint    string // the command or setting that mends it; empty where there is none
	Err     error  // the cause, for the operator; may be nil
}

// Error returns operation, message and cause in one line; the hint is for
// whoever prints the error.
func (e *Error) Error() string {
	text := e.Message
	if e.Err != nil {
		if text != "" {
			text += ": "
		}
		text += e.Err.Error()
	}
	if e.Op == "" {
		return text
	}
	return e.Op + ": " + text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error of the given code whose message is formatted as by
// fmt.Sprintf.
func Errorf(code Code, op, format string, args ...any) *Error {
	return &Error{Op: op, Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns a copy of e that carries the hint.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// CodeOf returns the code of the first Error in err's chain, Internal for any
// other error and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}

// HintOf returns the first hint in err's chain, or "".
func HintOf(err error) string {
	var e *Error
	for errors.As(err, &e) {
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// Retryable reports whether asking again may help.
func Retryable(err error) bool { return CodeOf(err) == Unavailable }
