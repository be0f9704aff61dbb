package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// readyLimit is how long a version may stay PENDING_REGISTRATION.
const readyLimit = 5 * time.Minute

// checkFlags are policy on models.
type checkFlags struct {
	RefusePickle bool `help:"Refuse models whose loading runs arbitrary code (pickle)."`
}

type validateCommand struct {
	sourceFlags
	checkFlags
	builderFlags
	handedFlags
}

// sourceFlags are what a later step needs of the model registry.
type sourceFlags struct {
	MLflow string `name:"mlflow" env:"MLFLOW_TRACKING_URI" placeholder:"URI" help:"The model registry."`
}

// Run downloads the model and checks that it can be served.
func (cmd validateCommand) Run(ctx context.Context, p *program) error {
	h := cmd.handover()
	j, err := p.resumeMaking(h, cmd.MLflow)
	if err != nil {
		return err
	}
	j.checks, j.making.builderFlags = cmd.checkFlags, cmd.builderFlags
	if err := j.validate(ctx); err != nil {
		return err
	}
	if err := h.writeWork(j.work); err != nil {
		return err
	}
	return j.handOn(h)
}

// resumeJourney goes on with the release of an earlier step.
func (p *program) resumeJourney(h handover, mlflow string) (*journey, error) {
	return p.resume(h, mlflow, p.connect)
}

// resumeMaking is resumeJourney for steps that ask nothing of the target, and
// need no right there.
func (p *program) resumeMaking(h handover, mlflow string) (*journey, error) {
	return p.resume(h, mlflow, func(s settings) (*ports, error) {
		s.to = slipway.TargetRef{}
		return p.connect(s)
	})
}

func (p *program) resume(h handover, mlflow string, connect func(settings) (*ports, error)) (*journey, error) {
	if err := h.take(); err != nil {
		return nil, err
	}
	release, err := h.read()
	if err != nil {
		return nil, err
	}
	p.mask(release.SecretEnv)
	s := settings{
		mlflowURI: mlflow, name: release.Model.Name, image: release.Image.Repository, environment: release.Environment,
		env: release.Env, secretEnv: release.SecretEnv, replicas: release.Replicas, reason: release.Reason,
		requests: release.Requests, startup: release.Startup, afterTarget: release.After,
	}
	if s.ref, err = slipway.ParseModelRef(release.Asked); err != nil {
		return nil, usageError{err}
	}
	if release.Target != "" {
		if err := s.setTarget(release.Target); err != nil {
			return nil, err
		}
	}
	world, err := connect(s)
	if err != nil {
		return nil, err
	}
	work, err := h.readWork()
	if err != nil {
		return nil, err
	}
	return &journey{program: p, ports: world, settings: s, release: release, work: work}, nil
}

// validate downloads the model and makes sure that it can be served here.
func (j *journey) validate(ctx context.Context) error {
	return j.step(ctx, "validate", slipway.Validating, func(ctx context.Context) (outcome, error) {
		files, err := j.fetch(ctx)
		if err != nil {
			return outcome{}, err
		}
		if err := j.load(ctx); err != nil {
			return outcome{}, errors.Join(err, j.discard())
		}
		if err := j.checkPolicy(); err != nil {
			return outcome{}, err
		}
		if err := j.checkPackages(ctx); err != nil {
			return outcome{}, err
		}
		return outcome{describe(j.model, files), []string{"Model validation passed"}}, nil
	})
}

// load opens the model and finds what can serve it.
func (j *journey) load(ctx context.Context) error {
	model, err := mlmodel.Open(j.work.ModelDir)
	if err != nil {
		return err
	}
	model.Converted = "" // a directory that says so itself is not believed
	j.model = model
	j.release.Model.Flavor = model.Flavor()
	j.release.Model.RunID = orElse(j.release.Model.RunID, model.RunID)
	j.release.Model.ModelID = orElse(j.release.Model.ModelID, model.ModelID)
	return j.chooseEngine(ctx)
}

// checkPolicy applies what the user allows: code that loading would run, and
// the environment variables that the model needs.
func (j *journey) checkPolicy() error {
	if reason, runs := j.model.RunsCode(); runs {
		if j.checks.RefusePickle {
			return slipway.Errorf(slipway.Invalid, "validating "+j.release.Model.String(), "loading it runs arbitrary code: %s", reason).
				WithHint("save it in skops format, or leave out --refuse-pickle")
		}
		j.story.warn("validate", "loading this model runs arbitrary code: %s", reason)
	}
	for _, name := range j.model.EnvVars {
		if _, given := j.release.Env[name]; !given && !givesSecret(j.release.SecretEnv, name) {
			return slipway.Errorf(slipway.Invalid, "validating "+j.release.Model.String(), "the model needs the environment variable %s, and nothing gives it", name).
				WithHint("%s", j.givesVariable(name))
		}
	}
	return nil
}

// checkPackages finds out whether a model that needs Python can have its
// packages, before anything is built.
func (j *journey) checkPackages(ctx context.Context) error {
	if !j.needsPython() {
		return nil
	}
	if j.notNative != nil && !convertible(j.model) {
		j.story.note("validate", "it needs Python: %s", inLine(j.notNative))
	}
	for _, platform := range j.platforms() {
		if _, err := j.dockerLock(ctx, platform); err != nil {
			return err
		}
	}
	return nil
}

// givesVariable says how to give the model server a variable.
func (j *journey) givesVariable(name string) string {
	if j.to.Scheme == "kubernetes" {
		return fmt.Sprintf("--env %s=VALUE, or --secret-env %s for a key of the Secret %s (%s=SECRET/KEY for another)", name, name, j.to.Name, name)
	}
	return fmt.Sprintf("--env %s=VALUE, or --secret-env %s for one that is set here and must not be recorded", name, name)
}

// libraries are the names people use for flavours.
var libraries = map[string]string{"sklearn": "scikit-learn", "xgboost": "XGBoost", "lightgbm": "LightGBM", "catboost": "CatBoost", "onnx": "ONNX"}

// describe says in words what the model is: "scikit-learn pipeline, skops,
// 6 files, 41 kB; 5 columns → class".
func describe(m *mlmodel.Model, files []mlmodel.File) string {
	var size int64
	for _, f := range files {
		size += f.Size
	}
	flavor := m.Flavor()
	text := orElse(libraries[flavor], flavor) + " model"
	if format := m.Flavors[flavor].Text("serialization_format"); format != "" {
		text += ", " + format
	}
	return text + fmt.Sprintf(", %s, %s", plural(len(files), "file"), bytesText(size)) + signatureText(m.Signature)
}

// signatureText is "; 5 columns → class", or nothing without a signature.
func signatureText(s *mlmodel.Signature) string {
	if s == nil || s.Inputs == nil {
		return "; no signature"
	}
	text := "; " + schemaText(s.Inputs)
	if s.Outputs == nil {
		return text
	}
	if isClass(s.Outputs) {
		return text + " → class"
	}
	return text + " → " + schemaText(s.Outputs)
}

// isClass: classifiers answer one string a row.
func isClass(s *mlmodel.Schema) bool {
	switch {
	case len(s.Columns) == 1:
		return s.Columns[0].Type.Kind == mlmodel.TypeString
	case len(s.Tensors) == 1:
		return s.Tensors[0].DType == "object" || s.Tensors[0].DType == "str"
	}
	return false
}

func schemaText(s *mlmodel.Schema) string {
	switch {
	case len(s.Columns) == 1:
		return s.Columns[0].Type.String()
	case len(s.Columns) > 0:
		return plural(len(s.Columns), "column")
	case len(s.Tensors) == 1:
		return s.Tensors[0].DType + " tensor"
	}
	return plural(len(s.Tensors), "tensor")
}
