package azure_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/azure"
	"github.com/slipway-dev/slipway/mlmodel"
)

const storageAccount = "mlstore.blob.core.windows.net"

func (w *world) folder() *azure.Folder {
	w.t.Helper()
	f, err := w.account().Folder("abfss://models@mlstore.dfs.core.windows.net/7/model/")
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// page is a listing of Blob storage (List Blobs, version 2020-10-02).
func page(next string, items ...string) string {
	return "\uFEFF" + `<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="models"><Blobs>` +
		strings.Join(items, "") + `</Blobs><NextMarker>` + next + `</NextMarker></EnumerationResults>`
}

func blobItem(name string, size int) string {
	return fmt.Sprintf(`<Blob><Name>%s</Name><Properties><Content-Length>%d</Content-Length></Properties></Blob>`, name, size)
}

func prefixItem(name string) string { return `<BlobPrefix><Name>` + name + `</Name></BlobPrefix>` }

// A listing comes in pages, by our own token. Names are given as they are.
func TestFolderPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bySecret())
	w.on(storageAccount, func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Header.Get("Authorization") != "Bearer "+theToken+"1" || r.URL.Path != "/models" || q.Get("prefix") != "7/model/data/" || q.Get("delimiter") != "/" {
			t.Errorf("asked %s with %q", r.URL, r.Header.Get("Authorization"))
		}
		switch q.Get("marker") {
		case "":
			fmt.Fprint(rw, page("second", blobItem("7/model/data/a", 1), prefixItem("7/model/data/b/")))
		case "second":
			fmt.Fprint(rw, page("", blobItem("7/model/data/../x", 2), blobItem("elsewhere/c", 3), prefixItem("7/model/data//")))
		}
	})
	files, dirs, err := w.folder().List(t.Context(), "data")
	if err != nil {
		t.Fatal(err)
	}
	want := []mlmodel.File{{Path: "a", Size: 1}, {Path: "../x", Size: 2}, {Path: "elsewhere/c", Size: 3}}
	if diff := cmp.Diff(want, files) + cmp.Diff([]string{"b", ""}, dirs); diff != "" {
		t.Error(diff)
	}
	if scope := w.lastForm().Get("scope"); !strings.HasPrefix(scope, "https://storage.azure.com/.default") {
		t.Errorf("the scope is %q", scope)
	}
}

func TestFolderTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bySecret())
	many := strings.Repeat(blobItem("7/model/x", 1), 5000)
	w.on(storageAccount, func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, page("more", many)) })
	_, _, err := w.folder().List(t.Context(), "")
	notGivenAway(t, err, slipway.Exhausted, "more than 100000 names")
}

func TestFolderRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status    int
		errorCode string
		code      slipway.Code
		hint      string
	}{
		"no role": {403, "AuthorizationPermissionMismatch", slipway.Unauthorized, `az role assignment create --assignee ` + clientID +
			` --role "Storage Blob Data Reader" --scope $(az storage account show --name mlstore --query id -o tsv)`},
		"closed network": {403, "AuthorizationFailure", slipway.Unauthorized, "network-rule add --account-name mlstore"},
		"no container":   {404, "ContainerNotFound", slipway.NotFound, "az storage container list --account-name mlstore"},
		"busy":           {503, "ServerBusy", slipway.Unavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, bySecret())
			w.on(storageAccount, func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("x-ms-error-code", c.errorCode)
				rw.Header().Set("Content-Type", "application/xml")
				rw.WriteHeader(c.status)
				fmt.Fprintf(rw, "\uFEFF<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>No. %s\nRequestId:1\nTime:2</Message></Error>", c.errorCode, theToken)
			})
			_, _, err := w.folder().List(t.Context(), "")
			fails(t, err, c.code, c.errorCode, c.hint)
			_, _, _, err = w.folder().Open(t.Context(), "MLmodel", 0, "")
			fails(t, err, c.code, c.errorCode, c.hint)
		})
	}
}

// A transfer that breaks is worth another try, and says nothing of the token.
func TestFolderBreaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=" + theKey})
	w.on(storageAccount, func(rw http.ResponseWriter, _ *http.Request) { breakOff(rw) })
	body, _, _, err := w.folder().Open(t.Context(), "MLmodel", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(body)
	notGivenAway(t, err, slipway.Unavailable, storageAccount+" is out of reach")
	_, _, err = w.folder().List(t.Context(), "")
	notGivenAway(t, err, slipway.Unavailable, storageAccount+" is out of reach")
	w.on(storageAccount, nil)
	_, _, err = w.folder().List(t.Context(), "")
	notGivenAway(t, err, slipway.Unavailable, storageAccount+" is out of reach")
}

// Our tokens go to storage accounts of Azure and to nobody else.
func TestFolderAddresses(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]bool{
		"wasbs://models@mlstore.blob.core.windows.net/7/model":               true,
		"wasb://models@mlstore.blob.core.windows.net":                        true,
		"abfss://models@mlstore.dfs.core.windows.net/":                       true,
		"abfs://models@mlstore.dfs.core.usgovcloudapi.net/x":                 true,
		"wasbs://$root@mlstore.blob.core.chinacloudapi.cn/x":                 true,
		"wasbs://models@mlstore.z12.blob.storage.azure.net/x":                true,
		"wasbs://models@mlstore.privatelink.blob.core.windows.net/x":         true,
		"wasbs://models@mlstore.blob.core.windows.net.evil.example/x":        false,
		"wasbs://models@evil.example/mlstore.blob.core.windows.net":          false,
		"wasbs://models@evil.example#mlstore.blob.core.windows.net":          false,
		"wasbs://models:secret@evil.example@mlstore.blob.core.windows.net/x": false,
		"wasbs://models@mlstore.blob.core.windows.net:8443/x":                false,
		"wasbs://models@mlstore.blob.core.windows.net/x?sig=y":               false,
		"wasbs://models@mlstore.blob.core.windows.net/x/../y":                false,
		"wasbs://models@mlstore.blob.core.windows.net/x//y":                  false,
		"wasbs://mo%2Fdels@mlstore.blob.core.windows.net/x":                  false,
		"s3://models/x": false,
		"https://mlstore.blob.core.windows.net/models/x": false,
	} {
		_, err := newWorld(t, bySecret()).account().Folder(uri)
		if (err == nil) != want {
			t.Errorf("%s: %v", uri, err)
		}
		if want && !azure.IsFolder(uri) {
			t.Errorf("%s is no folder", uri)
		}
	}
}

func TestFolderCredentials(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ variable, value, says string }{
		"another account": {"AZURE_STORAGE_CONNECTION_STRING", "AccountName=other;AccountKey=" + theKey, `is of the storage account "other"`},
		"no key":          {"AZURE_STORAGE_CONNECTION_STRING", "AccountName=mlstore;Key=" + theKey, "AZURE_STORAGE_CONNECTION_STRING is malformed"},
		"no base64":       {"AZURE_STORAGE_ACCESS_KEY", theKey + "!", "AZURE_STORAGE_ACCESS_KEY is malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newWorld(t, map[string]string{c.variable: c.value}).account().Folder("wasbs://models@mlstore.blob.core.windows.net/x")
			fails(t, err, slipway.Invalid, c.says, "show-connection-string --name mlstore")
		})
	}
}

func FuzzFolder(f *testing.F) {
	f.Add("wasbs://models@mlstore.blob.core.windows.net/7/model")
	f.Add("abfss://a@b.dfs.core.windows.net//..")
	f.Fuzz(func(t *testing.T, uri string) {
		a := azure.New(azure.Config{Getenv: func(string) string { return "" }})
		if folder, err := a.Folder(uri); err == nil && (folder == nil || !azure.IsFolder(uri)) {
			t.Errorf("%q is taken", uri)
		}
	})
}
