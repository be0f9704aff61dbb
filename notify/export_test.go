package notify

import (
	"context"
	"net/http"
)

// SpeakTLS has the mail go over TLS from the first byte, as at port 465.
func (e *Email) SpeakTLS() { e.secure = true }

// Patiently asks somebody who answers with a status and a Retry-After, and
// returns the last status.
func Patiently(ctx context.Context, ask func() (status int, retryAfter string)) (int, error) {
	a, err := patiently(ctx, func(context.Context) (answer, error) {
		status, after := ask()
		return answer{status: status, header: http.Header{"Retry-After": {after}}}, nil
	})
	return a.status, err
}
