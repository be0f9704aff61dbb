package python

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxLine   = 1000 // bytes of a line of the model that reach the log
	maxLines  = 50   // lines a second of all workers that reach the log
	tailLines = 10   // lines that explain a worker's death
)

// budget lets a bounded number of lines a second into the log.
type budget struct {
	mu     sync.Mutex
	second int64
	lines  int
	unsaid int
}

// take reports whether a line may be written, and how many were left out
// before it.
func (b *budget) take(now time.Time) (leftOut int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := now.Unix(); s != b.second {
		b.second, b.lines = s, 0
	}
	if b.lines++; b.lines > maxLines {
		b.unsaid++
		return 0, false
	}
	leftOut, b.unsaid = b.unsaid, 0
	return leftOut, true
}

// output reads what a worker prints, to the end, whatever it prints: a model
// is never held up by it. Lines reach the log with the ids of the requests
// they belong to.
type output struct {
	log    *slog.Logger
	budget *budget
	mu     sync.Mutex
	ids    map[int]string // requests by the number of their frame
	tail   []string       // the last lines
	now    string         // the requests that are being answered
	done   chan struct{}  // closed at the end of the output
}

func newOutput(log *slog.Logger, b *budget) *output {
	return &output{log: log, budget: b, ids: map[int]string{}, done: make(chan struct{})}
}

// announce says which requests the n-th frame holds.
func (o *output) announce(n int, ids string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ids[n] = ids
	delete(o.ids, n-2)
}

// last returns the last lines.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.tail, "\n")
}

// read reads until the last holder of the pipe's other end is gone, or the
// pipe is closed.
func (o *output) read(r io.Reader) {
	defer close(o.done)
	buffered := bufio.NewReaderSize(r, 64<<10)
	for {
		part, err := buffered.ReadSlice('\n')
		o.part(part)
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a long line
			_, err = buffered.ReadSlice('\n')
		}
		if err != nil {
			return
		}
	}
}

// part takes a line, in which marks may stand.
func (o *output) part(line []byte) {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	for {
		before, after, marked := bytes.Cut(line, []byte{0x1e})
		if len(bytes.TrimSpace(before)) > 0 {
			o.write(string(before))
		}
		if !marked {
			return
		}
		n, err := strconv.Atoi(string(after))
		if err != nil {
			line = after
			continue
		}
		o.mu.Lock()
		o.now = o.ids[n]
		o.mu.Unlock()
		return
	}
}

func (o *output) write(line string) {
	line = strings.ToValidUTF8(line[:min(len(line), maxLine)], "\uFFFD")
	o.mu.Lock()
	if o.tail = append(o.tail, line); len(o.tail) > tailLines {
		o.tail = o.tail[1:]
	}
	ids := o.now
	o.mu.Unlock()
	leftOut, ok := o.budget.take(time.Now())
	if !ok {
		return
	}
	attrs := []any{"line", line}
	if ids != "" {
		attrs = append(attrs, "request", ids)
	}
	if leftOut > 0 {
		attrs = append(attrs, "leftOut", leftOut)
	}
	o.log.Info("model output", attrs...)
}
