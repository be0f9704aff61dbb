package azure

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/slipway-dev/slipway"
)

// What opens a storage account, beside a sign-in: the variables that MLflow's
// own client reads.
var (
	storageConnection = variable{"AZURE_STORAGE_CONNECTION_STRING"}
	storageKey        = variable{"AZURE_STORAGE_ACCESS_KEY"}
	storageSAS        = variable{"AZURE_STORAGE_SAS_TOKEN"}
)

// Folder is a folder in Azure Blob storage.
type Folder struct {
	account   *Account
	store     *container.Client
	op        string
	storage   string // the storage account
	container string
	root      string // path of the folder, without slashes around it
}

// address is a folder as Hadoop writes it: wasbs://CONTAINER@HOST/PATH, or
// abfss for a Data Lake, which is the same files by another protocol.
var address = regexp.MustCompile(`^(?:wasb|abfs)s?://([^@/?#]{1,63})@([^@/?#:]{1,253})(/[^?#]*)?$`)

// storageHost matches the hosts of storage accounts in all clouds, to which
// alone our tokens go. Zones (z1) and private links are names of the same.
var storageHost = regexp.MustCompile(`^([a-z0-9]{3,24})(\.z[0-9]{1,3})?(\.privatelink)?\.(?:blob|dfs)\.(core\.windows\.net|core\.usgovcloudapi\.net|core\.chinacloudapi\.cn|storage\.azure\.net)$`)

var containerName = regexp.MustCompile(`^(?:[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]|\$root|\$web)$`)

// IsFolder reports whether the address is one of Azure Blob storage.
func IsFolder(uri string) bool {
	m := address.FindStringSubmatch(uri)
	return m != nil && storageHost.MatchString(m[2])
}

// Folder returns the folder at the address. It sends nothing yet. Credentials
// are, as MLflow's client takes them, AZURE_STORAGE_CONNECTION_STRING,
// AZURE_STORAGE_ACCESS_KEY, AZURE_STORAGE_SAS_TOKEN, else the account's
// sign-in. The error's code is Invalid.
func (a *Account) Folder(uri string) (*Folder, error) {
	const op = "reading from Azure Blob storage"
	m := address.FindStringSubmatch(uri)
	if m == nil {
		return nil, slipway.Errorf(slipway.Invalid, op, "%.200q is no address like wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PATH", uri)
	}
	host := storageHost.FindStringSubmatch(m[2])
	root := strings.Trim(m[3], "/")
	if host == nil || !containerName.MatchString(m[1]) || !plain(root) {
		return nil, slipway.Errorf(slipway.Invalid, op, "%.200q names no folder in a storage account of Azure", uri)
	}
	f := &Folder{account: a, op: op, storage: host[1], container: m[1], root: root}
	endpoint := "https://" + host[1] + host[2] + host[3] + ".blob." + host[4] + "/" + m[1]
	var err error
	f.store, err = a.openStore(op, host[1], m[1], endpoint)
	return f, err
}

// plain reports whether a path stays where it is put.
func plain(path string) bool {
	for name := range strings.SplitSeq(path, "/") {
		if path != "" && (name == "" || name == "." || name == "..") {
			return false
		}
	}
	return true
}

// opener is the variable that opens storage accounts, and its value; "": the
// sign-in does.
func (a *Account) opener() (name, value string) {
	for _, v := range []variable{storageConnection, storageKey, storageSAS} {
		if value := v.of(a.getenv); value != "" {
			return v[0], value
		}
	}
	return "", ""
}

func (a *Account) openStore(op, storage, name, endpoint string) (*container.Client, error) {
	o := &container.ClientOptions{ClientOptions: a.options()}
	o.Transport = &http.Client{Transport: noting{a.wire}, CheckRedirect: refuseRedirect} // files may be long
	var client *container.Client
	var err error
	variable, value := a.opener() // in MLflow's order
	switch variable {
	case "":
		return container.NewClient(endpoint, a, o)
	case storageConnection[0]:
		if err := isOf(op, value, storage); err != nil {
			return nil, err
		}
		client, err = container.NewClientFromConnectionString(value, name, o)
	case storageKey[0]:
		client, err = byKey(endpoint, storage, value, o)
	case storageSAS[0]:
		client, err = container.NewClientWithNoCredential(endpoint+"?"+strings.TrimPrefix(value, "?"), o)
	}
	if err != nil { // not quoted: it may hold the key
		return nil, slipway.Errorf(slipway.Invalid, op, "%s is malformed", variable).
			WithHint("az storage account show-connection-string --name %s --query connectionString -o tsv", storage)
	}
	return client, nil
}

func byKey(endpoint, storage, key string, o *container.ClientOptions) (*container.Client, error) {
	credential, err := container.NewSharedKeyCredential(storage, key)
	if err != nil {
		return nil, err
	}
	return container.NewClientWithSharedKeyCredential(endpoint, credential, o)
}

// isOf refuses a connection string of another storage account than the files
// are in: what it opens would be other files.
func isOf(op, connection, storage string) error {
	for part := range strings.SplitSeq(connection, ";") {
		if name, ok := strings.CutPrefix(part, "AccountName="); ok && name != storage {
			return slipway.Errorf(slipway.Invalid, op, "AZURE_STORAGE_CONNECTION_STRING is of the storage account %.24q, and the files are in %s", name, storage).
				WithHint("az storage account show-connection-string --name %s --query connectionString -o tsv", storage)
		}
	}
	return nil
}

// where is the folder for people.
func (f *Folder) where() string {
	u, err := url.Parse(f.store.URL())
	if err != nil {
		return f.storage
	}
	return u.Host
}
