package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/slipway-dev/slipway"
)

// packHandover writes a release as one line, for a job on another machine:
// release.json, gzip, base64. GitHub drops outputs in which it finds a secret,
// also in base64, and the address of an image registry often is one; compressed
// it is not to be found.
func packHandover(r slipway.Release) (string, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(w).Encode(r), w.Close()); err != nil {
		return "", &slipway.Error{Op: "handing on the release", Code: slipway.Internal, Err: err}
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// unpackHandover reads what packHandover wrote. Code Invalid: it is none.
func unpackHandover(text string) (slipway.Release, error) {
	const op = "reading the handover"
	packed, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(packed)); err == nil {
			return slipway.DecodeRelease(r, releaseLimit)
		}
	}
	return slipway.Release{}, (&slipway.Error{Op: op, Code: slipway.Invalid, Message: "it is not what an earlier step put out as handover", Err: err}).
		WithHint("set SLIPWAY_HANDOVER to the output handover of the job before")
}

// take writes the file from what a job on another machine handed on, unless the
// file is of that release already: then later steps have been at it.
func (h handover) take() error {
	if h.handed == "" {
		return nil
	}
	handed, err := unpackHandover(h.handed)
	if err != nil {
		return usageError{err}
	}
	here, err := h.read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && here.ID == handed.ID {
		return nil
	}
	if err := h.clear(); err != nil {
		return err
	}
	return h.write(handed)
}
