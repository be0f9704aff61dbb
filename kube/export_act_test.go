package kube

import (
	"context"
	"encoding/json"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/slipway-dev/slipway"
)

// Decide is what an action would write to the Deployment: the paths it first
// takes over, then the document it applies.
func Decide(d *appsv1.Deployment, ref slipway.TargetRef, a slipway.Action) (claims []string, document []byte, err error) {
	t := &Target{cfg: Config{Ref: ref}}
	if err := t.checkAction("acting", a); err != nil {
		return nil, nil, err
	}
	s, err := t.survey("acting", d)
	if err != nil {
		return nil, nil, err
	}
	if err := t.checkTaker(context.Background(), "acting", s, a); err != nil {
		return nil, nil, err
	}
	w, err := s.decide("acting", a)
	for _, p := range w.claims {
		claims = append(claims, p.String())
	}
	return claims, w.document, err
}

// Drift is what others changed since the release was first rolled out.
func Drift(d *appsv1.Deployment, sets []appsv1.ReplicaSet, container string) []string {
	return drift(d, sets, container)
}

// Renamed is the manifest under the names of the reference.
func Renamed(manifest []byte, ref slipway.TargetRef) (objects []map[string]any, err error) {
	decoded, err := decodeManifest(manifest)
	for _, o := range rename(decoded, ref) {
		objects = append(objects, o.Object)
	}
	return objects, err
}

// FoundAgain reads the annotation that tells how fields were found, and
// writes it again.
func FoundAgain(text string) (string, error) { return decodeFound(text).encode() }

// FoundFields are the fields the annotation tells of.
func FoundFields(text string) map[string]json.RawMessage {
	fields := map[string]json.RawMessage{}
	for key, v := range decodeFound(text).Fields {
		fields[key] = json.RawMessage(v)
	}
	return fields
}

// FirstOf is the name of the ReplicaSet whose template a rollback to the image
// puts back.
func FirstOf(sets []appsv1.ReplicaSet, container, image string) string {
	wanted := values{}
	wanted.set(keyImage, image)
	return firstOf(sets, container, wanted).Name
}
