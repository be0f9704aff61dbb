package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// Events sends each message as a CloudEvent to one address, signed as
// Standard Webhooks 1.0.0 has it.
type Events struct {
	address string
	key     []byte // nil: unsigned
}

const tellingEvents = "telling events"

// NewEvents checks the settings. secret is "whsec_" and at least 24 bytes in
// base64; "" leaves the events unsigned. Code Invalid.
func NewEvents(address, secret string) (*Events, error) {
	u, err := parseAddress("SLIPWAY_EVENTS_URL", address)
	if err != nil {
		return nil, err
	}
	key, err := eventsKey(secret)
	if err != nil {
		return nil, err
	}
	return &Events{address: u.String(), key: key}, nil
}

// eventsKey is the key in a secret (Standard Webhooks 1.0.0, "Signature
// scheme": 24 to 64 bytes).
func eventsKey(secret string) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	encoded, ok := strings.CutPrefix(strings.TrimSpace(secret), "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, slipway.Errorf(slipway.Invalid, "reading SLIPWAY_EVENTS_SECRET", "it is not whsec_ and 24 to 64 bytes in base64").
			WithHint(`make one: echo "whsec_$(openssl rand -base64 32)"`)
	}
	return key, nil
}

// Name is part of Notifier.
func (e *Events) Name() string { return "events" }

// Tell is part of Notifier.
func (e *Events) Tell(ctx context.Context, m Message, _ string) (string, error) {
	event := newCloudEvent(m)
	p, err := newPost(tellingEvents, e.address, "application/cloudevents+json; charset=utf-8", event)
	if err != nil {
		return "", err
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	p.header.Set("webhook-id", event.ID)
	p.header.Set("webhook-timestamp", now)
	if e.key != nil {
		p.header.Set("webhook-signature", "v1,"+sign(e.key, event.ID, now, p.body))
	}
	_, err = p.send(ctx)
	switch slipway.CodeOf(err) {
	case slipway.Unauthorized:
		err = withHint(err, "see that the receiver has the secret of SLIPWAY_EVENTS_SECRET")
	case slipway.Invalid, slipway.NotFound:
		err = withHint(err, "see that the receiver of SLIPWAY_EVENTS_URL takes CloudEvents in structured JSON")
	}
	return "", err
}

// sign signs the message's identifier, the time in seconds and the body, all
// parted by full stops; none of the first two has one.
func sign(key []byte, id, seconds string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + seconds + "."))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
