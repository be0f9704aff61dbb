package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/oci"
)

// modelFlags name a model and where models come from.
type modelFlags struct {
	Model  string `arg:"" optional:"" placeholder:"MODEL" help:"models:/NAME@ALIAS, models:/NAME/STAGE, models:/NAME/VERSION or a model directory; without it, all in slipway.yaml."`
	Name   string `placeholder:"NAME" help:"Name of the model in a directory; its base name by default."`
	MLflow string `name:"mlflow" env:"MLFLOW_TRACKING_URI" placeholder:"URI" help:"The model registry."`
	Strict bool   `help:"Fail when nothing is promoted, although something serves already."`
}

// placeFlags say which image and which target.
type placeFlags struct {
	Image       string            `placeholder:"HOST/PATH" help:"Repository in the image registry; $ACR_LOGIN_SERVER/NAME by default."`
	To          string            `placeholder:"TARGET" help:"kubernetes://NAMESPACE/DEPLOYMENT[?context=NAME&container=NAME] or local://HOST:PORT."`
	Environment string            `short:"e" placeholder:"NAME" help:"Environment of slipway.yaml; or a name for the target given with --to (the namespace, or local)."`
	Env         map[string]string `placeholder:"NAME=VALUE" help:"Environment variables of the model server."`
	SecretEnv   []string          `placeholder:"NAME" help:"Variables that the model server gets and nobody records. In a cluster from the Secret called like the Deployment, or NAME=SECRET/KEY from another; on this machine from this process."`
	Replicas    int               `placeholder:"N" help:"How many replicas serve (as many as before; on this machine 2 at first)."`
	Reason      string            `placeholder:"TEXT" help:"Why this release is started, for the history."`
}

// settings are what one release needs to know: flags and environment first,
// then slipway.yaml, then defaults.
type settings struct {
	ref         slipway.ModelRef
	name        slipway.ModelName // of a model directory
	mlflowURI   string
	strict      bool
	image       string
	to          slipway.TargetRef
	environment string
	env         map[string]string
	secretEnv   []string
	replicas    int
	reason      string
	server      string           // --server, also for images of another platform
	requests    slipway.Requests // of a replica, in a cluster
	startup     time.Duration    // how long a replica may take to become ready; 0: as the target has it
	after       string           // the environment that must have verified the version first
	afterTarget string           // and its target
	inFile      bool             // the environment is one of slipway.yaml
}

// again is the command that deploys this once more.
func (s settings) again() string {
	if s.inFile {
		return "slipway deploy " + word(s.ref.String()) + " --environment " + word(s.environment)
	}
	return "slipway deploy " + word(s.ref.String()) + orNothing(" --image ", s.image) + orNothing(" --to ", word(s.targetText()))
}

// plainWord is what every shell takes as it stands.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9@%+:,./_-]*$`)

// word is a text as one word of a shell's command: names may have spaces, and a
// target's ? and & mean something else there.
func word(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// explains is the command that tells why the release failed: a journal in a
// cluster has to be named where no slipway.yaml does.
func (s settings) explains(id slipway.ReleaseID) string {
	if s.to.Scheme == "kubernetes" && !s.inFile {
		return "slipway explain " + string(id) + " --on " + word(s.targetText())
	}
	return "slipway explain " + string(id)
}

// choose returns the releases that the flags and the configuration name
// together, in the order in which they are to be made. Flags win.
func choose(m modelFlags, pl placeFlags, c *config, getenv func(string) string) ([]settings, error) {
	models, inFile, err := chooseModels(m.Model, pl, c)
	if err != nil {
		return nil, err
	}
	var all []settings
	for _, entry := range models {
		environments, err := chooseEnvironments(entry, pl)
		if err != nil {
			return nil, err
		}
		for _, e := range environments {
			s, err := merge(m, pl, entry, e, getenv)
			if err == nil {
				err = s.check()
			}
			if err != nil {
				return nil, err
			}
			s.inFile = inFile
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil, usageError{usagef("%s has no environment called %s", c.path, pl.Environment).
			WithHint("it has %s", strings.Join(c.environments(), ", "))}
	}
	return all, nil
}

// chooseModels returns the configuration's entries for the model that was
// named, all of them without a name, or an entry made of the flags alone.
func chooseModels(model string, pl placeFlags, c *config) (models []configModel, inFile bool, err error) {
	if model == "" && len(c.Models) > 0 {
		return c.Models, true, nil
	}
	if model == "" {
		return nil, false, usageError{usagef("no model is named, and there is no %s", defaultConfig).
			WithHint("name one (models:/NAME@ALIAS or a directory), or list models in %s", defaultConfig)}
	}
	ref, err := slipway.ParseModelRef(model)
	if err != nil {
		return nil, false, usageError{err}
	}
	for _, matches := range []func(slipway.ModelRef) bool{
		func(other slipway.ModelRef) bool { return other == ref },
		func(other slipway.ModelRef) bool { return ref.Name != "" && other.Name == ref.Name },
	} {
		if found := c.matching(matches); len(found) > 0 {
			return found, true, nil
		}
	}
	byFlags := configEnvironment{Name: orElse(pl.Environment, environmentOf(pl.To)), Target: pl.To}
	return []configModel{{Model: model, Environments: []configEnvironment{byFlags}}}, false, nil
}

// environments returns the names of all environments, each once.
func (c *config) environments() []string {
	var names []string
	for _, m := range c.Models {
		if m.Target != "" {
			names = append(names, "production")
		}
		for _, e := range m.Environments {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (c *config) matching(matches func(slipway.ModelRef) bool) []configModel {
	return slices.DeleteFunc(slices.Clone(c.Models), func(m configModel) bool {
		ref, err := slipway.ParseModelRef(m.Model)
		return err != nil || !matches(ref)
	})
}

// chooseEnvironments returns the environments of the entry that the flags
// leave: --environment by name, and --to by target where there are several;
// the target of a single one is replaced by --to.
func chooseEnvironments(m configModel, pl placeFlags) ([]configEnvironment, error) {
	environments, err := inOrder(m.Environments)
	if err != nil {
		return nil, usageError{err}
	}
	if m.Target != "" {
		environments = []configEnvironment{{Name: "production", Target: m.Target}}
	}
	if pl.Environment != "" {
		environments = slices.DeleteFunc(environments, func(e configEnvironment) bool { return e.Name != pl.Environment })
	}
	if pl.To == "" || len(environments) < 2 {
		return environments, nil
	}
	environments = slices.DeleteFunc(environments, func(e configEnvironment) bool { return e.Target != pl.To })
	if len(environments) == 0 {
		return nil, usageError{usagef("%s has several environments and none of them is %s", m.Model, pl.To).
			WithHint("say which one with --environment")}
	}
	return environments, nil
}

func merge(m modelFlags, pl placeFlags, entry configModel, e configEnvironment, getenv func(string) string) (settings, error) {
	s := settings{
		mlflowURI: m.MLflow, strict: m.Strict, environment: e.Name, replicas: pl.Replicas, reason: pl.Reason,
		after: e.After, afterTarget: entry.targetOf(e.After), requests: e.Requests.requests(), startup: startupOf(e.Startup),
		image:     orElse(pl.Image, entry.Image),
		env:       maps.Clone(e.Env),
		secretEnv: e.SecretEnv,
	}
	if s.env == nil {
		s.env = map[string]string{}
	}
	maps.Copy(s.env, pl.Env)
	if len(pl.SecretEnv) > 0 {
		s.secretEnv = pl.SecretEnv
	}
	if err := s.setModel(orElse(m.Model, entry.Model), m.Name); err != nil {
		return s, err
	}
	s.image = orElse(s.image, defaultImage(getenv, s.name))
	if target := orElse(pl.To, e.Target); target != "" {
		return s, s.setTarget(target)
	}
	return s, nil
}

// defaultImage is the repository of a model for which nobody names one; "":
// ACR_LOGIN_SERVER is not set.
func defaultImage(getenv func(string) string, name slipway.ModelName) string {
	host := oci.LoginServer(getenv("ACR_LOGIN_SERVER"))
	if host == "" {
		return ""
	}
	return host + "/" + repositoryName(name)
}

func (s *settings) setModel(model, name string) error {
	ref, err := slipway.ParseModelRef(model)
	if err != nil {
		return usageError{err}
	}
	s.ref, s.name = ref, ref.Name
	if ref.Path == "" {
		return nil
	}
	absolute, err := filepath.Abs(ref.Path)
	if err != nil {
		return usageError{err}
	}
	s.name = slipway.ModelName(orElse(name, filepath.Base(absolute)))
	if info, err := os.Stat(absolute); err != nil || !info.IsDir() {
		return usageError{usagef("%s is no directory", ref.Path).
			WithHint("use models:/NAME@ALIAS, models:/NAME/STAGE, models:/NAME/VERSION or the path of a model directory")}
	}
	return nil
}

func (s *settings) setTarget(target string) error {
	ref, err := slipway.ParseTargetRef(target)
	if err != nil {
		return usageError{err}
	}
	if err := checkTarget(ref); err != nil {
		return usageError{err}
	}
	s.to = ref
	return nil
}

// needsTarget and needsImage are asked by the steps that cannot do without.
func (s settings) needsTarget() error {
	if s.to.Scheme != "" {
		return nil
	}
	return usageError{usagef("no target is named").WithHint("--to kubernetes://NAMESPACE/DEPLOYMENT or local://127.0.0.1:8000, or target in slipway.yaml")}
}

func (s settings) needsImage() error {
	if s.image != "" {
		return nil
	}
	return usageError{usagef("no image repository is named").WithHint("--image HOST/PATH, image in slipway.yaml, or ACR_LOGIN_SERVER")}
}

var notInRepository = regexp.MustCompile(`[^a-z0-9]+`)

// repositoryName makes a path component of a repository from a model's name
// (OCI distribution specification 1.1, "Pulling manifests").
func repositoryName(name slipway.ModelName) string {
	clean := strings.Trim(notInRepository.ReplaceAllString(strings.ToLower(string(name)), "-"), "-")
	return orElse(clean, "model")
}

func orElse(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}
