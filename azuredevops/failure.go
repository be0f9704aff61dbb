package azuredevops

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-dev/slipway"
)

func decode(op string, res *http.Response, out any) error {
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case res.StatusCode != http.StatusOK: // 203 is a page to sign in
		return refused(op, res, data)
	case err != nil:
		return unreachable(op, res.Request.URL.Host, err)
	case len(data) > maxAnswer:
		return slipway.Errorf(slipway.Exhausted, op, "Azure DevOps' answer is larger than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return &slipway.Error{Op: op, Code: slipway.Corrupt, Message: "Azure DevOps' answer is not what it should be", Err: err}
	}
	return nil
}

// refusal is an answer other than success: the cause inside the slipway.Error.
type refusal struct {
	status int
	text   string // Azure DevOps' message, bounded, one line
	later  time.Duration
}

func (r *refusal) Error() string {
	return strings.TrimRight(fmt.Sprintf("%d %s: %s", r.status, http.StatusText(r.status), r.text), ": ")
}

// RetryAfter is how long Azure DevOps wants to be left alone; 0: it does not say.
func (r *refusal) RetryAfter() time.Duration { return r.later }

func refused(op string, res *http.Response, data []byte) error {
	var said struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(data, &said) // pages to sign in are no JSON, and their status is enough
	r := &refusal{res.StatusCode, oneLine(clip(said.Message)), later(res.Header.Get("Retry-After"), time.Now())}
	e := &slipway.Error{Op: op, Code: slipway.Invalid, Message: "Azure DevOps refused", Err: r}
	switch s := res.StatusCode; {
	case s == http.StatusTooManyRequests:
		e.Code, e.Message = slipway.Unavailable, "Azure DevOps limits requests"
	case s >= 500, s == http.StatusRequestTimeout:
		e.Code, e.Message = slipway.Unavailable, "Azure DevOps failed"
	case s == http.StatusUnauthorized, s == http.StatusNonAuthoritativeInfo, s/100 == 3:
		e.Code, e.Hint = slipway.Unauthorized, "the token is not accepted: make a new one in AZURE_DEVOPS_EXT_PAT, or add the identity of Microsoft Entra to the organisation's users"
	case s == http.StatusForbidden:
		e.Code, e.Hint = slipway.Unauthorized, "give the token Build: read & execute, and its user Queue builds on the pipeline"
	case s == http.StatusNotFound:
		e.Code, e.Hint = slipway.NotFound, "check azuredevops://ORGANIZATION/PROJECT/PIPELINE_ID; who may not see a project is answered the same"
	case s == http.StatusBadRequest:
		e.Hint = "the pipeline needs the parameters model and environment, as azure-pipelines.yml has them, on its default branch"
	}
	return e
}

// later reads Retry-After in its two forms (RFC 9110, 10.2.3).
func later(s string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(s); err == nil {
		return time.Duration(min(max(seconds, 0), 1<<20)) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// unreachable takes off net/http's own wrapper, which quotes the URL.
func unreachable(op, host string, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return (&slipway.Error{Op: op, Code: slipway.Unavailable, Message: host + " cannot be reached", Err: err}).
		WithHint("check HTTPS_PROXY, and that this machine reaches %s", host)
}

// clip bounds foreign text and drops what cannot be printed.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}
