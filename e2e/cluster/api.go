package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// api asks the API server as the administrator.
type api struct {
	http *http.Client
	base string
}

func (c cluster) api() (api, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(c.PKI(), "admin.crt"), filepath.Join(c.PKI(), "admin.key"))
	if err != nil {
		return api{}, err
	}
	ca, err := os.ReadFile(filepath.Join(c.PKI(), "ca.crt"))
	if err != nil {
		return api{}, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	settings := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}
	return api{
		http: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: settings}},
		base: "https://" + c.API(),
	}, nil
}

// get reads a path; into may be nil.
func (a api) get(ctx context.Context, path string, into any) error {
	return get(ctx, a.http, a.base+path, into)
}

func get(ctx context.Context, client *http.Client, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %.300s", url, res.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// conditions is the part of many objects that says how they are.
type conditions struct {
	Status struct {
		Conditions []struct{ Type, Status, Reason, Message string }
	}
}

// expect fails unless the object at the path has the condition.
func (a api) expect(ctx context.Context, path, condition string) error {
	var object conditions
	if err := a.get(ctx, path, &object); err != nil {
		return err
	}
	for _, c := range object.Status.Conditions {
		if c.Type == condition && c.Status != "True" {
			return fmt.Errorf("%s: %s", c.Reason, c.Message)
		} else if c.Type == condition {
			return nil
		}
	}
	return errors.New("it has not said anything yet")
}
