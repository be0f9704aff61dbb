package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"unicode"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
)

// secretVariable holds the secret of webhook and receiver. No flag takes it:
// every user of a machine sees the arguments of its processes.
const secretVariable = "SLIPWAY_WEBHOOK_SECRET"

// shortestSecret is what a secret has at least, in bytes.
const shortestSecret = 16

type webhookCreateCommand struct {
	webhookFlags
	URL      string `name:"url" var:"SLIPWAY_WEBHOOK_URL" required:"" placeholder:"URL" help:"Where MLflow sends promotions: that of slipway relay. The secret that signs them comes from SLIPWAY_WEBHOOK_SECRET, never from a flag."`
	Called   string `name:"name" var:"SLIPWAY_WEBHOOK_NAME" default:"slipway" placeholder:"NAME" help:"What it is called in MLflow."`
	SecretTo string `placeholder:"FILE" help:"Without SLIPWAY_WEBHOOK_SECRET: make a secret and write it into this new file, which only you can read. It is printed nowhere."`
}

// createdHook is the result.
type createdHook struct {
	hookLine
	Done mlflow.Ensured `json:"done"`
}

// Run makes one webhook of that name and URL for promotions, and warns of what
// MLflow does otherwise than one would think.
func (cmd webhookCreateCommand) Run(ctx context.Context, p *program, c *cli) error {
	if err := checkReceiver(cmd.URL); err != nil {
		return usageError{err}
	}
	registry, err := cmd.open(p)
	if err != nil {
		return err
	}
	secret, err := cmd.secret(p.getenv(secretVariable))
	if err != nil {
		return err
	}
	spec := mlflow.WebhookSpec{Name: cmd.Called, URL: cmd.URL, Secret: secret, Events: mlflow.PromotionEvents()}
	hook, done, err := registry.EnsureWebhook(ctx, spec)
	if err != nil {
		return cmd.forget(p, err)
	}
	if _, err := p.listed(ctx, registry); err != nil { // a worker without the key shows itself only now
		p.story.warn("webhook", "%v; %s", err, slipway.HintOf(err))
	}
	p.warnOfWebhook(c, cmd.URL)
	result := createdHook{lineOf(hook), done}
	return p.result(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s: promotions by alias go to %s\n", result.Done, clean(result.Name), clean(result.Host))
	})
}

// checkReceiver refuses what could never work: addresses that want what MLflow
// cannot send, and credentials that MLflow would show to every admin.
func checkReceiver(address string) error {
	to, err := url.Parse(address)
	switch {
	case err != nil || to.Host == "" || (to.Scheme != "https" && to.Scheme != "http"):
		return usagef("--url is no address of a web server").WithHint("name the receiver: https://relay.example/webhook")
	case to.User != nil:
		return usagef("--url holds a user or password, which MLflow shows to all its admins").WithHint("leave it out: the signature tells the receiver who sends")
	}
	if why := cannotHear(to); why != "" {
		return usagef("%s cannot take MLflow's webhooks: %s", to.Host, why).
			WithHint("let slipway relay receive them and start the workflow or pipeline; Azure DevOps also has Incoming WebHook connections")
	}
	return nil
}

// cannotHear says why an address could never take what MLflow sends; "": it
// may. Both servers want what MLflow cannot send.
func cannotHear(to *url.URL) string {
	switch {
	case to.Hostname() == "api.github.com" || strings.Contains(to.Path, "/api/v3/repos/"):
		return "GitHub wants a token in a header and event_type in the body, and MLflow can send neither"
	case strings.Contains(to.Path, "/_apis/") && !strings.Contains(to.Path, "/distributedtask/webhooks/"):
		return "Azure DevOps wants a token in a header, and MLflow can send none"
	}
	return ""
}

// secret is the one given, or a new one, written to the file before anything
// is signed with it.
func (cmd webhookCreateCommand) secret(given string) (string, error) {
	switch {
	case given != "" && cmd.SecretTo != "":
		return "", usageError{usagef("there is a secret in %s already", secretVariable).WithHint("leave out --secret-to, or unset %s", secretVariable)}
	case given != "":
		return given, checkSecret(given)
	case cmd.SecretTo == "":
		return "", usageError{usagef("there is no secret: anybody could send what looks like a promotion").
			WithHint(`add --secret-to FILE, which makes one, or: export %s="$(openssl rand -base64 32)"`, secretVariable)}
	}
	var b [32]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	secret := base64.StdEncoding.EncodeToString(b[:])
	return secret, writeSecret(cmd.SecretTo, secret)
}

func checkSecret(secret string) error {
	switch {
	case len(secret) < shortestSecret:
		return usageError{usagef("the secret in %s is shorter than %d characters", secretVariable, shortestSecret).WithHint(`export %s="$(openssl rand -base64 32)"`, secretVariable)}
	case strings.ContainsFunc(secret, unicode.IsSpace):
		return usageError{usagef("the secret in %s has white space in it, which separates several for slipway relay", secretVariable).WithHint("set one secret, without white space or a newline at its end")}
	}
	return nil
}

// writeSecret never writes over a file: it may hold the secret of a receiver.
func writeSecret(path, secret string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = fillSecret(f, secret)
	}
	if err != nil {
		return usageError{(&slipway.Error{Op: "writing the secret", Code: slipway.Invalid, Err: err}).
			WithHint(`name a new file, or take the one that is there: export %s="$(cat %s)"`, secretVariable, path)}
	}
	return nil
}

// fillSecret leaves the whole secret in the new file, or no file: a part of it
// would be taken for the secret, and bar the way for the next.
func fillSecret(f *os.File, secret string) error {
	_, err := f.WriteString(secret) // no newline: whoever reads the file would sign with it
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// forget removes the secret that no webhook has, unless MLflow may have it.
func (cmd webhookCreateCommand) forget(p *program, err error) error {
	if cmd.SecretTo == "" {
		return err
	}
	switch slipway.CodeOf(err) {
	case slipway.Invalid, slipway.Unauthorized, slipway.NotFound, slipway.Conflict:
		os.Remove(cmd.SecretTo)
	default:
		p.story.note("webhook", "the secret is in %s; to try again: export %s=\"$(cat %s)\"", cmd.SecretTo, secretVariable, cmd.SecretTo)
	}
	return err
}

// warnOfWebhook tells what MLflow's webhooks do not do.
func (p *program) warnOfWebhook(c *cli, address string) {
	to, err := url.Parse(address)
	if err != nil {
		return
	}
	if to.Scheme == "http" {
		p.story.warn("webhook", "http: whoever is between MLflow and %s reads what is promoted, and may keep it back; MLflow means MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https for tests", to.Host)
	}
	if ip, err := netip.ParseAddr(to.Hostname()); err == nil && (ip.IsPrivate() || ip.IsLoopback()) || to.Hostname() == "localhost" {
		p.story.note("webhook", "%s is private: MLflow sends there only while it runs with MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true", to.Hostname())
	}
	p.story.note("webhook", "each of MLflow's workers takes up to a minute to notice (MLFLOW_WEBHOOK_CACHE_TTL); slipway webhook test needs not wait")
	p.story.note("webhook", "more than one worker, which is MLflow's default, and every restart need MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY on the MLflow server")
	if stages := stagesOf(c); len(stages) > 0 {
		p.story.warn("webhook", "MLflow sends nothing when a stage changes: %s is found by polling alone (slipway relay --poll, or the schedule)", strings.Join(stages, ", "))
	}
}

// stagesOf are the models of slipway.yaml that are promoted by stage.
func stagesOf(c *cli) []string {
	var stages []string
	file, err := readConfig(c.Config)
	if err != nil {
		return nil
	}
	for _, m := range file.Models {
		if ref, err := slipway.ParseModelRef(m.Model); err == nil && ref.Stage != "" {
			stages = append(stages, ref.String())
		}
	}
	return stages
}
