package python

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway"
)

//go:embed worker.py
var workerSource string

// process is a worker: a running Python with its socket.
type process struct {
	conn    net.Conn
	answers *bufio.Reader // of conn: an answer is one read
	output  *output
	pid     int
	exited  chan struct{} // closed when the process was waited for
	killed  atomic.Bool   // by us
	big     atomic.Bool   // killed for its memory
	err     error         // how it ended; to be read after exited
	why     error         // what Config.Explain says of it, likewise
	token   string
	limit   int64 // bytes of memory; 0: none
	frames  int   // of requests, sent
}

// spawn starts a worker. It is not ready before it has answered the order to
// load. The process is killed when the thread that started it ends, so one
// goroutine keeps its thread until then; with the server, whatever ends it, so
// does the worker.
func (e *Engine) spawn(o *output) (*process, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	p := &process{conn: ours, answers: bufio.NewReader(ours), output: o, exited: make(chan struct{}), token: newToken(), limit: e.config.Memory}
	cmd, err := e.command(theirs, write, p.token)
	if err != nil {
		return nil, errors.Join(err, ours.Close(), read.Close(), write.Close())
	}
	started := make(chan error)
	go p.live(cmd, started, write, e.config.Explain)
	if err := <-started; err != nil {
		return nil, errors.Join(err, ours.Close(), read.Close())
	}
	go func() {
		o.read(read)
		read.Close()
	}()
	if p.limit > 0 {
		go p.watch()
	}
	return p, nil
}

// command is the worker's command line. Nothing is written to a disk: the
// program is an argument.
func (e *Engine) command(socket, output *os.File, token string) (*exec.Cmd, error) {
	cmd := exec.Command(e.interpreter, "-I", "-B", "-u", "-c", workerSource)
	cmd.Env = append(e.environment(), tokenName+"="+token)
	cmd.ExtraFiles = []*os.File{socket} // descriptor 3
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = endsWithUs()
	if e.config.Wrap == nil {
		return cmd, nil
	}
	return e.config.Wrap(cmd)
}

// live starts the process and waits for it. Until then our own end of its
// output stays open: a command of Wrap may write there by way of this process.
func (p *process) live(cmd *exec.Cmd, started chan<- error, output *os.File, explain func(*exec.Cmd, error) error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer output.Close()
	if err := cmd.Start(); err != nil {
		if explain != nil {
			err = explain(cmd, err)
		}
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil
	p.err = cmd.Wait()
	if explain != nil && p.err != nil && !p.killed.Load() {
		p.why = explain(cmd, p.err)
	}
	p.killChildren()
	_ = p.conn.Close() // whoever waits for an answer learns that there is none
	close(p.exited)
}

func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := socketPairOfOurs()
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "worker")
	defer file.Close()
	theirs = os.NewFile(uintptr(fds[1]), "server")
	ours, err = net.FileConn(file)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// socketPairOfOurs is a pair that no process inherits which is started
// meanwhile. Not every system makes such a pair in one call.
func socketPairOfOurs() ([2]int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	return fds, err
}

// load has the worker load the model.
func (p *process) load(ctx context.Context, e *Engine, dir string) (about, error) {
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	order, err := json.Marshal(struct {
		Model  string   `json:"model"`
		Site   []string `json:"site"`
		Memory int64    `json:"memory"`
	}{dir, append([]string{}, e.config.Site...), e.config.Memory})
	if err != nil {
		return about{}, err
	}
	m, at := endHead(append(beginMessage(nil), order...))
	endBody(m, at)
	messages, err := p.exchange([][]byte{m}, time.Time{})
	if err != nil && ctx.Err() != nil {
		return about{}, ctx.Err()
	}
	if err != nil {
		return about{}, p.died(err)
	}
	if len(messages) != 1 {
		return about{}, errFrame
	}
	r, err := decodeReply(messages[0])
	switch {
	case err != nil:
		return about{}, err
	case r.Failed != nil:
		return about{}, r.Failed.atLoad()
	case r.Ready == nil:
		return about{}, errFrame
	}
	return *r.Ready, nil
}

// exchange sends a frame and reads one. The zero deadline is none.
func (p *process) exchange(messages [][]byte, deadline time.Time) ([]message, error) {
	if err := p.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := writeFrame(p.conn, messages); err != nil {
		return nil, err
	}
	return readFrame(p.answers)
}

// died waits for the end of a worker that does not answer, and says how it
// came about.
func (p *process) died(err error) error {
	if errors.Is(err, errFrame) {
		p.kill()
	}
	p.end()
	reason := ""
	var exit *exec.ExitError
	switch {
	case p.big.Load():
		reason = fmt.Sprintf("used more than %d MiB of memory", p.limit>>20)
	case errors.Is(err, errFrame):
		reason = err.Error()
	case errors.As(p.err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() && !p.killed.Load():
		reason = "was ended by a signal: " + exit.Sys().(syscall.WaitStatus).Signal().String()
	case errors.As(p.err, &exit) && exit.Exited():
		reason = fmt.Sprintf("exited with status %d", exit.ExitCode())
	case p.err == nil:
		reason = "exited"
	default:
		reason = "does not answer: " + err.Error()
	}
	return &death{reason, p.output.last(), p.why}
}

// toExit is how long a process that hung up may take to exit.
const toExit = 10 * time.Second

// end ends the process, unless it does so itself, and waits for it and its
// output.
func (p *process) end() {
	grace := time.NewTimer(toExit)
	defer grace.Stop()
	select {
	case <-p.exited:
	case <-grace.C:
		p.kill()
		<-p.exited
	}
	grace.Reset(time.Second)
	select {
	case <-p.output.done:
	case <-grace.C: // somebody else holds the pipe
	}
}

// death is the end of a worker that was not asked for.
type death struct {
	reason string
	output string // its last lines
	why    error  // what explains it; nil: nothing more is known
}

func (d *death) Error() string {
	text := "a worker " + d.reason
	if code := slipway.CodeOf(d.why); code != "" && code != slipway.Invalid { // else it says the same
		text += ": " + d.why.Error()
	}
	if d.output != "" {
		text += "; its last output: " + d.output
	}
	return text
}

// kill ends the process and its group.
func (p *process) kill() {
	select {
	case <-p.exited:
		return
	default:
	}
	p.killed.Store(true)
	_ = syscall.Kill(-p.pid, syscall.SIGKILL) // it may be gone already
	_ = syscall.Kill(p.pid, syscall.SIGKILL)
}

// atLoad is the error of a model that does not load.
func (f *failure) atLoad() error {
	const op = "loading the model with Python"
	message := short(f.Type+": "+f.Message, 500)
	err := &slipway.Error{Op: op, Code: slipway.Invalid, Message: message, Err: evidenceOf(f.Trace)}
	switch {
	case f.Module == "mlflow":
		return err.WithHint("the site-packages folder has no mlflow: build the image again, or give --site-packages a folder with mlflow-skinny, numpy and pandas")
	case f.Module != "":
		return err.WithHint("add the package of the module %q to the model's requirements (pip_requirements or extra_pip_requirements of log_model), or its folder to code_paths, and log the model again", short(f.Module, 100))
	case f.Memory:
		return err.WithHint("give the workers more with --worker-memory (SLIPWAY_WORKER_MEMORY), or start fewer with --workers")
	}
	return err
}
