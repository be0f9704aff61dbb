package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

type planCommand struct {
	modelFlags
	placeFlags
	checkFlags
	buildFlags
}

// planResult is what a deploy would change and cost.
type planResult struct {
	Environment   string                `json:"environment"`
	Target        string                `json:"target"`
	Model         slipway.ModelVersion  `json:"model"`
	Serving       *slipway.ModelVersion `json:"serving"` // null: nothing
	Would         string                `json:"would"`   // deploy, nothing-to-do, held, quarantined, waits
	Image         slipway.Image         `json:"image"`
	Layers        int                   `json:"layers"`
	UploadLayers  int                   `json:"uploadLayers"`
	UploadBytes   int64                 `json:"uploadBytes"`
	Golden        string                `json:"golden"`
	Signature     []string              `json:"signature"` // what changes; empty: nothing
	WayBack       string                `json:"wayBack"`
	WayBackExists bool                  `json:"wayBackExists"`
	Replicas      int                   `json:"replicas"`          // to be replaced
	Missing       string                `json:"missing,omitempty"` // a cluster without the Deployment, and how to make it
	Fastest       time.Duration         `json:"fastestNanoseconds,omitempty"`
	Slowest       time.Duration         `json:"slowestNanoseconds,omitempty"`
	Releases      int                   `json:"releases"` // that the times are of
}

// Run says what a deploy would change. It changes nothing: the model comes
// into the cache and the image is made, but neither leaves this machine.
func (cmd planCommand) Run(ctx context.Context, p *program, c *cli) error {
	deploy := deployCommand{modelFlags: cmd.modelFlags, placeFlags: cmd.placeFlags, checkFlags: cmd.checkFlags, buildFlags: cmd.buildFlags}
	all, err := deploy.settings(p, c)
	if err != nil {
		return err
	}
	var plans []planResult
	for _, s := range all {
		j, err := deploy.journey(p, s)
		if err != nil {
			return err
		}
		plan, err := j.plan(ctx)
		if err != nil {
			return err
		}
		plans = append(plans, plan)
	}
	return p.result(plans, func(w io.Writer) {
		for _, plan := range plans {
			plan.print(w)
		}
	})
}

func (j *journey) plan(ctx context.Context) (planResult, error) {
	waiting, err := j.resolveToPlan(ctx)
	if err != nil {
		return planResult{}, err
	}
	for _, step := range []func(context.Context) error{j.validate, j.build} {
		if err := step(ctx); err != nil {
			return planResult{}, err
		}
	}
	plan := planResult{
		Environment: j.environment, Target: j.targetText(), Model: j.release.Model, Image: j.release.Image, Golden: goldenText(j.golden),
	}
	record, err := j.journal.Load(ctx)
	if err != nil {
		return plan, err
	}
	observed, err := j.target.Observe(ctx)
	if err != nil {
		return plan, err
	}
	plan.Would, plan.Replicas = j.would(record), toReplace(observed)
	if waiting {
		plan.Would = string(waits)
	}
	plan.Fastest, plan.Slowest, plan.Releases = times(record.History)
	if plan.Missing, err = j.missing(ctx); err != nil {
		return plan, err
	}
	if err := j.planUpload(ctx, &plan); err != nil {
		return plan, err
	}
	if record.Live == nil {
		plan.WayBack = "none: nothing serves; a failure removes this release again"
		return plan, nil
	}
	plan.Serving = &record.Live.Model
	return plan, j.planReplacement(ctx, &plan, *record.Live)
}

// missing says that there is nothing yet that could be changed; "": there is.
func (j *journey) missing(ctx context.Context) (string, error) {
	if j.cluster == nil {
		return "", nil
	}
	err := j.cluster.Find(ctx)
	if slipway.CodeOf(err) == slipway.NotFound {
		return fmt.Sprintf("the cluster has no Deployment %s in the namespace %s; deploy --create makes it", j.to.Name, j.to.Namespace), nil
	}
	return "", err
}

// toReplace counts the replicas that are there to stay.
func toReplace(o slipway.Observation) int {
	return len(slices.DeleteFunc(o.Replicas, func(r slipway.Replica) bool { return r.State == slipway.Draining }))
}

// resolveToPlan goes on also where the environment would wait for another.
func (j *journey) resolveToPlan(ctx context.Context) (waiting bool, err error) {
	var left notProven
	if err = j.resolve(ctx); !errors.As(err, &left) {
		return false, err
	}
	j.release.Model = left.version
	return true, nil
}

// would is what the target would answer to the version.
func (j *journey) would(record slipway.Record) string {
	live := record.Live
	switch {
	case record.Hold != nil:
		return "held"
	case record.Quarantined(j.release.Model) != nil:
		return "quarantined"
	case live != nil && live.Model.Name == j.release.Model.Name && live.Model.Version == j.release.Model.Version && j.sameSettings(*live):
		return "nothing-to-do"
	}
	return "deploy"
}

func (j *journey) planUpload(ctx context.Context, plan *planResult) error {
	what, err := j.toPush()
	if err != nil {
		return err
	}
	pushed, err := j.images.Plan(ctx, j.image, what)
	if err != nil {
		return err
	}
	plan.Layers, plan.UploadLayers, plan.UploadBytes = pushed.Layers, pushed.UploadedLayers, pushed.UploadedBytes
	return nil
}

// planReplacement compares with what serves.
func (j *journey) planReplacement(ctx context.Context, plan *planResult, live slipway.Release) error {
	plan.WayBack = live.Model.String() + ", " + live.Image.Digest.Short() + ", can be pulled"
	plan.WayBackExists = true
	if err := j.images.Check(ctx, live.Image); err != nil {
		plan.WayBack, plan.WayBackExists = fmt.Sprintf("%s cannot be pulled: %v", live.Image.Ref(), err), false
		return nil
	}
	before, err := j.servingModel(ctx, live)
	if err != nil {
		return err
	}
	plan.Signature = signatureChanges(before.Signature, j.model.Signature)
	return nil
}

// modelFileLimit bounds an MLmodel file, in bytes.
const modelFileLimit = 16 << 20

// servingModel reads the MLmodel file of the image that serves.
func (j *journey) servingModel(ctx context.Context, live slipway.Release) (*mlmodel.Model, error) {
	data, err := j.images.File(ctx, live.Image, "model/MLmodel", modelFileLimit)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "slipway-plan-")
	if err != nil {
		return nil, &slipway.Error{Op: "reading what serves", Code: slipway.Exhausted, Err: err}
	}
	model, err := openAlone(dir, data)
	return model, errors.Join(err, os.RemoveAll(dir))
}

func openAlone(dir string, data []byte) (*mlmodel.Model, error) {
	if err := os.WriteFile(filepath.Join(dir, "MLmodel"), data, 0o600); err != nil {
		return nil, err
	}
	return mlmodel.Open(dir)
}

// signatureChanges lists what clients of the model will notice.
func signatureChanges(before, after *mlmodel.Signature) []string {
	was, is := signatureNames(before), signatureNames(after)
	var changes []string
	for name, kind := range was {
		switch now, still := is[name]; {
		case !still:
			changes = append(changes, "− "+name+" "+kind)
		case now != kind:
			changes = append(changes, "~ "+name+" "+kind+" → "+now)
		}
	}
	for name, kind := range is {
		if _, known := was[name]; !known {
			changes = append(changes, "+ "+name+" "+kind)
		}
	}
	slices.Sort(changes)
	return changes
}

// signatureNames flattens a signature: "in petal_length" → "double".
func signatureNames(s *mlmodel.Signature) map[string]string {
	names := map[string]string{}
	if s == nil {
		return names
	}
	for side, schema := range map[string]*mlmodel.Schema{"in": s.Inputs, "out": s.Outputs} {
		if schema == nil {
			continue
		}
		for i, c := range schema.Columns {
			kind := c.Type.String()
			if !c.Required {
				kind += "?"
			}
			names[side+" "+orElse(c.Name, fmt.Sprint(i))] = kind
		}
		for i, t := range schema.Tensors {
			names[side+" "+orElse(t.Name, fmt.Sprint(i))] = fmt.Sprintf("%s%v", t.DType, t.Shape)
		}
	}
	return names
}

// times returns how long past releases took from rollout to verified.
func times(history []slipway.Release) (fastest, slowest time.Duration, n int) {
	for _, r := range history {
		if r.Phase != slipway.Verified && r.Phase != slipway.Undone {
			continue
		}
		var took time.Duration
		for _, s := range r.Spans {
			took += s.Duration
		}
		if fastest == 0 || took < fastest {
			fastest = took
		}
		slowest = max(slowest, took)
		n++
	}
	return fastest, slowest, n
}

func (plan planResult) print(w io.Writer) {
	change := plan.Model.String()
	if plan.Serving != nil {
		change = fmt.Sprintf("%s → %s", plan.Serving, plan.Model)
	}
	fmt.Fprintf(w, "%s on %s  (%s)    changes nothing by itself\n\n", clean(change), orElse(plan.Environment, plan.Target), plan.Would)
	rows := [][]string{
		{"image", fmt.Sprintf("+ %s, %s (%d of %d already in %s)", plural(plan.UploadLayers, "layer"), bytesText(plan.UploadBytes),
			plan.Layers-plan.UploadLayers, plan.Layers, plan.Image.Host())},
		{"golden", plan.Golden},
		{"signature", plan.signatureText()},
		{"way back", plan.WayBack},
		{"replace", plan.replaceText()},
	}
	switch {
	case plan.Releases == 1:
		rows = append(rows, []string{"time", "about " + seconds(plan.Slowest) + ", as the last release"})
	case plan.Releases > 1:
		rows = append(rows, []string{"time", fmt.Sprintf("as the last %d releases: %s–%s", plan.Releases, seconds(plan.Fastest), seconds(plan.Slowest))})
	}
	table(w, rows)
}

func (plan planResult) replaceText() string {
	if plan.Missing != "" {
		return "nothing: " + plan.Missing
	}
	return plural(plan.Replicas, "replica")
}

func (plan planResult) signatureText() string {
	switch {
	case plan.Serving == nil:
		return "nothing to compare with"
	case len(plan.Signature) == 0:
		return "unchanged"
	}
	return strings.Join(plan.Signature, "; ")
}
