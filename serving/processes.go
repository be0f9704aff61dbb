package serving

import (
	"io"
	"sync"
)

// closers are the predictors that hold something beyond memory: processes. A
// model whose loading ends after the server did is closed at once.
type closers struct {
	mu    sync.Mutex
	ended bool
	open  []io.Closer
}

func (c *closers) add(p Predictor) {
	closer, ok := p.(io.Closer)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		_ = closer.Close() // the server ends; there is nothing left to do about it
		return
	}
	c.open = append(c.open, closer)
}

func (c *closers) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, closer := range c.open {
		_ = closer.Close() // the server ends; there is nothing left to do about it
	}
	c.open = nil
}

// processes returns how the model's own processes are; ok is false for a model
// without any.
func (s *Server) processes() (state State, ok bool) {
	m := s.state.Load()
	if m == nil {
		return State{}, false
	}
	p, ok := m.predictor.(Stateful)
	if !ok {
		return State{}, false
	}
	return p.State(), true
}
