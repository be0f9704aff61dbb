package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// Bounds of what a replica may say and of what is quoted, in bytes.
const (
	maxReply    = 16 << 20
	maxEvidence = 2 << 10
	maxQuote    = 500
)

// healsWithin is how long a replica may be out of reach: one that crashed is
// started again.
const healsWithin = 10 * time.Second

func heals(p *slipway.Problem) {
	p.Heals, p.HealBy = true, time.Now().Add(healsWithin)
}

// get asks for a path that is to answer 200 by the release's model.
func (c *checker) get(ctx context.Context, url, path, kind, message string) *slipway.Problem {
	reply, problem := c.ask(ctx, http.MethodGet, url+path, nil)
	if problem != nil {
		return problem
	}
	if reply.status != http.StatusOK {
		p := &slipway.Problem{Kind: kind, Message: message, Evidence: fmt.Sprintf("GET %s answered %d %s", path, reply.status, reply.quote())}
		if reply.leaves() || reply.starts() {
			heals(p)
		}
		return p
	}
	return c.identity(reply)
}

// predict asks for golden prediction i, counted from 0.
func (c *checker) predict(ctx context.Context, url string, i int) *slipway.Problem {
	want := c.golden.Predictions[i]
	reply, problem := c.ask(ctx, http.MethodPost, url+"/invocations", want.Request)
	if problem != nil {
		if problem.Kind == "slow" {
			problem.Message = fmt.Sprintf("golden prediction %d did not come within %s", i+1, c.cfg.Timeout)
		}
		return problem
	}
	if reply.status != http.StatusOK {
		p := c.differs(i, "prediction-refused", fmt.Sprintf("golden prediction %d was refused", i+1), fmt.Sprintf("%d %s", reply.status, reply.quote()))
		if reply.starts() {
			heals(p)
		}
		return p
	}
	if kind, _, err := mime.ParseMediaType(reply.contentType); err != nil || kind != "application/json" {
		return c.differs(i, "not-json", fmt.Sprintf("golden prediction %d was answered with the content type %.100q", i+1, reply.contentType), reply.quote())
	}
	got, err := mlmodel.Answer(reply.body)
	if err != nil {
		return c.differs(i, "not-json", fmt.Sprintf("golden prediction %d has no readable answer", i+1), reply.quote())
	}
	if d := mlmodel.Compare(want.Answer, got, c.golden); d != nil {
		return c.differs(i, "golden-differs", fmt.Sprintf("golden prediction %d differs", i+1), at(d))
	}
	return c.identity(reply)
}

func at(d *mlmodel.Difference) string {
	if d.Path == "" {
		return d.Got
	}
	return d.Got + "   at " + d.Path + ", where " + d.Want + " is expected"
}

// differs explains a golden prediction that came out otherwise.
func (c *checker) differs(i int, kind, message, got string) *slipway.Problem {
	want := c.golden.Predictions[i]
	by := ""
	if c.golden.By != "" {
		by = "   (" + c.golden.By + ")"
	}
	return &slipway.Problem{
		Kind:     kind,
		Message:  message,
		Evidence: printable(fmt.Sprintf("request   %s\nexpected  %s%s\ngot       %s", quote(want.Request), quote(want.Answer), by, got)),
		Hint:     "slipway explain",
	}
}

// identity checks that the release's model answered. Control characters in
// names reach no header.
func (c *checker) identity(reply *reply) *slipway.Problem {
	want := []string{tame(string(c.release.Model.Name)), tame(string(c.release.Model.Version))}
	got := []string{tame(reply.model), tame(reply.version)}
	if want[0] == got[0] && want[1] == got[1] {
		return nil
	}
	return &slipway.Problem{
		Kind:     "other-model",
		Message:  "another model answers",
		Evidence: printable(fmt.Sprintf("expected %s %s, got %s %s", want[0], want[1], got[0], got[1])),
	}
}

func tame(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, s))
}

// reply is what a replica answered, bounded.
type reply struct {
	status         int
	contentType    string
	model, version string
	body           []byte
}

func (r *reply) quote() string { return quote(r.body) }

// leaves reports whether the replica is on its way out: since it was looked at,
// an autoscaler or somebody took it away. That says nothing of the model.
func (r *reply) leaves() bool {
	return r.status == http.StatusServiceUnavailable && strings.TrimSpace(string(r.body)) == "draining"
}

// starts reports whether the replica is started again: since it was looked at,
// it ended. Why, and whether it may, the target knows.
func (r *reply) starts() bool {
	return r.status == http.StatusServiceUnavailable && bytes.Contains(bytes.ToLower(r.body), []byte("the model is being loaded"))
}

// ask sends one request, within Timeout.
func (c *checker) ask(ctx context.Context, method, url string, body []byte) (*reply, *slipway.Problem) {
	timed, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(timed, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, &slipway.Problem{Kind: "unreachable", Message: "its address is malformed", Evidence: printable(err.Error())}
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	r, err := c.read(req)
	switch {
	case err == nil:
		return r, nil
	case ctx.Err() != nil:
		return nil, &slipway.Problem{Kind: "stopped", Message: "was not asked to the end: " + printable(context.Cause(ctx).Error()), Heals: true, HealBy: time.Now()}
	case errors.Is(err, errLarge):
		return nil, &slipway.Problem{Kind: "too-large", Message: fmt.Sprintf("an answer is larger than %d MiB", maxReply>>20), Evidence: method + " " + req.URL.Path}
	case timed.Err() != nil && !slipway.Retryable(err):
		return nil, &slipway.Problem{Kind: "slow", Message: fmt.Sprintf("no answer within %s", c.cfg.Timeout), Evidence: method + " " + req.URL.Path}
	}
	p := &slipway.Problem{Kind: "unreachable", Message: "it does not answer", Evidence: printable(err.Error()), Hint: slipway.HintOf(err)}
	if slipway.CodeOf(err) == slipway.Unauthorized { // if only until an API server that starts has read all rights
		p.Kind, p.Message = "not-allowed", "it may not be asked"
	}
	heals(p)
	return nil, p
}

var errLarge = errors.New("the answer is too large")

func (c *checker) read(req *http.Request) (*reply, error) {
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxReply {
		return nil, errLarge
	}
	return &reply{
		status:      resp.StatusCode,
		contentType: resp.Header.Get("Content-Type"),
		model:       resp.Header.Get("X-Model-Name"),
		version:     resp.Header.Get("X-Model-Version"),
		body:        body,
	}, nil
}

// quote bounds a piece of JSON.
func quote(data []byte) string {
	data = bytes.TrimSpace(data)
	if len(data) > maxQuote {
		return strings.ToValidUTF8(string(data[:maxQuote]), "") + "…"
	}
	return string(data)
}

// printable bounds text from outside and takes out what a terminal would obey.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > maxEvidence {
		text = strings.ToValidUTF8(text[:maxEvidence], "") + "…"
	}
	return strings.TrimSpace(text)
}
