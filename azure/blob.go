package azure

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// maxNames bounds the listing of one folder.
const maxNames = 100_000

// List returns what is directly in the folder dir, a path below the folder
// with slashes, "" for itself: files by bare name and size, and the names of
// folders. Names are as they are stored, which may be anything. A folder that
// is missing is like an empty one. The codes: NotFound for the container,
// Unauthorized, Unavailable, Exhausted.
func (f *Folder) List(ctx context.Context, dir string) (files []mlmodel.File, dirs []string, err error) {
	prefix := joined(f.root, dir)
	if prefix != "" {
		prefix += "/"
	}
	pages := f.store.NewListBlobsHierarchyPager("/", &container.ListBlobsHierarchyOptions{
		Prefix: &prefix, Include: container.ListBlobsInclude{Metadata: true}})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, nil, f.failure(ctx, err)
		}
		if page.Segment == nil {
			continue
		}
		for _, p := range page.Segment.BlobPrefixes {
			dirs = append(dirs, strings.TrimSuffix(below(p.Name, prefix), "/"))
		}
		for _, b := range page.Segment.BlobItems {
			if b != nil && !marksFolder(b) {
				files = append(files, mlmodel.File{Path: below(b.Name, prefix), Size: sizeOf(b)})
			}
		}
		if len(files)+len(dirs) > maxNames {
			return nil, nil, slipway.Errorf(slipway.Exhausted, f.op, "the folder %s in %s has more than %d names", prefix, f.where(), maxNames)
		}
	}
	return files, dirs, nil
}

// below takes the prefix off; a name without it is returned whole, and refused
// for its slashes by whoever checks names.
func below(name *string, prefix string) string {
	if name == nil {
		return ""
	}
	return strings.TrimPrefix(*name, prefix)
}

// marksFolder recognises the empty file that stands for a folder, as Hadoop and
// Data Lakes leave it.
func marksFolder(b *container.BlobItem) bool {
	for key, value := range b.Metadata {
		if strings.EqualFold(key, "hdi_isfolder") && value != nil && strings.EqualFold(*value, "true") {
			return true
		}
	}
	return b.Properties != nil && b.Properties.ResourceType != nil && strings.EqualFold(*b.Properties.ResourceType, "directory")
}

func sizeOf(b *container.BlobItem) int64 {
	if b.Properties == nil || b.Properties.ContentLength == nil {
		return -1 // refused by whoever checks sizes
	}
	return *b.Properties.ContentLength
}

// Open begins to read the file at the path below the folder, from the given
// byte on if its tag (an ETag of RFC 9110) is still the one given, else from
// its beginning: it returns where it began, and the tag of what is read. It
// asks once; reading fails with the codes of List.
func (f *Folder) Open(ctx context.Context, path string, from int64, tag string) (body io.ReadCloser, began int64, now string, err error) {
	if from > 0 && tag != "" {
		body, now, err = f.read(ctx, path, from, tag)
		if err == nil {
			return body, from, now, nil
		}
		if !otherFile(err) {
			return nil, 0, "", f.failure(ctx, err)
		}
	}
	body, now, err = f.read(ctx, path, 0, "")
	if err != nil {
		return nil, 0, "", f.failure(ctx, err)
	}
	return body, 0, now, nil
}

func (f *Folder) read(ctx context.Context, path string, from int64, tag string) (io.ReadCloser, string, error) {
	ctx = policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1}) // whoever reads goes on where it broke
	o := &blob.DownloadStreamOptions{}
	if from > 0 {
		match := azcore.ETag(tag)
		o.Range = blob.HTTPRange{Offset: from}
		o.AccessConditions = &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &match}}
	}
	out, err := f.store.NewBlobClient(joined(f.root, path)).DownloadStream(ctx, o)
	if err != nil {
		return nil, "", err
	}
	now := ""
	if out.ETag != nil {
		now = string(*out.ETag)
	}
	return &reading{ReadCloser: out.Body, ctx: ctx, folder: f}, now, nil
}

// otherFile reports whether a part was refused because the file is another one
// or shorter than before.
func otherFile(err error) bool {
	var theirs *azcore.ResponseError
	return errors.As(err, &theirs) &&
		(theirs.StatusCode == http.StatusPreconditionFailed || theirs.StatusCode == http.StatusRequestedRangeNotSatisfiable)
}

// reading is a body whose errors are ours.
type reading struct {
	io.ReadCloser
	ctx    context.Context // of the transfer
	folder *Folder
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = unreachable(r.ctx, r.folder.op, r.folder.where(), err)
	}
	return n, err
}

// failure names the role that is missing, or what else opens the account.
func (f *Folder) failure(ctx context.Context, err error) error {
	e := f.account.serviceFailure(ctx, f.op, f.where(), err)
	opener, _ := f.account.opener()
	var theirs *azcore.ResponseError
	code := ""
	if errors.As(err, &theirs) {
		code = theirs.ErrorCode
	}
	switch {
	case e.Code == slipway.NotFound:
		return hinted(e, "az storage container list --account-name %s --auth-mode login -o table lists the containers", f.storage)
	case e.Code != slipway.Unauthorized:
		return e
	case opener != "":
		return hinted(e, "check %s: az storage account show-connection-string --name %s --query connectionString -o tsv prints one that holds; or unset it, to sign in", opener, f.storage)
	case code == "AuthorizationFailure":
		return hinted(e, "the storage account's network rules keep this machine out: az storage account network-rule add --account-name %s --ip-address ADDRESS", f.storage)
	}
	return hinted(e, `az role assignment create --assignee %s --role "Storage Blob Data Reader" --scope $(az storage account show --name %s --query id -o tsv)`, f.account.assignee(), f.storage)
}

func joined(dir, name string) string {
	if dir == "" || name == "" {
		return dir + name
	}
	return dir + "/" + name
}
