package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"time"

	"github.com/slipway-dev/slipway"
)

// The headers of a delivery (MLflow 3, mlflow/webhooks/delivery.py).
const (
	deliveryHeader  = "X-MLflow-Delivery-Id"
	timestampHeader = "X-MLflow-Timestamp" // seconds since 1970
	signatureHeader = "X-MLflow-Signature"
)

// replayWindow is how old, or how far ahead, a delivery may be. MLflow repeats
// one for about three minutes with the timestamp it first had.
const replayWindow = 5 * time.Minute

// maxDeliveryID bounds a delivery's identifier, in bytes: MLflow's are UUIDs.
const maxDeliveryID = 128

// sign returns the signature MLflow gives a delivery: "v1," and the base64 of
// HMAC-SHA256 over identifier, timestamp and raw body, joined by dots, with
// the secret's own bytes.
func sign(secret, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id + "." + timestamp + ".")) // a hash's Write never fails
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// checkHeaders looks at all that can be looked at before the body is read.
func (r *Relay) checkHeaders(h http.Header, now time.Time) error {
	const op = "receiving a webhook"
	id := h.Get(deliveryHeader)
	if id == "" || len(id) > maxDeliveryID || !printable(id) {
		return slipway.Errorf(slipway.Invalid, op, "%s is missing or no identifier", deliveryHeader)
	}
	if h.Get(signatureHeader) == "" && !r.config.Unsigned {
		return slipway.Errorf(slipway.Unauthorized, op, "the delivery is not signed").
			WithHint("give the webhook in MLflow the secret that is in SLIPWAY_WEBHOOK_SECRET")
	}
	seconds, err := strconv.ParseInt(h.Get(timestampHeader), 10, 64)
	if err != nil {
		return slipway.Errorf(slipway.Invalid, op, "%s is missing or no time", timestampHeader)
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > replayWindow || age < -replayWindow {
		return slipway.Errorf(slipway.Unauthorized, op, "the delivery is %s old; at most %s are allowed", age.Round(time.Second), replayWindow).
			WithHint("compare the clocks of MLflow's machine and this one")
	}
	return nil
}

// checkSignature compares with the signature of each secret, in a time that
// says nothing about them.
func (r *Relay) checkSignature(h http.Header, body []byte) error {
	if len(r.config.Secrets) == 0 { // only with Unsigned
		return nil
	}
	given := []byte(h.Get(signatureHeader))
	if len(given) == 0 && r.config.Unsigned {
		return nil
	}
	good := false
	for _, secret := range r.config.Secrets {
		if hmac.Equal(given, []byte(sign(secret, h.Get(deliveryHeader), h.Get(timestampHeader), body))) {
			good = true
		}
	}
	if !good {
		return slipway.Errorf(slipway.Unauthorized, "receiving a webhook", "the signature is wrong").
			WithHint("give the webhook in MLflow the secret that is in SLIPWAY_WEBHOOK_SECRET")
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
