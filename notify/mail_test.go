package notify_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
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
	tls     *tls.Config       // of STARTTLS, or from the first byte
	secure  bool              // TLS from the first byte

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
			if s.secure {
				c = tls.Server(c, s.tls)
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
		case "AUTH":
			s.keep(line)
			say("235 welcome")
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

// TestMain makes the process trust it. Go reads SSL_CERT_FILE once.
func TestMain(m *testing.M) {
	os.Exit(trusting(m))
}

func trusting(m *testing.M) int {
	dir, err := os.MkdirTemp("", "slipway-notify")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a folder of the system's own for such
	certificate, text, err := selfSigned()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "ca.pem"), text, 0o600)
	}
	if err == nil {
		err = os.Setenv("SSL_CERT_FILE", filepath.Join(dir, "ca.pem"))
	}
	if err != nil {
		log.Fatal(err)
	}
	trusted = &tls.Config{Certificates: []tls.Certificate{certificate}}
	return m.Run()
}

// trusted is the certificate of a mail server that this process trusts.
var trusted *tls.Config

// selfSigned is a certificate of 127.0.0.1, and what is in a file of those that
// are trusted.
func selfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// A mail goes out over TLS, from the first byte or by STARTTLS, also where the
// server wants to know who sends it.
func TestEmailOverTLS(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		secure bool
		offers []string
		user   string
		signs  string // PLAIN (RFC 4616): NUL, user, NUL, password
	}{
		"STARTTLS":                 {offers: []string{"STARTTLS"}},
		"STARTTLS and a user":      {offers: []string{"STARTTLS", "AUTH PLAIN"}, user: "slipway", signs: "AUTH PLAIN AHNsaXB3YXkAaHVudGVyMjI="},
		"from the first byte":      {secure: true},
		"from the first, and user": {secure: true, offers: []string{"AUTH PLAIN"}, user: "slipway", signs: "AUTH PLAIN AHNsaXB3YXkAaHVudGVyMjI="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &mailServer{offers: test.offers, tls: trusted, secure: test.secure}
			s.start(t)
			e, err := notify.NewEmail(notify.EmailConfig{Host: "127.0.0.1", Port: s.port, Username: test.user, Password: "hunter22", From: "a@example.com", To: []string{"b@example.com"}})
			if err != nil {
				t.Fatal(err)
			}
			if test.secure {
				e.SpeakTLS()
			}
			tell(t, e, messages()["live"], "")
			if got := s.letters(); !strings.Contains(got, "iris 3 is live in production") || !strings.HasPrefix(got, test.signs) || test.signs == "" && strings.Contains(got, "AUTH") {
				t.Errorf("got\n%s", got)
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
