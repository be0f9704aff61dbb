package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/relay"
)

type relayCommand struct {
	MLflow           string        `name:"mlflow" env:"MLFLOW_TRACKING_URI" placeholder:"URI" help:"The model registry."`
	Listen           string        `var:"SLIPWAY_RELAY_LISTEN" default:":8080" placeholder:"HOST:PORT" help:"Where MLflow's webhooks come: POST /webhook. /health, /ready, /metrics and a page for people are there, too."`
	Database         string        `var:"SLIPWAY_RELAY_DATABASE" placeholder:"FILE" help:"What the relay remembers (slipway/relay.db in XDG_STATE_HOME)."`
	Poll             time.Duration `var:"SLIPWAY_RELAY_POLL" default:"30s" help:"How often to look at what is promoted without being told."`
	Here             bool          `name:"run" var:"SLIPWAY_RELAY_RUN" help:"Make the releases here, whatever slipway.yaml says is to be started."`
	InsecureUnsigned bool          `var:"SLIPWAY_RELAY_INSECURE_UNSIGNED" help:"Take webhooks without a signature, too. Without SLIPWAY_WEBHOOK_SECRET, which holds one secret or several with blanks between, no signature is checked."`
}

// shortestPoll keeps a relay from asking a model registry all the time.
const shortestPoll = time.Second

// garbage is how much a relay lets lie about, in percent of what it needs: it runs
// for months beside other things, and has time to clean up.
const garbage = 30

// Run receives, looks and starts until it is stopped. Its story is a log: one
// line of JSON on stderr for each thing.
func (cmd relayCommand) Run(ctx context.Context, p *program, c *cli) error {
	log := slog.New(slog.NewJSONHandler(p.stderr, nil))
	p.story = newStory(io.Discard, p.getenv, nil) // of targets and registries, to nobody
	if p.getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(garbage))
	}
	p.shareConnections(cmd.MLflow)
	watched, world, err := cmd.watch(p, c, log)
	if err != nil {
		return err
	}
	database, err := cmd.database(p)
	if err != nil {
		return err
	}
	config := relay.Config{
		Database: database, Watch: watched, World: world, Poll: cmd.Poll, Log: log,
		Secrets: strings.Fields(p.getenv(secretVariable)), Unsigned: cmd.InsecureUnsigned,
	}
	r, err := relay.Open(ctx, config)
	if err != nil {
		return usageOr(err)
	}
	l, err := net.Listen("tcp", cmd.Listen)
	if err != nil {
		return errors.Join(usageError{(&slipway.Error{Op: "listening", Code: slipway.Invalid, Err: err}).WithHint("--listen HOST:PORT with a free port")}, r.Close())
	}
	log.Info("listening", "address", l.Addr().String(), "watching", len(watched), "poll", cmd.Poll.String(), "secrets", len(config.Secrets))
	err = r.Serve(ctx, l)
	log.Info("stopped")
	return err
}

// usageOr makes what is wrong with the configuration wrong usage.
func usageOr(err error) error {
	if slipway.CodeOf(err) == slipway.Invalid {
		return usageError{err}
	}
	return err
}

// database is the file, which only we may read; its folder is made.
func (cmd relayCommand) database(p *program) (string, error) {
	path, err := filepath.Abs(orElse(cmd.Database, filepath.Join(filepath.Dir(p.stateDir()), "relay.db")))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err != nil {
		return "", (&slipway.Error{Op: "making the database", Code: slipway.Unavailable, Err: err}).WithHint("name a file that can be written with --database")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", (&slipway.Error{Op: "making the database", Code: slipway.Unavailable, Err: err}).WithHint("name a file that can be written with --database")
	}
	return path, f.Close()
}

// watch returns all of slipway.yaml whose version can change by itself, each
// with what starts it.
func (cmd relayCommand) watch(p *program, c *cli, log *slog.Logger) ([]relay.Watched, *relayWorld, error) {
	if cmd.Poll < shortestPoll {
		return nil, nil, usageError{usagef("--poll %s is too often", cmd.Poll).WithHint("--poll 1s or more")}
	}
	file, err := readConfig(c.Config)
	if err != nil {
		return nil, nil, err
	}
	if len(file.Models) == 0 {
		return nil, nil, usageError{usagef("no models are listed: there is no %s, or it has none", defaultConfig).WithHint("slipway init writes one; name another with --config")}
	}
	b := relayBuilder{cmd: cmd, p: p, file: file, log: log, world: &relayWorld{}, made: map[string]relay.Starter{}}
	for i, entry := range file.Models {
		if err := b.add(i, entry); err != nil {
			return nil, nil, err
		}
	}
	if len(b.watched) == 0 {
		return nil, nil, usageError{usagef("no model of %s is asked for by an alias or a stage", file.path).WithHint("write models:/NAME@ALIAS or models:/NAME/STAGE")}
	}
	return b.watched, b.world, nil
}
