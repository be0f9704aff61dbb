package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

// demoPort is where the demo serves, if nobody else does.
const demoPort = 8000

// steady is how long the load runs before and after the parts of the demo, so
// that the timeline shows each version serving.
const steady = 600 * time.Millisecond

type demoCommand struct {
	Once   bool   `help:"Exit at the end instead of leaving the address open to try."`
	MLflow string `name:"mlflow" var:"SLIPWAY_DEMO_MLFLOW" placeholder:"URI" help:"Use this model registry instead of an embedded one; the demo registers a model of its own there, which stays there."`
	Server string `placeholder:"FILE" help:"The model server to put into the images."`
}

// demoResult is what happened.
type demoResult struct {
	Model    slipway.ModelName `json:"model"`
	Address  string            `json:"address"`
	Seconds  float64           `json:"seconds"` // of work, first to last part
	Phases   []phaseMark       `json:"phases"`
	Requests tally             `json:"requests"`
	Releases []rollout.Outcome `json:"releases"`
	Fault    string            `json:"fault"` // what the demo broke by itself
	Serving  string            `json:"serving"`
	Left     []string          `json:"left,omitempty"` // what stays behind
}

// demo is one run of slipway demo.
type demo struct {
	*program
	stage  *stage
	load   *load
	start  time.Time
	result demoResult
}

// Run shows the whole story on this machine and cleans up after itself.
func (cmd demoCommand) Run(ctx context.Context, p *program) error {
	st, err := openStage(ctx, p, cmd)
	if err != nil {
		return err
	}
	d := newDemo(p, st)
	err = d.play(ctx)
	if err == nil && !cmd.Once {
		d.leaveOpen(ctx)
	}
	if d.load != nil {
		d.load.stop()
	}
	for _, left := range st.left {
		p.story.note("demo", "left behind: %s", left)
	}
	if left := st.close(ctx); left != nil {
		p.story.warn("demo", "not everything could be removed: %v", left)
		err = errors.Join(err, left)
	}
	return err
}

func newDemo(p *program, st *stage) *demo {
	return &demo{program: p, stage: st, start: time.Now()}
}

// play is the story: three promotions under load.
func (d *demo) play(ctx context.Context) error {
	p := d.program
	p.story.title("slipway demo: three versions of one model, one of them broken")
	d.introduce()
	if err := d.first(ctx); err != nil {
		return err
	}
	if err := d.replace(ctx); err != nil {
		return err
	}
	if err := d.broken(ctx); err != nil {
		return err
	}
	d.conclude()
	return d.report()
}

func (d *demo) introduce() {
	s := d.stage
	d.story.note("demo", "model registry %s, image registry %s, target %s", s.registryURI, s.imageHost, s.target)
	if s.target.Host != net.JoinHostPort("127.0.0.1", strconv.Itoa(demoPort)) {
		d.story.note("demo", "port %d is taken on this machine, so the demo serves on %s", demoPort, s.target.Host)
	}
}

// first promotes version 1 onto the empty target and starts the load.
func (d *demo) first(ctx context.Context) error {
	out, j, err := d.promote(ctx, "1", "iris 1 goes live")
	if err == nil && out.Kind != rollout.Live && !d.stage.free(d.stage.target.Host) {
		out, j, err = d.elsewhere(ctx)
	}
	if err != nil {
		return err
	}
	if err := d.want(out, rollout.Live); err != nil {
		return err
	}
	d.load = startLoad(context.WithoutCancel(ctx), "http://"+d.stage.target.Host, "1", j.golden)
	d.story.say(d.load.text)
	return pause(ctx, steady)
}

// elsewhere is first again, on another port: somebody took the one that was
// free a moment ago.
func (d *demo) elsewhere(ctx context.Context) (rollout.Outcome, *journey, error) {
	taken := d.stage.target.Host
	if err := d.stage.move(ctx); err != nil {
		return rollout.Outcome{}, nil, err
	}
	d.story.note("demo", "%s was taken meanwhile, so the demo serves on %s", taken, d.stage.target.Host)
	d.result.Releases, d.result.Phases = nil, nil
	return d.promote(ctx, "1", "iris 1 goes live")
}

// replace promotes version 2 under load.
func (d *demo) replace(ctx context.Context) error {
	out, _, err := d.promote(ctx, "2", "iris 2 replaces it under load")
	if err != nil {
		return err
	}
	if err := d.want(out, rollout.Live); err != nil {
		return err
	}
	return pause(ctx, steady)
}

// broken promotes version 3, which the demo breaks on its way to this machine.
func (d *demo) broken(ctx context.Context) error {
	d.result.Fault = "as the image of iris 3 is unpacked on this machine, the demo puts the model file of iris 1 in place of its own"
	out, _, err := d.promote(ctx, "3", "iris 3 is broken, and taken back")
	if err != nil {
		return err
	}
	if err := d.want(out, rollout.RolledBack); err != nil {
		return err
	}
	return pause(ctx, steady)
}

// promote points the alias at a version and deploys what it points at.
func (d *demo) promote(ctx context.Context, version slipway.Version, name string) (rollout.Outcome, *journey, error) {
	start := time.Now()
	d.story.title("%s", name)
	if version == "3" {
		d.story.note("demo", "a fault, planted: %s", d.result.Fault)
	}
	if err := d.stage.promote(ctx, version); err != nil {
		return rollout.Outcome{}, nil, err
	}
	j, err := d.stage.program.begin(d.stage.settings())
	if err != nil {
		return rollout.Outcome{}, nil, err
	}
	j.making.Server, j.making.Prove = d.stage.server, proveOff
	j.onBuilt = func() {
		if d.load != nil && version != "3" {
			d.load.expect(version, j.golden)
		}
	}
	out, err := j.deploy(ctx)
	d.result.Releases = append(d.result.Releases, out)
	if d.load != nil {
		d.story.note("load", "%s", d.load.text())
	}
	d.result.Phases = append(d.result.Phases, phaseMark{Name: name, Start: start.Sub(d.start).Seconds(), Seconds: time.Since(start).Seconds(), Note: out.Message})
	return out, j, err
}

// want fails the demo when a part of it ended otherwise than it should.
func (d *demo) want(out rollout.Outcome, kind rollout.Kind) error {
	if out.Kind == kind {
		return nil
	}
	return slipway.Errorf(slipway.Internal, "showing the demo", "%s ended %s, not %s: %s", out.Release.Model, out.Kind, kind, out.Message).
		WithHint("%s", orElse(out.Hint, "please report this"))
}

// conclude stops the load and counts.
func (d *demo) conclude() {
	d.story.say(nil)
	tally, answers := d.load.stop()
	r := &d.result
	r.Requests, r.Address, r.Model = tally, "http://"+d.stage.target.Host, d.stage.model
	r.Seconds = time.Since(d.start).Seconds()
	r.Serving = d.result.Releases[len(r.Releases)-1].Serving.Model.String()
	d.stage.answers, r.Left = answers, d.stage.left
}

func (d *demo) report() error {
	d.story.title("what happened")
	r := d.result
	if err := d.program.result(r, func(w io.Writer) {
		versions := []slipway.Version{"1", "2", "3"}
		printTimeline(w, d.start, d.start.Add(time.Duration(r.Seconds*float64(time.Second))), versions, d.stage.answers, r.Phases)
		fmt.Fprintf(w, "\n  %s requests sent, %s lost. iris 3 answered %s. %s serves.\n", thousands(r.Requests.Sent), thousands(r.Requests.Lost),
			orElse(when(r.Requests.ByVersion["3"] > 0, thousands(r.Requests.ByVersion["3"])), "none"), r.Serving)
	}); err != nil {
		return err
	}
	if r.Requests.Lost > 0 {
		return slipway.Errorf(slipway.Internal, "showing the demo", "%d requests were lost: %s", r.Requests.Lost, r.Requests.FirstLoss).
			WithHint("please report this")
	}
	return nil
}

// leaveOpen waits for Ctrl-C with the last good version serving.
func (d *demo) leaveOpen(ctx context.Context) {
	fmt.Fprintf(d.stderr, "\nIt stays open to try:\n\n  curl -s %s/predict -H 'Content-Type: application/json' -d '%s'\n\nCtrl-C ends it and removes everything.\n", d.result.Address, d.stage.example)
	<-ctx.Done()
}

// pause lets the load run, or returns why the demo ends early.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// demoDir makes the directory in which all of the demo lives.
func demoDir() (string, error) {
	dir, err := os.MkdirTemp("", "slipway-demo-")
	if err != nil {
		return "", (&slipway.Error{Op: "making a directory for the demo", Code: slipway.Exhausted, Err: err}).WithHint("free space, or set TMPDIR")
	}
	return dir, nil
}
