package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-dev/slipway"
)

type doctorCommand struct {
	Model       string `arg:"" optional:"" placeholder:"MODEL" help:"The model whose release is to work; without it, all in slipway.yaml."`
	MLflow      string `name:"mlflow" env:"MLFLOW_TRACKING_URI" placeholder:"URI" help:"The model registry."`
	Image       string `placeholder:"HOST/PATH" help:"Repository in the image registry; $ACR_LOGIN_SERVER/NAME by default."`
	To          string `placeholder:"TARGET" help:"kubernetes://NAMESPACE/DEPLOYMENT[?context=NAME&container=NAME] or local://HOST:PORT."`
	Environment string `short:"e" placeholder:"NAME" help:"Only this environment of slipway.yaml."`
}

// standing is how a check ended.
type standing string

// The standings, in the order of their weight.
const (
	works   standing = "works"
	skipped standing = "skipped" // it does not apply, or cannot be known; Found says why
	noted   standing = "noted"   // a release works, and would be better off otherwise
	fails   standing = "fails"   // a release would fail, or warn each time
)

// finding is one line of doctor's table.
type finding struct {
	Check   string   `json:"check"`             // what was looked at: "MLflow"
	Subject string   `json:"subject,omitempty"` // which one
	Mark    standing `json:"mark"`
	Found   string   `json:"found"`             // one line
	Why     string   `json:"why,omitempty"`     // the cause, in others' words
	Fix     string   `json:"fix,omitempty"`     // the command or setting that mends it
	Missing []string `json:"missing,omitempty"` // rights
}

// diagnosis is the result of doctor.
type diagnosis struct {
	Works    bool      `json:"works"` // nothing fails
	Findings []finding `json:"findings"`
}

// Run looks at everything a release needs and says how to mend what fails. It
// leaves nothing behind.
func (cmd doctorCommand) Run(ctx context.Context, p *program, c *cli) error {
	d, err := cmd.doctor(p, c)
	if err != nil {
		return err
	}
	found := d.examine(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	result := diagnosis{Findings: found, Works: !slices.ContainsFunc(found, func(f finding) bool { return f.Mark == fails })}
	d.inCI(result)
	if err := p.result(result, func(w io.Writer) { result.print(w, p.sheet(w)) }); err != nil {
		return err
	}
	if !result.Works {
		return ended{code: exitFailed}
	}
	return nil
}

// doctor is one examination of what the releases need.
type doctor struct {
	p          *program
	file       string // the configuration; "" without one
	releases   []settings
	registries func() (*ports, error) // one world for all exams: they sign in once
	limit      time.Duration          // of one exam: what takes longer does not work
	notify     configNotify

	mu     sync.Mutex
	clocks []clockReading
}

// doctor returns what there is to examine. Without a model and a
// configuration, that is what the environment tells.
func (cmd doctorCommand) doctor(p *program, c *cli) (*doctor, error) {
	file, err := readConfig(c.Config)
	if err != nil {
		return nil, err
	}
	d := &doctor{p: p, file: file.path, notify: file.Notify, limit: examLimit}
	d.registries = sync.OnceValues(func() (*ports, error) { return p.connect(settings{mlflowURI: d.releases[0].mlflowURI}) })
	models, place := modelFlags{Model: cmd.Model, MLflow: cmd.MLflow}, placeFlags{Image: cmd.Image, To: cmd.To, Environment: cmd.Environment}
	if cmd.Model != "" || len(file.Models) > 0 {
		d.releases, err = choose(models, place, file, p.getenv)
		return d, err
	}
	bare := settings{mlflowURI: cmd.MLflow, image: cmd.Image}
	bare.image = orElse(bare.image, defaultImage(p.getenv, "slipway"))
	if cmd.To != "" {
		err = bare.setTarget(cmd.To)
	}
	d.releases = []settings{bare}
	return d, err
}

// exam looks at one thing. The others do not wait for it.
type exam struct {
	name string
	look func(context.Context) []finding
}

// examLimit is how long one exam may take.
const examLimit = 30 * time.Second

// exams are all of them, in the order of the table.
func (d *doctor) exams() []exam {
	all := []exam{{"the settings", d.settings}, {"MLflow", d.models}}
	for _, repository := range d.repositories() {
		all = append(all, exam{repository, func(ctx context.Context) []finding { return d.images(ctx, repository) }})
	}
	for _, s := range d.targets() {
		all = append(all, exam{s.targetText(), func(ctx context.Context) []finding { return d.target(ctx, s) }})
	}
	return append(all, exam{"Python", d.python}, exam{"notifications", d.channels})
}

// examine makes all exams at once and returns what they found, in their order.
func (d *doctor) examine(ctx context.Context) []finding {
	exams := d.exams()
	found := make([][]finding, len(exams))
	d.p.story.tell(slipway.Event{Kind: slipway.Started, Step: "doctor", Message: "looking"})
	waiting := newWaiting(d.p.story, exams)
	var group sync.WaitGroup
	for i, e := range exams {
		group.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, d.limit, fmt.Errorf("no answer within %s", d.limit))
			defer cancel()
			found[i] = e.look(ctx)
			waiting.done(e.name)
		})
	}
	group.Wait()
	all := append(slices.Concat(found...), d.clock()...)
	d.p.story.tell(slipway.Event{Kind: slipway.Succeeded, Step: "doctor", Message: "looked at " + plural(len(all), "thing")})
	return all
}

// waiting tells what is still looked at.
type waiting struct {
	mu    sync.Mutex
	story *story
	names []string
}

func newWaiting(s *story, exams []exam) *waiting {
	w := &waiting{story: s}
	for _, e := range exams {
		w.names = append(w.names, e.name)
	}
	w.tell()
	return w
}

func (w *waiting) done(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names = slices.DeleteFunc(w.names, func(n string) bool { return n == name })
	if len(w.names) > 0 {
		w.tell()
	}
}

func (w *waiting) tell() {
	w.story.tell(slipway.Event{Kind: slipway.Progress, Step: "doctor", Message: "waiting for " + strings.Join(w.names, ", ")})
}

// world is that of a release: the registries' with its target.
func (d *doctor) world(s settings) (*ports, error) {
	shared, err := d.registries()
	if err != nil {
		return nil, err
	}
	world := *shared
	return &world, d.p.wireTarget(&world, settings{to: s.to, image: s.image})
}

// repositories are those of the image registry, each once.
func (d *doctor) repositories() []string {
	var all []string
	for _, s := range d.releases {
		if s.image != "" && !slices.Contains(all, s.image) {
			all = append(all, s.image)
		}
	}
	return all
}

// targets are the releases whose target is another one than those before.
func (d *doctor) targets() []settings {
	var all []settings
	for _, s := range d.releases {
		known := slices.ContainsFunc(all, func(other settings) bool { return other.targetText() == s.targetText() })
		if s.to.Scheme != "" && !known {
			all = append(all, s)
		}
	}
	return all
}
