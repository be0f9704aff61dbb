package kube

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/k8s"
)

// The names that the manifest has where the reference has its own.
const (
	manifestNamespace = "production"
	manifestName      = "inference-service"
	manifestRole      = "slipway"
)

// isManifests reports whether the manifest as it stands is the target's.
func isManifests(ref slipway.TargetRef) bool {
	return ref.Namespace == manifestNamespace && ref.Name == manifestName
}

// roleOf is the name of a Deployment's Role. It lets its holder change one
// Deployment: beside another's it needs a name of its own.
func roleOf(deployment string) string {
	if deployment == manifestName {
		return manifestRole
	}
	return manifestRole + "-" + deployment
}

// Create makes the namespace, the Deployment and what belongs to it as in the
// project's manifest, under the names of the reference. What is there already
// stays as it is. The Deployment comes last, so that where there is one there
// is the rest.
//
// Errors: Unauthorized where a right is missing, Invalid where the cluster
// refuses an object, Unavailable.
func (t *Target) Create(ctx context.Context) error {
	op := "making " + t.cfg.Ref.String()
	objects, err := decodeManifest(k8s.Production)
	if err != nil {
		return &slipway.Error{Op: op, Code: slipway.Internal, Message: "the manifest", Err: err}
	}
	client, err := dynamic.NewForConfigAndClient(t.rest, t.http)
	if err != nil {
		return &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	var unsure error // about the namespace, which may be there unseen
	for _, object := range rename(objects, t.cfg.Ref) {
		err := createMissing(ctx, client, object)
		switch {
		case object.GetKind() == "Namespace" && apierrors.IsForbidden(err):
			unsure = err
		case apierrors.IsNotFound(err) && unsure != nil:
			return apiError(op, unsure)
		case apierrors.IsForbidden(err) && unsure != nil:
			return t.perhapsNoNamespace(apiError(op, err))
		case err != nil:
			return apiError(op, err)
		}
	}
	return nil
}

// perhapsNoNamespace adds to a missing right what else may be missing: who may
// not see namespaces cannot tell.
func (t *Target) perhapsNoNamespace(err error) error {
	var e *slipway.Error
	if !errors.As(err, &e) {
		return err
	}
	return e.WithHint("%s; and if there is no namespace %[2]s yet: kubectl create namespace %[2]s", e.Hint, t.cfg.Ref.Namespace)
}

// createMissing creates the object if there is none. Who may not create it
// need not, where it exists.
func createMissing(ctx context.Context, client dynamic.Interface, object *unstructured.Unstructured) error {
	kind, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	objects := client.Resource(kind).Namespace(object.GetNamespace())
	_, err := objects.Create(ctx, object, metav1.CreateOptions{FieldManager: Manager + "-create"})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if apierrors.IsForbidden(err) {
		if _, there := objects.Get(ctx, object.GetName(), metav1.GetOptions{}); there == nil {
			return nil
		}
	}
	return err
}

// decodeManifest reads the objects of a manifest, the Deployment last.
func decodeManifest(data []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := documents.Decode(&object.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		return rank(a) - rank(b)
	})
	return objects, nil
}

func rank(object *unstructured.Unstructured) int {
	if object.GetKind() == "Deployment" {
		return 1
	}
	return 0
}

// rename gives the objects the names of the reference.
func rename(objects []*unstructured.Unstructured, ref slipway.TargetRef) []*unstructured.Unstructured {
	var renamed []*unstructured.Unstructured
	for _, object := range objects {
		o := &unstructured.Unstructured{Object: named(object.Object, ref.Name).(map[string]any)}
		if ref.Name != manifestName && strings.HasPrefix(o.GetKind(), "Role") {
			o.SetName(roleOf(ref.Name))
			if role, ok := o.Object["roleRef"].(map[string]any); ok {
				role["name"] = o.GetName()
			}
		}
		place(o, ref.Namespace)
		renamed = append(renamed, o)
	}
	return renamed
}

// named returns a copy of the tree with the manifest's name replaced wherever
// it stands: in names, labels, selectors and in the names of what a Role is for.
func named(tree any, name string) any {
	switch v := tree.(type) {
	case string:
		return strings.ReplaceAll(v, manifestName, name)
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[key] = named(value, name)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = named(value, name)
		}
		return out
	}
	return tree
}

// place puts the object into the namespace, and those that a RoleBinding
// names; or makes it the namespace.
func place(o *unstructured.Unstructured, namespace string) {
	if o.GetKind() == "Namespace" {
		o.SetName(namespace)
		return
	}
	if o.GetNamespace() == manifestNamespace {
		o.SetNamespace(namespace)
	}
	subjects, _ := o.Object["subjects"].([]any)
	for _, s := range subjects {
		if subject, ok := s.(map[string]any); ok && subject["namespace"] == manifestNamespace {
			subject["namespace"] = namespace
		}
	}
}
