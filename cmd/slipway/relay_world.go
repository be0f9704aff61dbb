package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/relay"
)

// relayBuilder turns slipway.yaml into what a relay watches.
type relayBuilder struct {
	cmd     relayCommand
	p       *program
	file    *config
	log     *slog.Logger
	world   *relayWorld
	watched []relay.Watched
	made    map[string]relay.Starter // by what they start: one for all models of a repository
	runs    *runStarter
}

// add watches a model in each of its environments.
func (b *relayBuilder) add(i int, entry configModel) error {
	ref, err := slipway.ParseModelRef(entry.Model)
	if err != nil {
		return usageError{err}
	}
	if !ref.Moves() {
		b.log.Warn("not watched: it never points at another version", "model", entry.Model)
		return nil
	}
	environments, err := chooseEnvironments(entry, placeFlags{})
	if err != nil {
		return err
	}
	starter, err := b.starter(fmt.Sprintf("$.models[%d]", i), entry, ref)
	if err != nil {
		return err
	}
	for _, e := range environments {
		s, err := merge(modelFlags{MLflow: b.cmd.MLflow}, placeFlags{}, entry, e, b.p.getenv)
		if err == nil {
			err = s.check()
		}
		if err != nil {
			return err
		}
		if err := b.watch(s, starter); err != nil {
			return err
		}
	}
	return nil
}

func (b *relayBuilder) watch(s settings, starter relay.Starter) error {
	s.inFile = true
	j, err := b.p.begin(s)
	if err != nil {
		return err
	}
	blind, unread := j.journal.(unreadJournal)
	if _, here := starter.(*runStarter); here && unread { // a release could not go there either
		return blind.err
	}
	w := relay.Watched{Model: s.ref, Environment: s.environment, Starter: starter}
	if b.world.find(w) != nil {
		return usageError{usagef("%s lists %s in %s twice", b.file.path, s.ref, s.environment).WithHint("take one of them out")}
	}
	if b.runs != nil {
		b.runs.goesTo(s)
	}
	b.watched = append(b.watched, w)
	b.world.put(w, j)
	return nil
}

// relayWorld asks what `slipway pending` asks.
type relayWorld struct{ journeys map[string]*journey }

func keyOf(w relay.Watched) string { return w.Model.String() + "\n" + w.Environment }

func (w *relayWorld) find(x relay.Watched) *journey { return w.journeys[keyOf(x)] }

func (w *relayWorld) put(x relay.Watched, j *journey) {
	if w.journeys == nil {
		w.journeys = map[string]*journey{}
	}
	w.journeys[keyOf(x)] = j
}

// Promoted is part of relay.World.
func (w *relayWorld) Promoted(ctx context.Context, x relay.Watched) (slipway.Version, error) {
	registry, err := w.find(x).models()
	if err != nil {
		return "", err
	}
	version, err := registry.Promoted(ctx, x.Model)
	if slipway.CodeOf(err) == slipway.NotFound {
		return "", nil
	}
	return version.Version, err
}

// Outlook is part of relay.World.
func (w *relayWorld) Outlook(ctx context.Context, x relay.Watched, v slipway.Version) relay.Outlook {
	j := w.find(x)
	version := slipway.ModelVersion{Name: x.Model.Name, Version: v}
	would, err := j.outlook(ctx, version)
	if err != nil {
		return relay.Outlook{Prospect: relay.Unknown, Why: "the target cannot be asked: " + onOneLine(err)}
	}
	switch would {
	case "nothing-to-do":
		return relay.Outlook{Prospect: relay.Nothing}
	case "quarantined":
		return relay.Outlook{Prospect: relay.Refused, Why: "it was rolled back there; promote another version, or slipway deploy --retry"}
	case "held":
		return relay.Outlook{Prospect: relay.Frozen, Why: "the target is held; slipway resume lets releases through"}
	}
	return j.turn(ctx, version)
}

// turn says whether the environment before has verified the version, where
// there is one.
func (j *journey) turn(ctx context.Context, version slipway.ModelVersion) relay.Outlook {
	if j.afterTarget == "" {
		return relay.Outlook{Prospect: relay.Due}
	}
	record, err := j.recordOf(ctx, j.afterTarget)
	switch {
	case err != nil: // the release would fail on it
		return relay.Outlook{Prospect: relay.Behind, Why: j.after + " cannot be asked: " + onOneLine(err)}
	case !wasVerified(record, version):
		return relay.Outlook{Prospect: relay.Behind, Why: j.after + " has not verified it"}
	}
	return relay.Outlook{Prospect: relay.Due}
}

// unreadJournal is that of a cluster which this machine does not reach: the
// workflow or the pipeline does.
type unreadJournal struct {
	slipway.Journal
	err error // why
}

// Load says why.
func (u unreadJournal) Load(context.Context) (slipway.Record, error) { return slipway.Record{}, u.err }

// shareConnections lets all targets and journeys of this process have what they
// need once: a relay looks at many of them for a long time.
func (p *program) shareConnections(mlflow string) {
	var mu sync.Mutex
	known, registries := map[string]*ports{}, p.wireRegistries(settings{mlflowURI: mlflow})
	p.connect = func(s settings) (*ports, error) {
		mu.Lock()
		defer mu.Unlock()
		if world, ok := known[s.targetText()]; ok {
			return world, nil
		}
		world := *registries
		switch err := p.wireTarget(&world, s); {
		case err != nil && s.to.Scheme == "kubernetes":
			world.journal = unreadJournal{err: err}
		case err != nil:
			return nil, err
		}
		known[s.targetText()] = &world
		return &world, nil
	}
}
