package python

import (
	"bytes"
	"errors"
	"io"
	"log/slog"

	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// Encode returns the frame that asks for a batch.
func Encode(m *mlmodel.Model, b *serving.Batch) ([]byte, error) {
	var w bytes.Buffer
	err := writeFrame(&w, [][]byte{newEncoder(m).encode(b).message})
	return w.Bytes(), err
}

// Kind tells which batches may be asked together: those of one kind.
func Kind(m *mlmodel.Model, b *serving.Batch) string { return newEncoder(m).encode(b).kind }

// Decode reads a worker's frame that answers one request of so many rows.
func Decode(r io.Reader, rows int, free bool) (*serving.Output, error) {
	messages, err := readFrame(r)
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, errFrame
	}
	head, err := decodeReply(messages[0])
	if err != nil {
		return nil, err
	}
	if head.Failed != nil {
		return nil, head.Failed.atPredict(Config{Log: slog.New(slog.DiscardHandler)}, "")
	}
	return head.output(messages[0].body, &request{rows: rows, free: free})
}

// IsProtocol reports that a worker does not keep to the protocol.
func IsProtocol(err error) bool { return errors.Is(err, errFrame) }

// WithoutPaths is what a client sees of a text.
func WithoutPaths(text string) string { return withoutPaths(text) }

// ReadOutput logs a worker's output, of which frame n belongs to request ids[n].
func ReadOutput(r io.Reader, log *slog.Logger, ids map[int]string) {
	o := newOutput(log, &budget{})
	o.ids = ids
	o.read(r)
}
