package notify_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/notify"
)

// mailServer is a mail server on this machine that keeps what it gets
// (RFC 5321, as far as a client like ours speaks it).
type mailServer struct {
	port    int
	offers  []string          // extensions
	answers map[string]string // to a command instead of its own answer
	tls     *tls.Config       // of STARTTLS

	mu  sync.Mutex
	got strings.Builder
}

func newMailServer(t testing.TB) *mailServer {
	s := &mailServer{answers: map[string]string{}}
	s.start(t)
	return s
}

func (s *mailServer) start(t testing.TB) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = listener.Addr().(*net.TCPAddr).Port
	var open sync.WaitGroup
	t.Cleanup(open.Wait)
	t.Cleanup(func() { listener.Close() })
	open.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() { defer c.Close(); s.talk(c) })
		}
	})
}

func (s *mailServer) letters() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(s.got.String(), "\r\n", "\n")
}

func (s *mailServer) keep(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got.WriteString(line)
}

func (s *mailServer) talk(c net.Conn) {
	in := bufio.NewReader(c)
	say := func(line string) { fmt.Fprint(c, line+"\r\n") }
	say("220 mail.example.com")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		command, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if answer, ok := s.answers[command]; ok {
			if answer == "" {
				_, _ = io.Copy(io.Discard, in) // hangs until the client leaves
				return
			}
			say(answer)
			continue
		}
		switch command {
		case "EHLO":
			say("250-mail.example.com")
			for _, offer := range s.offers {
				say("250-" + offer)
			}
			say("250 8BITMIME")
		case "STARTTLS":
			say("220 go on")
			c = tls.Server(c, s.tls)
			in = bufio.NewReader(c)
		case "MAIL", "RCPT":
			s.keep(line)
			say("250 ok")
		case "DATA":
			say("354 go on")
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				s.keep(line)
				if line == ".\r\n" {
					break
				}
			}
			say("250 ok")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func TestEmailFailures(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		offers  []string
		answers map[string]string
		user    string
		want    string
		code    slipway.Code
	}{
		"the recipient is unknown":         {answers: map[string]string{"RCPT": "550 no such user"}, want: "550", code: slipway.Unavailable},
		"the server is busy":               {answers: map[string]string{"MAIL": "451 later"}, want: "451", code: slipway.Unavailable},
		"the server hangs":                 {answers: map[string]string{"EHLO": "", "HELO": ""}, want: "in time", code: slipway.Unavailable},
		"the password would go in clear":   {offers: []string{"AUTH PLAIN LOGIN"}, user: "slipway", want: "SMTP_PASSWORD", code: slipway.Unauthorized},
		"nobody vouches for the server":    {offers: []string{"STARTTLS"}, want: "certificate", code: slipway.Unavailable},
		"the hanging comes after the text": {answers: map[string]string{"DATA": ""}, want: "in time", code: slipway.Unavailable},
	}
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	t.Cleanup(certificate.Close)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &mailServer{offers: test.offers, answers: test.answers, tls: &tls.Config{Certificates: certificate.TLS.Certificates}}
			s.start(t)
			e, err := notify.NewEmail(notify.EmailConfig{Host: "127.0.0.1", Port: s.port, Username: test.user, Password: "hunter22", From: "a@example.com", To: []string{"b@example.com"}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err = e.Tell(ctx, messages()["live"], "")
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
			wantError(t, err, test.code, test.want)
			if strings.Contains(err.Error(), "hunter22") || strings.Contains(s.letters(), "hunter22") {
				t.Errorf("the password is told: %v", err)
			}
		})
	}
}

// Only a server on this machine gets a mail in the clear.
func TestEmailIsNotSentInTheClear(t *testing.T) {
	t.Parallel()
	s := newMailServer(t)
	e, err := notify.NewEmail(notify.EmailConfig{Host: "0.0.0.0", Port: s.port, From: "a@example.com", To: []string{"b@example.com"}}) // this machine, under a name that is not known as it
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Tell(t.Context(), messages()["live"], "")
	wantError(t, err, slipway.Unavailable, "STARTTLS", "465")
	if s.letters() != "" {
		t.Errorf("it was sent:\n%s", s.letters())
	}
}

// A mail is one letter to its recipients, whatever its texts hold.
func TestEmailIsNotInjected(t *testing.T) {
	t.Parallel()
	s := newMailServer(t)
	tell(t, email(t, s), messages()["hostile"], "")
	head, text, _ := strings.Cut(s.letters(), "\n\n")
	for _, header := range []string{"Bcc:", "<script>"} {
		if strings.Contains(head, "\n"+header) {
			t.Errorf("%s is a header:\n%s", header, head)
		}
	}
	if n := strings.Count(text, "\n.\n"); n != 1 {
		t.Errorf("%d ends:\n%s", n, text)
	}
	if n := strings.Count(s.letters(), "RCPT"); n != 2 {
		t.Errorf("%d recipients", n)
	}
}
