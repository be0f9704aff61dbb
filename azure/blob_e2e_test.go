//go:build e2e

package azure_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/azure"
	"github.com/slipway-dev/slipway/e2e"
)

// emulated is a storage account in a real emulator, with a model in the
// container "models", and a world whose hosts of Blob storage lead there.
type emulated struct {
	*e2e.Azurite
	transport *http.Transport
	owner     *azblob.Client
	big       []byte
}

func emulate(t *testing.T) *emulated {
	t.Helper()
	m := &emulated{Azurite: e2e.StartAzurite(t, true), big: bytes.Repeat([]byte("0123456789abcdef"), 200_000)}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(m.CA)
	m.transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, m.Address)
		}}
	t.Cleanup(m.transport.CloseIdleConnections)
	key, err := azblob.NewSharedKeyCredential(m.Account, m.Key)
	if err != nil {
		t.Fatal(err)
	}
	m.owner, err = azblob.NewClientWithSharedKeyCredential("https://"+m.Account+".blob.core.windows.net/", key,
		&azblob.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: &http.Client{Transport: m.transport}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.owner.CreateContainer(t.Context(), "models", nil); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"7/model/MLmodel": []byte("flavors: {}\n"), "7/model/data/big file+%.bin": m.big, "7/model/data/empty": nil, "7/modelling/other": []byte("x")} {
		m.put(t, name, data, nil)
	}
	yes := "true"
	m.put(t, "7/model/data", nil, map[string]*string{"hdi_isfolder": &yes}) // as Hadoop leaves it
	return m
}

func (m *emulated) put(t *testing.T, name string, data []byte, metadata map[string]*string) {
	t.Helper()
	if _, err := m.owner.UploadBuffer(t.Context(), "models", name, data, &azblob.UploadBufferOptions{Metadata: metadata}); err != nil {
		t.Fatal(err)
	}
}

// folder is the model, opened with the variables.
func (m *emulated) folder(t *testing.T, vars map[string]string) *azure.Folder {
	t.Helper()
	a := azure.New(azure.Config{Getenv: func(name string) string { return vars[name] }, Transport: m.routed(t), Backoff: time.Millisecond})
	f, err := a.Folder("wasbs://models@" + m.Account + ".blob.core.windows.net/7/model")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// routed leads to the emulator, but for Microsoft Entra, which nobody emulates.
func (m *emulated) routed(t *testing.T) http.RoundTripper {
	w := newWorld(t, nil)
	w.on("login.microsoftonline.com", func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/token") {
			w.entra(rw, r)
			return
		}
		answer(rw, 200, map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": storageToken(r.FormValue("scope"))})
	})
	return routes{entra: w.transport(), storage: m.transport}
}

type routes struct{ entra, storage http.RoundTripper }

func (r routes) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.URL.Host, "login.") {
		return r.entra.RoundTrip(req)
	}
	return r.storage.RoundTrip(req)
}

// storageToken is a token as the emulator wants it: of Azure's issuer, for the
// audience in the scope, not ended. Nobody signed it.
func storageToken(scope string) string {
	audience, _, _ := strings.Cut(scope, "/.default")
	now := time.Now().Unix()
	claims := fmt.Sprintf(`{"aud":%q,"iss":"https://sts.windows.net/%s/","iat":%d,"nbf":%d,"exp":%d,"sub":"x"}`, audience, tenantID, now, now-60, now+3600)
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + part([]byte(claims)) + "." + part([]byte("signature"))
}

// sasToken lets its holder list and read the container.
func (m *emulated) sasToken(t *testing.T) string {
	t.Helper()
	key, err := container.NewSharedKeyCredential(m.Account, m.Key)
	if err != nil {
		t.Fatal(err)
	}
	permissions := sas.ContainerPermissions{Read: true, List: true}
	q, err := sas.BlobSignatureValues{Protocol: sas.ProtocolHTTPS, ExpiryTime: time.Now().Add(time.Hour).UTC(), ContainerName: "models",
		Permissions: permissions.String()}.SignWithSharedKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return q.Encode()
}

// Every credential opens the same files.
func TestE2EBlob(t *testing.T) {
	t.Parallel()
	m := emulate(t)
	for name, vars := range map[string]map[string]string{
		"connection string": {"AZURE_STORAGE_CONNECTION_STRING": m.Connection()},
		"access key":        {"AZURE_STORAGE_ACCESS_KEY": m.Key},
		"SAS":               {"AZURE_STORAGE_SAS_TOKEN": m.sasToken(t)},
		"SAS with a mark":   {"AZURE_STORAGE_SAS_TOKEN": "?" + m.sasToken(t)},
		"Entra":             bySecret(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m.sameFiles(t, m.folder(t, vars))
		})
	}
}

func (m *emulated) sameFiles(t *testing.T, f *azure.Folder) {
	t.Helper()
	files, dirs, err := f.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || files[0].Path != "MLmodel" || files[0].Size != 12 || !slices.Equal(dirs, []string{"data"}) {
		t.Errorf("the folder has %+v and %v", files, dirs)
	}
	files, dirs, err = f.List(t.Context(), "data")
	if err != nil || len(dirs) != 0 || len(files) != 2 || files[0].Path != "big file+%.bin" || files[0].Size != int64(len(m.big)) || files[1].Path != "empty" {
		t.Errorf("data has %+v and %v: %v", files, dirs, err)
	}
	body, began, tag, err := f.Open(t.Context(), "data/big file+%.bin", 0, "")
	if err != nil || began != 0 || tag == "" {
		t.Fatalf("began at %d with tag %q: %v", began, tag, err)
	}
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, m.big) {
		t.Errorf("got %d bytes: %v", len(got), err)
	}
	body.Close()
	body, began, again, err := f.Open(t.Context(), "data/big file+%.bin", 1_000_000, tag)
	if err != nil || began != 1_000_000 || again != tag {
		t.Fatalf("went on at %d with tag %q: %v", began, again, err)
	}
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, m.big[1_000_000:]) {
		t.Errorf("got %d bytes: %v", len(got), err)
	}
	body.Close()
}

// A file that was replaced is read from its beginning; one that got shorter too.
func TestE2EBlobChanged(t *testing.T) {
	t.Parallel()
	m := emulate(t)
	f := m.folder(t, map[string]string{"AZURE_STORAGE_ACCESS_KEY": m.Key})
	m.put(t, "7/model/weights", []byte("0123456789"), nil)
	body, _, tag, err := f.Open(t.Context(), "weights", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	body.Close()
	for _, now := range []string{"abcdefghij", "abc"} {
		m.put(t, "7/model/weights", []byte(now), nil)
		body, began, other, err := f.Open(t.Context(), "weights", 5, tag)
		if err != nil || began != 0 || other == tag {
			t.Fatalf("began at %d with %q: %v", began, other, err)
		}
		if got, err := io.ReadAll(body); err != nil || string(got) != now {
			t.Errorf("got %q: %v", got, err)
		}
		body.Close()
	}
}

func TestE2EBlobRefused(t *testing.T) {
	t.Parallel()
	m := emulate(t)
	list := func(vars map[string]string) error {
		_, _, err := m.folder(t, vars).List(t.Context(), "")
		return err
	}
	fails(t, list(map[string]string{"AZURE_STORAGE_ACCESS_KEY": theKey}), slipway.Unauthorized, "Auth", "check AZURE_STORAGE_ACCESS_KEY")
	wrong := strings.Replace(m.Connection(), m.Key, theKey, 1)
	fails(t, list(map[string]string{"AZURE_STORAGE_CONNECTION_STRING": wrong}), slipway.Unauthorized, "Auth", "check AZURE_STORAGE_CONNECTION_STRING")
	if _, err := m.owner.DeleteContainer(t.Context(), "models", nil); err != nil {
		t.Fatal(err)
	}
	fails(t, list(map[string]string{"AZURE_STORAGE_ACCESS_KEY": m.Key}), slipway.NotFound, "ContainerNotFound", "az storage container list --account-name slipwaytest")
}
