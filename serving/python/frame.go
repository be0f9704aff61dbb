package python

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// maxReply bounds a frame of a worker: an answer of some thirty million numbers.
const maxReply = 256 << 20

// maxHead bounds the head of a worker's message.
const maxHead = 4 << 20

// message is a head, which is a JSON object, and a body.
type message struct {
	head []byte
	body []byte
}

var errFrame = errors.New("the worker does not keep to the protocol")

// appendMessage starts a message with an empty head and body; close it with
// endHead and endBody.
func beginMessage(b []byte) []byte { return append(b, make([]byte, 8)...) }

// endHead notes that what was written since beginMessage is the head.
func endHead(b []byte) (_ []byte, bodyAt int) {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-8))
	return b, len(b)
}

// endBody notes the length of the body.
func endBody(b []byte, bodyAt int) {
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-bodyAt))
}

// writeFrame sends messages as one frame.
func writeFrame(w io.Writer, messages [][]byte) error {
	var size int
	for _, m := range messages {
		size += len(m)
	}
	buffers := net.Buffers{binary.LittleEndian.AppendUint32(nil, uint32(size))}
	buffers = append(buffers, messages...)
	_, err := buffers.WriteTo(w)
	return err
}

// readFrame reads the messages of one frame. Memory is taken as bytes arrive,
// not as the worker announces them.
func readFrame(r io.Reader) ([]message, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(size[:]))
	if n > maxReply {
		return nil, fmt.Errorf("%w: an answer of %d bytes, more than %d", errFrame, n, maxReply)
	}
	frame, err := readN(r, n)
	if err != nil {
		return nil, err
	}
	return splitFrame(frame)
}

func readN(r io.Reader, n int) ([]byte, error) {
	const step = 1 << 20
	b := make([]byte, min(n, step))
	for at := 0; ; {
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return nil, err
		}
		if at = len(b); at == n {
			return b, nil
		}
		b = append(b, make([]byte, min(n-at, at))...)
	}
}

// splitFrame takes a frame apart. The messages are parts of it.
func splitFrame(frame []byte) ([]message, error) {
	var messages []message
	for len(frame) > 0 {
		if len(frame) < 8 {
			return nil, fmt.Errorf("%w: a message of %d bytes", errFrame, len(frame))
		}
		head, body := uint64(binary.LittleEndian.Uint32(frame)), uint64(binary.LittleEndian.Uint32(frame[4:]))
		if frame = frame[8:]; head > maxHead || head+body > uint64(len(frame)) {
			return nil, fmt.Errorf("%w: a message that is longer than its frame", errFrame)
		}
		messages = append(messages, message{head: frame[:head:head], body: frame[head : head+body : head+body]})
		frame = frame[head+body:]
	}
	return messages, nil
}
