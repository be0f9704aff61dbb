package relay

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/slipway-dev/slipway"
)

// Event is what the relay takes from a delivery: which alias of which model
// moved. Nothing else in it is believed.
type Event struct {
	Kind    string // "model_version_alias.created"
	Name    slipway.ModelName
	Alias   string
	Version slipway.Version // for people: the model registry is asked again
}

// ParseEvent reads the body of a delivery (MLflow 3, "Webhooks"). Events of
// other kinds than aliases have no more than their kind. Code Invalid: this is
// no event of MLflow's.
func ParseEvent(body []byte) (Event, error) {
	const op = "reading a webhook"
	var wire struct {
		Entity string          `json:"entity"`
		Action string          `json:"action"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return Event{}, &slipway.Error{Op: op, Code: slipway.Invalid, Message: "not JSON", Err: err}
	}
	if !word(wire.Entity) || !word(wire.Action) {
		return Event{}, slipway.Errorf(slipway.Invalid, op, "entity and action are not there")
	}
	e := Event{Kind: wire.Entity + "." + wire.Action}
	if wire.Entity != "model_version_alias" {
		return e, nil
	}
	var data struct {
		Name    string `json:"name"`
		Alias   string `json:"alias"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(wire.Data, &data); err != nil {
		return Event{}, &slipway.Error{Op: op, Code: slipway.Invalid, Message: "its data is something else", Err: err}
	}
	e.Name, e.Alias, e.Version = slipway.ModelName(data.Name), data.Alias, slipway.Version(data.Version)
	if !named(data.Name, 256) || !named(data.Alias, 255) || len(data.Version) > 18 || !utf8.ValidString(data.Version) {
		return Event{}, slipway.Errorf(slipway.Invalid, op, "it names no model and alias")
	}
	return e, nil
}

// word reports whether s is what MLflow calls its entities and actions.
func word(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

func named(s string, limit int) bool {
	return s != "" && len(s) <= limit && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// concerns reports whether the event may have changed what is promoted by the
// reference. Some databases of MLflow's do not tell cases of aliases apart.
func (e Event) concerns(ref slipway.ModelRef) bool {
	return e.Name != "" && ref.Name == e.Name && strings.EqualFold(ref.Alias, e.Alias)
}
