package mlflow

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slipway-dev/slipway"
)

// The statuses of a model version. Open-source MLflow writes ReadyStatus at
// once; other model registries begin with PendingStatus.
const (
	ReadyStatus   = "READY"
	PendingStatus = "PENDING_REGISTRATION"
	FailedStatus  = "FAILED_REGISTRATION"
)

// Version is a model version as MLflow knows it.
type Version struct {
	slipway.ModelVersion
	Status        string            `json:"status"`
	StatusMessage string            `json:"statusMessage,omitempty"` // why it failed
	Stage         string            `json:"stage,omitempty"`         // None, Staging, Production or Archived
	Aliases       []string          `json:"aliases,omitempty"`       // search results never carry any
	Source        string            `json:"source"`                  // as it was registered; where the files are, the server alone knows
	Description   string            `json:"description,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
	Created       time.Time         `json:"created"`
	Updated       time.Time         `json:"updated"` // MLflow does not move it when a tag or an alias changes
}

// wireVersion is MLflow's JSON of a model version (model_registry.proto).
type wireVersion struct {
	Name          string   `json:"name"`
	Version       text     `json:"version"`
	Created       int64    `json:"creation_timestamp"` // milliseconds since 1970
	Updated       int64    `json:"last_updated_timestamp"`
	Stage         string   `json:"current_stage"`
	Description   string   `json:"description"`
	Source        string   `json:"source"`
	RunID         string   `json:"run_id"`
	ModelID       string   `json:"model_id"` // in the protocol, but open-source MLflow never sets it
	Status        string   `json:"status"`
	StatusMessage string   `json:"status_message"`
	Tags          []tag    `json:"tags"`
	Aliases       []string `json:"aliases"`
}

type tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// text is a string that some servers write as a number.
type text string

// UnmarshalJSON takes a string or a number.
func (t *text) UnmarshalJSON(b []byte) error {
	var n json.Number
	if json.Unmarshal(b, &n) == nil {
		*t = text(n.String())
		return nil
	}
	return json.Unmarshal(b, (*string)(t))
}

var (
	versionPattern = regexp.MustCompile(`^[0-9]{1,18}$`)
	modelIDPattern = regexp.MustCompile(`^m-[0-9A-Za-z_-]{1,64}$`)
	runIDPattern   = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)
)

// version checks what the server said and converts it. Name and number go into
// paths, tags and commands later, so nothing else than MLflow's own forms passes.
func (w wireVersion) version(op string) (Version, error) {
	bad := !versionPattern.MatchString(string(w.Version)) || w.Name == "" || strings.ContainsAny(w.Name, "/:") || unprintable(w.Name) ||
		(w.RunID != "" && !runIDPattern.MatchString(w.RunID))
	if bad {
		return Version{}, slipway.Errorf(slipway.Corrupt, op, "the server describes an impossible version: name %.80q, version %.40q, run %.40q", w.Name, w.Version, w.RunID)
	}
	v := Version{
		ModelVersion: slipway.ModelVersion{Name: slipway.ModelName(w.Name), Version: slipway.Version(w.Version), RunID: w.RunID, ModelID: w.modelID()},
		Status:       w.Status, StatusMessage: oneLine(w.StatusMessage), Stage: w.Stage, Aliases: w.Aliases,
		Source: w.Source, Description: w.Description,
		Created: time.UnixMilli(w.Created).UTC(), Updated: time.UnixMilli(w.Updated).UTC(),
	}
	for _, t := range w.Tags {
		if v.Tags == nil {
			v.Tags = map[string]string{}
		}
		v.Tags[t.Key] = t.Value
	}
	return v, nil
}

// modelID is MLflow 3's logged model behind the version, from its source.
func (w wireVersion) modelID() string {
	for _, id := range []string{w.ModelID, strings.TrimPrefix(w.Source, "models:/")} {
		if modelIDPattern.MatchString(id) {
			return id
		}
	}
	return ""
}

// newer reports whether v's number is higher than o's.
func (v Version) newer(o Version) bool {
	a, _ := strconv.ParseInt(string(v.Version), 10, 64) // versionPattern fits an int64
	b, _ := strconv.ParseInt(string(o.Version), 10, 64)
	return a > b
}

// prompt reports whether the version is a prompt: MLflow keeps those among the
// registered models.
func (v Version) prompt() bool {
	return v.Source == "prompt-template" || strings.EqualFold(v.Tags["mlflow.prompt.is_prompt"], "true")
}

func unprintable(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || (r >= 0x7f && r < 0xa0) })
}
