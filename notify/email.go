package notify

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/mail"
	"regexp"
	"strings"

	gomail "github.com/wneessen/go-mail"

	"github.com/slipway-dev/slipway"
)

// EmailConfig is a mail server and whom it is to reach.
type EmailConfig struct {
	Host     string // of the server
	Port     int    // 587 by default; 465 speaks TLS from the first byte
	Username string // "": the server asks for none
	Password string
	From     string // "Slipway <slipway@example.com>"
	To       []string
}

// Email tells the end of a release by mail: plain text, over TLS unless the
// server is this machine.
type Email struct {
	config EmailConfig
	secure bool // TLS from the first byte
	from   *mail.Address
	to     []*mail.Address
}

const (
	tellingEmail = "telling email"
	smtpsPort    = 465
)

// recipientsLimit bounds the recipients.
const recipientsLimit = 50

// NewEmail checks the settings. Code Invalid.
func NewEmail(c EmailConfig) (*Email, error) {
	const op = "reading the settings of email"
	if c.Port == 0 {
		c.Port = 587
	}
	switch {
	case c.Host == "":
		return nil, slipway.Errorf(slipway.Invalid, op, "there is no mail server").WithHint("set SMTP_HOST")
	case c.Port < 1 || c.Port > 65535:
		return nil, slipway.Errorf(slipway.Invalid, op, "%d is no port", c.Port).WithHint("set SMTP_PORT to 587 or 465")
	case len(c.To) == 0 || len(c.To) > recipientsLimit:
		return nil, slipway.Errorf(slipway.Invalid, op, "there are %d recipients, not 1 to %d", len(c.To), recipientsLimit).
			WithHint("set SLIPWAY_EMAIL_TO, or notify.email.to in slipway.yaml")
	}
	e := &Email{config: c, secure: c.Port == smtpsPort}
	var err error
	if e.from, err = parseMailbox("SLIPWAY_EMAIL_FROM", c.From); err != nil {
		return nil, err
	}
	for _, to := range c.To {
		one, err := parseMailbox("SLIPWAY_EMAIL_TO", to)
		if err != nil {
			return nil, err
		}
		e.to = append(e.to, one)
	}
	return e, nil
}

func parseMailbox(name, text string) (*mail.Address, error) {
	a, err := mail.ParseAddress(strings.TrimSpace(text))
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, slipway.Errorf(slipway.Invalid, "reading "+name, "%q is no mail address", line(text, 100)).WithHint("set %s to name@example.com", name)
	}
	return a, nil
}

// Name is part of Notifier.
func (e *Email) Name() string { return "email" }

// Tell is part of Notifier. A mail cannot be changed: what has only begun is
// not told.
func (e *Email) Tell(ctx context.Context, m Message, _ string) (string, error) {
	if m.Kind == Begun {
		return "", nil
	}
	line := &wire{until: ctx, secure: e.secure, host: e.config.Host}
	defer line.close()
	client, err := gomail.NewClient(e.config.Host, e.options(line)...)
	if err != nil {
		return "", &slipway.Error{Op: tellingEmail, Code: slipway.Invalid, Err: err, Hint: "set SMTP_HOST and SMTP_PORT"}
	}
	if err := client.DialAndSendWithContext(ctx, e.letter(m)); err != nil {
		return "", e.unsent(ctx, err)
	}
	return "", nil
}

func (e *Email) options(line *wire) []gomail.Option {
	policy := gomail.TLSMandatory
	if isLoopback(e.config.Host) || line.secure {
		policy = gomail.TLSOpportunistic
	}
	options := []gomail.Option{gomail.WithPort(e.config.Port), gomail.WithTLSPolicy(policy), gomail.WithDialContextFunc(line.dial)}
	if e.config.Username != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(e.config.Username), gomail.WithPassword(e.config.Password))
	}
	return options
}

// wire is the connection to the mail server. It ends with the context, for the
// library looks at that only while it dials, and closes nothing when it fails.
type wire struct {
	until  context.Context
	secure bool // TLS from the first byte
	host   string
	closer io.Closer // nil: not dialled
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{}
	c, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(w.until, func() { c.Close() })
	w.closer = c
	if !w.secure {
		return c, nil
	}
	secure := tls.Client(c, &tls.Config{ServerName: w.host, MinVersion: tls.VersionTLS12})
	return secure, secure.HandshakeContext(ctx)
}

func (w *wire) close() {
	if w.closer != nil {
		w.closer.Close()
	}
}

// letter is the mail. Its identifier is the release's, so that a second copy of
// the same is known as one (RFC 5322, 3.6.4).
func (e *Email) letter(m Message) *gomail.Msg {
	letter := gomail.NewMsg(gomail.WithEncoding(gomail.EncodingQP))
	letter.FromMailAddress(e.from)
	letter.ToMailAddress(e.to...)
	letter.Subject(m.headline())
	letter.SetDateWithValue(m.At)
	_, domain, _ := strings.Cut(e.from.Address, "@")
	letter.SetMessageIDWithValue(eventID(m) + "@" + domain)
	letter.SetUserAgent("slipway")
	letter.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's holiday answers it
	letter.SetBodyString(gomail.TypeTextPlain, body(m))
	return letter
}

// body is the mail's text.
func body(m Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", m.headline())
	if why := line(m.Why, textLimit); why != "" {
		fmt.Fprintf(&b, "\n%s\n", why)
	}
	if evidence := lines(m.Evidence); evidence != "" {
		fmt.Fprintf(&b, "\n    %s\n", strings.ReplaceAll(evidence, "\n", "\n    "))
	}
	if fix := line(m.Fix, textLimit); fix != "" {
		fmt.Fprintf(&b, "\nTo mend it:\n\n    %s\n", fix)
	}
	b.WriteString("\n")
	for _, f := range m.facts() {
		fmt.Fprintf(&b, "%-12s %s\n", f.Name, f.Value)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// signInPattern knows what server and library say of a refused user (RFC 4954,
// "Status Codes").
var signInPattern = regexp.MustCompile(`\bAUTH\b|\b53[0-9]\b|(?i)auth(entication)? (mechanism|failed|type)`)

// unsent is the error of a mail that did not go out. What the server said may
// repeat the user's name, never the password.
func (e *Email) unsent(ctx context.Context, err error) error {
	said := line(strings.ReplaceAll(err.Error(), e.config.Password, ""), 200)
	problem := slipway.Errorf(slipway.Unavailable, tellingEmail, "the mail did not go out: %s", said)
	switch {
	case ctx.Err() != nil:
		return slipway.Errorf(slipway.Unavailable, tellingEmail, "%s did not answer in time", e.config.Host).WithHint("see whether this machine reaches it, and SMTP_PORT")
	case signInPattern.MatchString(said):
		problem.Code = slipway.Unauthorized
		return problem.WithHint("check SMTP_USERNAME and SMTP_PASSWORD")
	case strings.Contains(said, "certificate"):
		return problem.WithHint("name the authority of the server's certificate: SSL_CERT_FILE")
	case strings.Contains(said, "STARTTLS"):
		return problem.WithHint("the server must offer STARTTLS at port %d, or TLS at port 465: SMTP_PORT", e.config.Port)
	}
	return problem.WithHint("check SMTP_HOST, SMTP_PORT, and that the server takes mail from %s", e.from.Address)
}
