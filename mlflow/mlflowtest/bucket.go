package mlflowtest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// bucket is the object store that presigned URLs lead to. Like S3 it wants
// exactly one kind of authentication: the signature in the URL.
type bucket struct {
	server  *Server
	address string
	key     []byte
}

func newBucket(s *Server) *bucket {
	key := make([]byte, 32)
	rand.Read(key) //nolint:errcheck // never fails (crypto/rand)
	return &bucket{server: s, key: key}
}

func (b *bucket) sign(key string, expires int64) string {
	mac := hmac.New(sha256.New, b.key)
	fmt.Fprintf(mac, "%s\n%d", key, expires)
	return hex.EncodeToString(mac.Sum(nil))
}

// presign answers with a URL for one object.
func (s *Server) presign(w http.ResponseWriter, p string) {
	if s.config.Storage != S3Presigned {
		refuse(w, &failure{http.StatusNotImplemented, "NOT_IMPLEMENTED", "Multipart download is not supported for the current artifact repository"})
		return
	}
	f, ok := s.file(p)
	if !ok {
		refuse(w, missing("No such artifact: '%s'", p))
		return
	}
	expires := s.config.Now().Add(s.config.SignedFor).Unix()
	q := url.Values{"X-Amz-Expires": {strconv.FormatInt(expires, 10)}, "X-Amz-Signature": {s.bucket.sign(p, expires)}}
	u := url.URL{Scheme: "http", Host: s.bucket.address, Path: "/bucket/" + p, RawQuery: q.Encode()}
	respond(w, http.StatusOK, "application/json", string(encode(struct {
		URL     string            `json:"url"`
		Headers map[string]string `json:"headers"`
		Size    int               `json:"file_size"`
	}{u.String(), map[string]string{}, len(f.data)}, "")))
}

// ServeHTTP answers as S3 does.
func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w, ok := b.server.misbehave(w, r)
	if !ok {
		return
	}
	q := r.URL.Query()
	key := strings.TrimPrefix(r.URL.Path, "/bucket/")
	expires, err := strconv.ParseInt(q.Get("X-Amz-Expires"), 10, 64)
	switch {
	case r.Header.Get("Authorization") != "" || r.Header.Get("X-Mlflow-Workspace") != "":
		problem(w, http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed")
		return
	case err != nil || !hmac.Equal([]byte(q.Get("X-Amz-Signature")), []byte(b.sign(key, expires))):
		problem(w, http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
		return
	case b.server.config.Now().After(time.Unix(expires, 0)):
		problem(w, http.StatusForbidden, "AccessDenied", "Request has expired")
		return
	}
	f, ok := b.server.file(key)
	if !ok {
		problem(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	serveFile(w, r, key, f)
}

func problem(w http.ResponseWriter, status int, code, text string) {
	respond(w, status, "application/xml", fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, text))
}
