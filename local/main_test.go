package local_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/local"
	"github.com/slipway-dev/slipway/mlmodel"
)

// TestMain lets this program play the other parts, too: the command-line
// tool's hidden command, a model server that does what its model says, and a
// process that takes a lock and dies with it.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "supervise":
			os.Exit(exit(superviseMain(os.Args[3])))
		case "--model":
			os.Exit(exit(serveMain(os.Args[1:])))
		case "hold":
			os.Exit(exit(holdMain(os.Args[2], os.Args[3])))
		case "act":
			os.Exit(exit(actMain(os.Args[2:])))
		}
	}
	code := m.Run()
	if err := os.RemoveAll(built); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// built is where this process builds the model server.
var built = filepath.Join(os.TempDir(), fmt.Sprintf("slipway-modelserver-%d", os.Getpid()))

func exit(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func superviseMain(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return local.Supervise(ctx, dir, os.Getenv)
}

// behaviour is what the file model/behaviour.json says a fake model server does.
type behaviour struct {
	Version     string        // answered in X-Model-Version and as the prediction
	ReadyAfter  time.Duration // before it is ready
	Golden      bool          // says that a golden prediction differs and exits with 1
	Exit        bool          // exits with 1 before it is ready, saying why on stderr
	Never       bool          // is never ready
	CrashAfter  time.Duration // ends by SIGKILL so long after it was ready
	AnswerAfter time.Duration // before each prediction
	Server      string        // the image's model server is a file with this text
	Env         []string      // names of variables whose values are predicted
}

func serveMain(args []string) error {
	flags := flag.NewFlagSet("modelserver", flag.ContinueOnError)
	model := flags.String("model", "", "")
	addr := flags.String("addr", "", "")
	addrFile := flags.String("addr-file", "", "")
	words := flags.String("termination-log", "", "")
	flags.Duration("drain-delay", 5*time.Second, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var b behaviour
	data, err := os.ReadFile(filepath.Join(*model, "behaviour.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	start := time.Now()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	if err := os.WriteFile(*addrFile, []byte(listener.Addr().String()), 0o600); err != nil {
		return err
	}
	switch {
	case b.Golden:
		said := mlmodel.Termination{
			Kind: mlmodel.TerminationGolden, Message: "golden prediction 2 differs", Hint: "slipway explain",
			Evidence: "request   {\"inputs\":[[1]]}\nexpected  \"versicolor\"   (scikit-learn 1.5.2)\ngot       \"virginica\"   at [0]",
		}
		if err := os.WriteFile(*words, said.Encode(), 0o600); err != nil {
			return err
		}
		return fmt.Errorf("golden prediction 2 differs")
	case b.Exit:
		return fmt.Errorf("cannot read model.skops: \x1b[31munexpected end of file")
	}
	return b.serve(listener, start)
}

func (b behaviour) serve(listener net.Listener, start time.Time) error {
	if b.CrashAfter > 0 {
		time.AfterFunc(b.ReadyAfter+b.CrashAfter, func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) })
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		if b.Never || time.Since(start) < b.ReadyAfter {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		<-time.After(b.AnswerAfter)
		w.Header().Set("X-Model-Version", b.Version)
		values := []string{b.Version}
		for _, name := range b.Env {
			values = append(values, os.Getenv(name))
		}
		fmt.Fprintf(w, `{"predictions": [%q], "pid": %d}`, strings.Join(values, " "), os.Getpid())
	})
	server := &http.Server{Handler: mux}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	done := make(chan error, 1)
	go func() {
		<-term
		done <- server.Shutdown(context.Background())
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return <-done
}

// holdMain takes a journal's lock, says so and waits for its death.
func holdMain(stateDir, ref string) error {
	target, err := open(stateDir, ref)
	if err != nil {
		return err
	}
	if _, err := target.Journal().Lock(context.Background(), slipway.Claim{Holder: os.Args[4]}); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "held")
	select {}
}

// actMain is a command-line tool that tells the target to serve a release.
func actMain(args []string) error {
	target, err := open(args[0], args[1])
	if err != nil {
		return err
	}
	var r slipway.Release
	if err := json.Unmarshal([]byte(args[2]), &r); err != nil {
		return err
	}
	return target.Act(context.Background(), slipway.Action{Kind: slipway.Apply, Fence: 1, Release: r})
}

// images are fake images, by digest: what their model server does.
type images map[slipway.Digest]behaviour

func (m images) Unpack(ctx context.Context, image slipway.Image, _, dir string) error {
	switch image.Digest {
	case digest(diskFull):
		return fmt.Errorf("writing a layer: %w", syscall.ENOSPC)
	case digest(slowUnpack):
		fmt.Fprintln(os.Stdout, "unpacking")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	b, ok := m[image.Digest]
	if !ok {
		return slipway.Errorf(slipway.NotFound, "unpacking", "no image %s", image.Digest.Short())
	}
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "unpacking-")
	if err != nil {
		return err
	}
	for _, sub := range []string{"model", "slipway"} {
		if err := os.Mkdir(filepath.Join(temp, sub), 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(temp, "model", "behaviour.json"), data, 0o600); err != nil {
		return err
	}
	server := filepath.Join(temp, "slipway", "modelserver")
	if b.Server != "" {
		err = os.WriteFile(server, []byte(b.Server), 0o700)
	} else {
		err = os.Symlink(self, server)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return os.RemoveAll(temp) // another one was faster
	}
	return nil
}

// release is release n of a model; the behaviour of its image is in catalog.
func release(n int) slipway.Release {
	return slipway.Release{
		SchemaVersion: slipway.RecordSchema,
		ID:            slipway.ReleaseID(fmt.Sprintf("01RELEASE%03d", n)),
		Model:         slipway.ModelVersion{Name: "iris/éé", Version: slipway.Version(fmt.Sprint(n))},
		Image:         slipway.Image{Repository: "127.0.0.1:5000/iris", Digest: digest(n)},
		Strategy:      slipway.Rolling(),
	}
}

func digest(n int) slipway.Digest { return slipway.Digest(fmt.Sprintf("sha256:%064x", n)) }

// Releases by what their images do. Others are well.
const (
	golden = 100 + iota
	exits
	never
	crashes
	crashesSlowly
	answersSlowly
	slowStart
	slowUnpack
	diskFull
	noProgram
)

func catalog() images {
	m := images{
		digest(golden):        {Golden: true},
		digest(exits):         {Exit: true},
		digest(never):         {Never: true},
		digest(crashes):       {CrashAfter: 30 * time.Millisecond},
		digest(crashesSlowly): {CrashAfter: 400 * time.Millisecond},
		digest(answersSlowly): {AnswerAfter: 300 * time.Millisecond, Version: "slow"},
		digest(slowStart):     {ReadyAfter: 700 * time.Millisecond, Version: "late"},
		digest(slowUnpack):    {Version: "heavy"},
	}
	m[digest(noProgram)] = behaviour{Server: "not a program"}
	for n := range 10 {
		m[digest(n)] = behaviour{Version: fmt.Sprint(n), Env: []string{"PLAIN", "SECRET"}}
	}
	return m
}

func open(stateDir, ref string, change ...func(*local.Config)) (*local.Target, error) {
	parsed, err := slipway.ParseTargetRef(ref)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cfg := local.Config{Ref: parsed, StateDir: stateDir, Executable: self, Images: catalog(), Getenv: os.Getenv}
	for _, f := range change {
		f(&cfg)
	}
	return local.New(cfg)
}
