package mlflowtest

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// webhook is one of those that the server remembers.
type webhook struct {
	id               string
	name, url        string
	description      string
	secret           string
	status           string
	events           []wireEvent
	created, updated int64
}

type wireEvent struct {
	Entity string `json:"entity"`
	Action string `json:"action"`
}

// wireHook has the fields of MLflow's protobuf. The secret is never among them.
type wireHook struct {
	ID          string      `json:"webhook_id"`
	Name        string      `json:"name"`
	Description string      `json:"description,omitempty"`
	URL         string      `json:"url"`
	Events      []wireEvent `json:"events"`
	Status      string      `json:"status"`
	Created     int64       `json:"creation_timestamp"`
	Updated     int64       `json:"last_updated_timestamp"`
}

type oneHook struct {
	Webhook wireHook `json:"webhook"`
}

func (h *webhook) wire() wireHook {
	return wireHook{h.id, h.name, h.description, h.url, h.events, h.status, h.created, h.updated}
}

func (s *state) webhook(id string) (*webhook, error) {
	if i := slices.IndexFunc(s.webhooks, func(h *webhook) bool { return h.id == id }); i >= 0 {
		return s.webhooks[i], nil
	}
	return nil, missing("Webhook with ID %s not found.", id)
}

func (s *Server) createWebhook(p params) (any, error) {
	if _, err := p.texts("name", "url"); err != nil {
		return nil, err
	}
	if _, ok := p.body["events"]; !ok {
		return nil, invalid("Missing value for required parameter 'events'. See the API docs for more information about request parameters.")
	}
	h := &webhook{id: newUUID(), status: "ACTIVE", created: s.now()}
	if err := s.setWebhook(h, p); err != nil {
		return nil, err
	}
	s.state.webhooks = slices.Insert(s.state.webhooks, 0, h)
	return oneHook{h.wire()}, nil
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails (crypto/rand)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *Server) updateWebhook(id string, p params) (any, error) {
	h, err := s.state.webhook(id)
	if err != nil {
		return nil, err
	}
	changed := *h
	if err := s.setWebhook(&changed, p); err != nil {
		return nil, err
	}
	*h = changed
	return oneHook{h.wire()}, nil
}

// setWebhook takes over what the request has, in MLflow's order.
func (s *Server) setWebhook(h *webhook, p params) error {
	for key, to := range map[string]*string{"name": &h.name, "url": &h.url, "description": &h.description, "secret": &h.secret, "status": &h.status} {
		value, err := p.text(key)
		if err != nil {
			return err
		}
		if value != "" {
			*to = value
		}
	}
	if h.status != "ACTIVE" && h.status != "DISABLED" {
		return errors.New("no such status") // MLflow fails where it reads the protobuf, with a page
	}
	if raw, ok := p.body["events"]; ok {
		if err := h.setEvents(raw); err != nil {
			return err
		}
	}
	if err := checkHookName(h.name); err != nil {
		return err
	}
	h.updated = s.now()
	return s.checkHookURL(h.url)
}

// hookActions are the events there are (mlflow/entities/webhook.py).
var hookActions = map[string][]string{
	"REGISTERED_MODEL": {"CREATED"}, "MODEL_VERSION": {"CREATED"}, "MODEL_VERSION_TAG": {"DELETED", "SET"}, "MODEL_VERSION_ALIAS": {"CREATED", "DELETED"},
	"PROMPT": {"CREATED"}, "PROMPT_VERSION": {"CREATED"}, "PROMPT_TAG": {"DELETED", "SET"}, "PROMPT_VERSION_TAG": {"DELETED", "SET"},
	"PROMPT_ALIAS": {"CREATED", "DELETED"}, "BUDGET_POLICY": {"EXCEEDED"},
}

func (h *webhook) setEvents(raw json.RawMessage) error {
	var events []wireEvent
	if json.Unmarshal(raw, &events) != nil || len(events) == 0 {
		return invalid("Webhook events must be a non-empty list of WebhookEvent objects: [].")
	}
	for _, e := range events {
		actions, known := hookActions[e.Entity]
		if !known || !slices.Contains([]string{"CREATED", "UPDATED", "DELETED", "SET", "EXCEEDED"}, e.Action) {
			return errors.New("no such event") // a page, as above
		}
		if !slices.Contains(actions, e.Action) {
			return invalid("Invalid action '%s' for entity '%s'. Valid actions are: ['%s']", strings.ToLower(e.Action), strings.ToLower(e.Entity), strings.ToLower(strings.Join(actions, "', '")))
		}
	}
	slices.SortFunc(events, func(a, b wireEvent) int {
		return strings.Compare(a.Entity+" "+a.Action, b.Entity+" "+b.Action)
	})
	h.events = events
	return nil
}

var hookNamePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

func checkHookName(name string) error {
	if hookNamePattern.MatchString(name) {
		return nil
	}
	return invalid("Webhook name '%s' is invalid. It must start and end with a letter or digit, be less than 63 characters long, "+
		"and contain only letters, digits, dots (.), underscores (_), and hyphens (-).", name)
}

// checkHookURL is MLflow's guard. It asks no name server: a name ending in
// .invalid has no address, localhost a private one, any other a public one.
func (s *Server) checkHookURL(address string) error {
	schemes := []string{"https"}
	if s.config.LooseWebhooks {
		schemes = []string{"http", "https"}
	}
	u, err := url.Parse(address)
	if err != nil || !slices.Contains(schemes, u.Scheme) {
		scheme, _, _ := strings.Cut(address, ":")
		return invalid("Invalid webhook URL scheme: '%s'. Allowed schemes are: %s.", scheme, strings.Join(schemes, ", "))
	}
	switch host := u.Hostname(); {
	case host == "":
		return invalid("Webhook URL must include a hostname: '%s'", address)
	case s.config.LooseWebhooks:
	case strings.HasSuffix(host, ".invalid"):
		return invalid("Cannot resolve Webhook URL hostname '%s': [Errno -2] Name or service not known", host)
	case !isPublic(host):
		return invalid("Webhook URL must not resolve to a non-public IP address. '%s' resolves to %s.", host, addressOf(host))
	}
	return nil
}

func addressOf(host string) string {
	if host == "localhost" {
		return "127.0.0.1"
	}
	return host
}

func isPublic(host string) bool {
	ip, err := netip.ParseAddr(addressOf(host))
	return err != nil || (ip.IsGlobalUnicast() && !ip.IsPrivate() && !net.IP(ip.AsSlice()).IsLoopback())
}

func (s *Server) getWebhook(id string, _ params) (any, error) {
	h, err := s.state.webhook(id)
	if err != nil {
		return nil, err
	}
	return oneHook{h.wire()}, nil
}

func (s *Server) deleteWebhook(id string, _ params) (any, error) {
	if _, err := s.state.webhook(id); err != nil {
		return nil, err
	}
	s.state.webhooks = slices.DeleteFunc(s.state.webhooks, func(h *webhook) bool { return h.id == id })
	return nothing{}, nil
}

func (s *Server) listWebhooks(p params) (any, error) {
	found, next, err := cutPage(s.state.webhooks, p, 100, 1000)
	if err != nil {
		return nil, err
	}
	var wire []wireHook
	for _, h := range found {
		wire = append(wire, h.wire())
	}
	return struct {
		Webhooks []wireHook `json:"webhooks,omitempty"`
		Next     string     `json:"next_page_token,omitempty"`
	}{wire, next}, nil
}
