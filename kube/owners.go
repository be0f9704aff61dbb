package kube

import (
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// owners says who set the fields of an object: we by server-side apply, or
// somebody else.
type owners struct {
	mine   *fieldpath.Set
	others *fieldpath.Set
}

func isOurs(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == Manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
}

func ownersOf(entries []metav1.ManagedFieldsEntry) owners {
	o := owners{mine: fieldpath.NewSet(), others: fieldpath.NewSet()}
	for _, e := range entries {
		switch set := setOf(e); {
		case isOurs(e):
			o.mine = o.mine.Union(set)
		default:
			o.others = o.others.Union(set)
		}
	}
	return o
}

func setOf(e metav1.ManagedFieldsEntry) *fieldpath.Set {
	set := fieldpath.NewSet()
	if e.FieldsV1 == nil || set.FromJSON(e.FieldsV1.GetRawReader()) != nil {
		return fieldpath.NewSet() // what cannot be read names no field
	}
	return set
}

// holds reports whether the set has the path or something below it.
func holds(set *fieldpath.Set, path fieldpath.Path) bool {
	last := len(path) - 1
	for _, element := range path[:last] {
		set = set.WithPrefix(element)
	}
	return set.Members.Has(path[last]) || !set.WithPrefix(path[last]).Empty()
}

// below returns the paths of the set that are one of the given or below one.
func below(set *fieldpath.Set, paths []fieldpath.Path) *fieldpath.Set {
	found := fieldpath.NewSet()
	set.Iterate(func(p fieldpath.Path) {
		if slices.ContainsFunc(paths, func(top fieldpath.Path) bool { return len(p) >= len(top) && p[:len(top)].Equals(top) }) {
			found.Insert(p.Copy())
		}
	})
	return found
}

// takeOver returns the entries after the fields at the paths and below were
// given to us alone. Applying without them then removes them.
func takeOver(entries []metav1.ManagedFieldsEntry, paths []fieldpath.Path) ([]metav1.ManagedFieldsEntry, error) {
	taken := fieldpath.NewSet()
	var after []metav1.ManagedFieldsEntry
	ours := metav1.ManagedFieldsEntry{Manager: Manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "apps/v1", FieldsType: "FieldsV1"}
	mine := fieldpath.NewSet()
	for _, e := range entries {
		set := setOf(e)
		if isOurs(e) {
			ours, mine = e, set
			continue
		}
		lost := below(set, paths)
		if !lost.Empty() && e.Subresource == "" {
			taken, set = taken.Union(lost), set.Difference(lost)
			if set.Empty() {
				continue
			}
			raw, err := set.ToJSON()
			if err != nil {
				return nil, err
			}
			e.FieldsV1 = &metav1.FieldsV1{Raw: raw}
		}
		after = append(after, e)
	}
	raw, err := mine.Union(taken).ToJSON()
	if err != nil {
		return nil, err
	}
	ours.FieldsV1 = &metav1.FieldsV1{Raw: raw}
	return append(after, ours), nil
}

// claim is the patch that gives us the fields at the paths. It changes nothing
// but who owns them.
func (s *survey) claim(paths []fieldpath.Path) ([]byte, error) {
	after, err := takeOver(s.d.ManagedFields, paths)
	if err != nil {
		return nil, err
	}
	return json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": after},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": s.d.ResourceVersion},
	})
}
