package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	leaseclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/slipway-dev/slipway"
)

var _ slipway.Journal = (*Journal)(nil)

// recordKey is the ConfigMap's key that holds the record.
const recordKey = "record.json"

// Bounds of a record, in bytes: of one that is written (a ConfigMap holds
// 1 MiB), and of one that is read.
const (
	maxWritten = 900 << 10
	maxRead    = 2 << 20
)

// Journal keeps a target's record in a ConfigMap and its lock in a Lease, both
// beside the Deployment and named like it.
type Journal struct {
	client     kubernetes.Interface
	namespace  string
	deployment string
	name       string        // of Lease and ConfigMap
	lease      time.Duration // how long the lock outlives its holder

	token atomic.Pointer[string] // of the lock taken last; nil: none was
}

// Journal returns the target's journal.
func (t *Target) Journal() *Journal {
	return &Journal{
		client: t.client, namespace: t.cfg.Ref.Namespace, deployment: t.cfg.Ref.Name,
		name: t.sidecar(), lease: t.cfg.Lease,
	}
}

func (j *Journal) leases() leaseclient.LeaseInterface {
	return j.client.CoordinationV1().Leases(j.namespace)
}

func (j *Journal) records() coreclient.ConfigMapInterface {
	return j.client.CoreV1().ConfigMaps(j.namespace)
}

func (j *Journal) deployments() appsclient.DeploymentInterface {
	return j.client.AppsV1().Deployments(j.namespace)
}

// sidecar is the name of the Lease and of the ConfigMap beside the Deployment.
func (t *Target) sidecar() string { return sidecar(t.cfg.Ref.Name) }

// maxObjectName is how long the name of an object may be (RFC 1123 subdomain).
const maxObjectName = 253

// sidecar shortens a name that would grow too long, so that two long ones stay
// apart.
func sidecar(deployment string) string {
	const suffix = "-slipway"
	if len(deployment)+len(suffix) <= maxObjectName {
		return deployment + suffix
	}
	sum := sha256.Sum256([]byte(deployment))
	suffixed := "-" + hex.EncodeToString(sum[:8]) + suffix
	return strings.TrimRight(deployment[:maxObjectName-len(suffixed)], "-.") + suffixed
}

func (j *Journal) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: j.name, Namespace: j.namespace,
		Labels: map[string]string{"app.kubernetes.io/managed-by": Manager},
	}
}

func (j *Journal) newRecord(fence uint64) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: j.meta()}
	setFence(cm, fence)
	return cm
}

// Load implements slipway.Journal.
func (j *Journal) Load(ctx context.Context) (slipway.Record, error) {
	cm, err := there(j.records().Get(ctx, j.name, metav1.GetOptions{}))
	if err != nil {
		return slipway.Record{}, apiError("reading the target's record", err)
	}
	return j.decode(cm)
}

// decode reads the record of a ConfigMap. One without a record, or none, is
// the zero Record.
func (j *Journal) decode(cm *corev1.ConfigMap) (slipway.Record, error) {
	var r slipway.Record
	data, ok := recordIn(cm)
	switch {
	case !ok:
		return r, nil
	case len(data) > maxRead:
		return r, j.broken(errors.New("too large"))
	case !json.Valid(data):
		return r, j.broken(errors.New("not JSON"))
	}
	if err := slipway.CheckSchema(data); err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return slipway.Record{}, j.broken(errors.New(printable(err.Error(), maxText)))
	}
	r.Revision = revision(data)
	return r, nil
}

func recordIn(cm *corev1.ConfigMap) ([]byte, bool) {
	if cm == nil {
		return nil, false
	}
	if text, ok := cm.Data[recordKey]; ok {
		return []byte(text), true
	}
	data, ok := cm.BinaryData[recordKey] // where kubectl puts what is no text
	return data, ok
}

func (j *Journal) broken(err error) error {
	e := &slipway.Error{
		Op: "reading the target's record", Code: slipway.Corrupt, Err: err,
		Message: recordKey + " of the ConfigMap " + j.name + " is broken",
	}
	return e.WithHint("keep a copy (kubectl get configmap %[1]s -n %[2]s -o yaml) and delete it: kubectl delete configmap %[1]s -n %[2]s; the next release starts a new record",
		j.name, j.namespace)
}

// revision is what the record says, not the ConfigMap's resourceVersion:
// somebody who labels it has not changed the record.
func revision(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// Store implements slipway.Journal. A record that would not fit into a
// ConfigMap loses the oldest of its history.
func (j *Journal) Store(ctx context.Context, fence uint64, r slipway.Record) (slipway.Record, error) {
	const op = "storing the target's record"
	data, err := encode(r)
	if err != nil {
		return slipway.Record{}, err
	}
	for range maxTries {
		var s standing
		if s, err = j.standing(ctx); err != nil {
			return slipway.Record{}, err
		}
		if err := j.mayStore(s, fence, r); err != nil {
			return slipway.Record{}, err
		}
		var cm *corev1.ConfigMap
		if cm, err = j.put(ctx, s.record, fence, data); err == nil {
			return j.decode(cm)
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			break
		}
	}
	return slipway.Record{}, apiError(op, err)
}

// mayStore compares the revision and the fence with the stored ones. A record
// that somebody deleted under the lock is written anew: nobody else can have
// written another.
func (j *Journal) mayStore(s standing, fence uint64, r slipway.Record) error {
	const op = "storing the target's record"
	if fence == 0 || fence != s.fence || j.isTakenFrom(s.lease) {
		return slipway.Errorf(slipway.Conflict, op, "%s took the target meanwhile", holderOf(s.lease)).
			WithHint("slipway status shows what it does")
	}
	stored, err := j.decode(s.record)
	if err != nil {
		return err
	}
	if s.record != nil && stored.Revision != r.Revision {
		return slipway.Errorf(slipway.Conflict, op, "the record was changed meanwhile").WithHint("read it again")
	}
	return nil
}

// isTakenFrom reports whether somebody else's name is in the Lease that this
// journal locked. Whoever takes it by hand changes no number.
func (j *Journal) isTakenFrom(lease *coordinationv1.Lease) bool {
	token := j.token.Load()
	return token != nil && isHeld(lease) && lease.Annotations[annotationToken] != *token
}

func (j *Journal) put(ctx context.Context, old *corev1.ConfigMap, fence uint64, data []byte) (*corev1.ConfigMap, error) {
	if old == nil {
		cm := j.newRecord(fence)
		cm.Data = map[string]string{recordKey: string(data)}
		return j.records().Create(ctx, cm, metav1.CreateOptions{FieldManager: Manager})
	}
	cm := old.DeepCopy()
	setFence(cm, fence)
	if cm.Data == nil {
		cm.Data = map[string]string{}
	}
	cm.Data[recordKey] = string(data)
	return j.records().Update(ctx, cm, metav1.UpdateOptions{FieldManager: Manager})
}

// encode writes the record so that it fits into a ConfigMap.
func encode(r slipway.Record) ([]byte, error) {
	const op = "storing the target's record"
	r.SchemaVersion, r.Revision = slipway.RecordSchema, ""
	r.History = r.History[max(0, len(r.History)-slipway.HistoryLimit):]
	for {
		data, err := json.MarshalIndent(r, "", " ")
		switch {
		case err != nil:
			return nil, &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
		case len(data) <= maxWritten:
			return data, nil
		case len(r.History) == 0:
			return nil, slipway.Errorf(slipway.Exhausted, op, "the record is %d bytes, a ConfigMap holds %d", len(data), maxWritten).
				WithHint("make the release smaller: its env is the most that can be large")
		}
		r.History = r.History[1:]
	}
}
