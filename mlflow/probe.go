package mlflow

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// Probed is what a model registry said of itself.
type Probed struct {
	Version string    // of MLflow, "3.17.2"; "" where it does not say
	Time    time.Time // by its clock, to the second; zero where it does not say
}

// Probe asks for a registered model, as /health proves nothing: it answers
// whatever Host header and credentials it is sent. The errors are those of
// every other call.
func (c *Client) Probe(ctx context.Context) (Probed, error) {
	if _, err := c.models(ctx, 1); err != nil {
		return Probed{}, err
	}
	return c.about(ctx), nil
}

// maxVersion bounds what a server says of its version, in bytes.
const maxVersion = 64

var releasePattern = regexp.MustCompile(`^[0-9]+(\.[0-9A-Za-z]+)+$`)

// about asks for the version. Not every server tells.
func (c *Client) about(ctx context.Context) Probed {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	req, client, err := c.request(ctx, call{path: "version"})
	if err != nil {
		return Probed{}
	}
	res, err := client.Do(req)
	if err != nil {
		return Probed{}
	}
	defer res.Body.Close()
	var p Probed
	p.Time, _ = http.ParseTime(res.Header.Get("Date")) // RFC 9110, 6.6.1; else it is zero
	text, err := io.ReadAll(io.LimitReader(res.Body, maxVersion))
	if v := strings.TrimSpace(string(text)); err == nil && res.StatusCode == http.StatusOK && releasePattern.MatchString(v) {
		p.Version = v
	}
	return p
}

// MayTag sets a tag on the version and removes it again, also when ctx ends in
// between. Code Unauthorized: the right to edit the model is missing.
func (c *Client) MayTag(ctx context.Context, v slipway.ModelVersion) error {
	const key = "slipway.doctor"
	err := c.SetTag(ctx, v.Name, v.Version, key, "asking whether tags may be set")
	if slipway.CodeOf(err) == slipway.Unauthorized || slipway.CodeOf(err) == slipway.NotFound {
		return err // it was certainly not set
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if removed := c.DeleteTag(ctx, v.Name, v.Version, key); err == nil {
		err = removed
	}
	return err
}
