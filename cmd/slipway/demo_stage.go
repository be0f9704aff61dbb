package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/examples"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
	"github.com/slipway-dev/slipway/mlmodel"
)

// stage is what the demo plays on: a model registry, an image registry and a
// target of its own, all on this machine's loopback and in one directory.
type stage struct {
	program     *program // runs releases here
	dir         string
	model       slipway.ModelName
	registryURI string
	imageHost   string
	target      slipway.TargetRef
	server      string // --server
	example     string // a request to try
	answers     []answer
	left        []string // what stays after the demo

	client *mlflow.Client
	closer []func(context.Context) error // run last to first
}

// openStage prepares everything but the first promotion: both registries are
// up and hold three versions of the model.
func openStage(ctx context.Context, p *program, cmd demoCommand) (*stage, error) {
	dir, err := demoDir()
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, server: cmd.Server}
	s.later(func(context.Context) error { return os.RemoveAll(dir) })
	if err := s.open(ctx, p, cmd); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

func (s *stage) open(ctx context.Context, p *program, cmd demoCommand) error {
	if err := os.CopyFS(s.dir, examples.Models); err != nil {
		return &slipway.Error{Op: "unpacking the demo's models", Code: slipway.Exhausted, Err: err}
	}
	if err := s.openImages(); err != nil {
		return err
	}
	if err := s.openModels(ctx, p, cmd.MLflow); err != nil {
		return err
	}
	if err := s.chooseTarget(demoPort, 0); err != nil {
		return err
	}
	s.program = s.playing(p)
	s.later(s.stopTarget)
	if err := s.readExample(); err != nil {
		return err
	}
	return s.findServer(ctx)
}

// findServer comes by the model server once, so that all three versions carry
// the same.
func (s *stage) findServer(ctx context.Context) error {
	j, err := s.program.begin(s.settings())
	if err != nil {
		return err
	}
	s.server, err = j.servers(s.server).find(ctx, "linux/"+runtime.GOARCH)
	return err
}

func (s *stage) later(f func(context.Context) error) { s.closer = append(s.closer, f) }

// close ends and removes everything, also when the demo was interrupted.
func (s *stage) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	var errs []error
	for i := len(s.closer) - 1; i >= 0; i-- {
		errs = append(errs, s.closer[i](ctx))
	}
	return errors.Join(errs...)
}

// openImages starts an image registry in this process, its blobs in memory.
func (s *stage) openImages() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return &slipway.Error{Op: "listening on loopback", Code: slipway.Unavailable, Err: err}
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) //nolint:errcheck // ends with ErrServerClosed
	s.imageHost = listener.Addr().String()
	s.later(func(context.Context) error { return server.Close() })
	return nil
}

// openModels takes the model registry that was named, or starts one in this
// process, and registers the three versions there.
func (s *stage) openModels(ctx context.Context, p *program, uri string) error {
	config, err := s.modelRegistry(p, uri)
	if err != nil {
		return err
	}
	if s.client, err = mlflow.New(config); err != nil {
		return usageError{err}
	}
	s.registryURI = s.client.URI()
	for _, version := range []slipway.Version{"1", "2", "3"} {
		if _, err := s.client.Register(ctx, s.model, s.modelDir(version)); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) modelRegistry(p *program, uri string) (mlflow.Config, error) {
	if uri == "" {
		server := mlflowtest.NewServer(mlflowtest.Config{})
		url, err := server.Start()
		s.model = "iris"
		s.later(func(context.Context) error { return server.Close() })
		return mlflow.Config{URI: url}, err
	}
	config, err := mlflow.ConfigFrom(p.getenv, p.getenv("HOME"))
	config.URI = uri
	s.model = slipway.ModelName("slipway-demo-" + time.Now().UTC().Format("20060102-150405.000"))
	s.left = []string{fmt.Sprintf("the registered model %s in %s", s.model, uri)}
	return config, err
}

// chooseTarget takes the first of the ports that is free; 0 is any.
func (s *stage) chooseTarget(ports ...int) error {
	for _, port := range ports {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		s.target = slipway.TargetRef{Scheme: "local", Host: listener.Addr().String()}
		return listener.Close()
	}
	return slipway.Errorf(slipway.Unavailable, "choosing a port", "none is free on 127.0.0.1")
}

// free reports whether one could listen on the address.
func (s *stage) free(address string) bool {
	listener, err := net.Listen("tcp", address)
	return err == nil && listener.Close() == nil
}

// move gives up the target for one on another port.
func (s *stage) move(ctx context.Context) error {
	if err := s.stopTarget(ctx); err != nil {
		return err
	}
	return s.chooseTarget(0)
}

// playing returns a program whose releases stay on this stage: its registries,
// its directories, and the planted fault.
func (s *stage) playing(p *program) *program {
	own := map[string]string{"XDG_CACHE_HOME": filepath.Join(s.dir, "cache"), "XDG_STATE_HOME": filepath.Join(s.dir, "state"), "DOCKER_CONFIG": s.dir}
	playing := *p
	playing.telling = &telling{} // nobody is told of a play
	playing.getenv = func(name string) string {
		if value, ok := own[name]; ok {
			return value
		}
		return p.getenv(name)
	}
	playing.connect = func(set settings) (*ports, error) {
		w := playing.wireRegistries(set)
		w.models = func() (modelRegistry, error) { return s.client, nil }
		w.images = planted{imageRegistry: w.images, victim: "3", wrong: filepath.Join(s.dir, "demo", "models", "iris-1", "model.skops")}
		return w, playing.wireTarget(w, set)
	}
	return &playing
}

// settings are those of each of the demo's releases.
func (s *stage) settings() settings {
	return settings{
		ref: slipway.ModelRef{Name: s.model, Alias: "champion"}, name: s.model, mlflowURI: s.registryURI,
		image: s.imageHost + "/iris", to: s.target, environment: "demo",
	}
}

func (s *stage) stopTarget(ctx context.Context) error {
	w, err := s.program.connect(s.settings())
	if err != nil {
		return err
	}
	return w.local.Stop(ctx)
}

// readExample takes a record to try from the model's own example.
func (s *stage) readExample() error {
	model, err := mlmodel.Open(s.modelDir("2"))
	if err != nil {
		return err
	}
	requests, err := model.Requests(1)
	if err != nil || len(requests) == 0 {
		return errors.Join(err, errors.New("the demo's model has no example"))
	}
	s.example, err = asRecords(requests[0])
	return err
}

// asRecords writes a dataframe_split request as the list of records that
// /predict takes, its columns in their order.
func asRecords(request json.RawMessage) (string, error) {
	var body struct {
		Split struct {
			Columns []string            `json:"columns"`
			Data    [][]json.RawMessage `json:"data"`
		} `json:"dataframe_split"`
	}
	if err := json.Unmarshal(request, &body); err != nil {
		return "", &slipway.Error{Op: "reading the demo's example", Code: slipway.Internal, Err: err}
	}
	var records []string
	for _, row := range body.Split.Data {
		var fields []string
		for i, value := range row {
			fields = append(fields, fmt.Sprintf("%q: %s", body.Split.Columns[i], value))
		}
		records = append(records, "{"+strings.Join(fields, ", ")+"}")
	}
	return "[" + strings.Join(records, ", ") + "]", nil
}

func (s *stage) modelDir(version slipway.Version) string {
	return filepath.Join(s.dir, "demo", "models", "iris-"+string(version))
}

// promote points @champion at a version, as a data scientist does.
func (s *stage) promote(ctx context.Context, version slipway.Version) error {
	return s.client.SetAlias(ctx, s.model, "champion", version)
}

// planted is the demo's fault: it unpacks images as they are, but for one
// version, whose model file it then replaces by that of another. Nothing else
// of the release differs, so only its own golden predictions can tell.
type planted struct {
	imageRegistry
	victim slipway.Version
	wrong  string // path of the file that takes the place
}

// Unpack is what the local target asks for.
func (f planted) Unpack(ctx context.Context, image slipway.Image, platform, dir string) error {
	_, before := os.Stat(dir)
	if err := f.imageRegistry.Unpack(ctx, image, platform, dir); err != nil || before == nil {
		return err
	}
	manifest, err := mlmodel.ReadManifest(filepath.Join(dir, "model"))
	if err != nil || manifest.Model.Version != f.victim {
		return err
	}
	data, err := os.ReadFile(f.wrong)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "model", "model.skops"), data, fs.FileMode(0o644))
}
