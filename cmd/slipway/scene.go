package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// scene is what a target looked like when it was last looked at, and until
// when the release may take.
type scene struct {
	observed slipway.Observation
	step     string
	release  slipway.ReleaseID // on its way
	deadline time.Time         // of its phase; zero: not known
}

func sceneOf(e slipway.Event) scene {
	return scene{observed: *e.Observation, step: e.Step, release: e.Release, deadline: e.Deadline}
}

// onTarget reports whether the step is one in which the target changes.
func onTarget(step string) bool { return step == "rollout" || step == "verify" || step == "rollback" }

// belongs reports whether the replica is of what the target is set to now: on
// the way back, of the release before.
func (s scene) belongs(r slipway.Replica) bool {
	return r.Release == cmp.Or(s.observed.Release, s.release)
}

// sorted returns the replicas that come, then those that go, by name: a line
// that jumps is hard to read.
func (s scene) sorted() (coming, going []slipway.Replica) {
	for _, r := range s.observed.Replicas {
		if s.belongs(r) {
			coming = append(coming, r)
		} else {
			going = append(going, r)
		}
	}
	byName := func(a, b slipway.Replica) int { return strings.Compare(a.Name, b.Name) }
	slices.SortStableFunc(coming, byName)
	slices.SortStableFunc(going, byName)
	return coming, going
}

func (s scene) ready() int {
	n := 0
	for _, r := range s.observed.Replicas {
		if s.belongs(r) && r.State == slipway.Ready {
			n++
		}
	}
	return n
}

// want is how many replicas there are to be; while a target starts one more
// than it wants, that many.
func (s scene) want() int {
	coming, _ := s.sorted()
	return max(s.observed.Want, len(coming))
}

// summary is "2 of 3 ready, 3 old"; nothing while the target is still set to
// what it served before.
func (s scene) summary() string {
	if s.step == "rollout" && s.observed.Release != "" && s.observed.Release != s.release {
		return ""
	}
	_, going := s.sorted()
	text := fmt.Sprintf("%d of %d ready", s.ready(), s.want())
	if len(going) > 0 {
		text += fmt.Sprintf(", %d old", len(going))
	}
	return text
}

// waitsFor is what holds the target up now: its own problem, else that of the
// first replica that has one, else the first that is not ready, else the first
// that has yet to go. Empty: nothing.
func (s scene) waitsFor(now time.Time) string {
	if p := s.observed.Problem; p != nil {
		return p.Message + leftText(p.HealBy, now)
	}
	coming, going := s.sorted()
	for _, r := range coming {
		if r.Problem != nil {
			return r.Name + ": " + about(r) + leftText(r.Problem.HealBy, now)
		}
	}
	for _, r := range coming {
		if r.State == slipway.Starting {
			return r.Name + " is starting" + since(r, now)
		}
	}
	for _, r := range going {
		if r.Serving {
			return fmt.Sprintf("%s of %s still receives requests", r.Name, r.Model)
		}
	}
	return ""
}

func since(r slipway.Replica, now time.Time) string {
	if r.Since.IsZero() || now.Before(r.Since) {
		return ""
	}
	return " for " + seconds(now.Sub(r.Since))
}

// leftText is " (2 m 05 s left)"; nothing where no end is known.
func leftText(until, now time.Time) string {
	switch {
	case until.IsZero():
		return ""
	case !now.Before(until):
		return " (time is up)"
	}
	return " (" + wholeSeconds(until.Sub(now)) + " left)"
}

// wholeSeconds writes how much time is left: it does not race through tenths.
func wholeSeconds(d time.Duration) string {
	d = d.Round(time.Second)
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d m %02d s", int(d.Minutes()), int(d.Seconds())%60)
}

// changes are the lines worth telling of what has changed since the scene
// before: who became ready, who waits for what, who failed, and that the last
// one of before is gone. Nobody needs a line for each look, nor for what was
// ready before the first one.
func (s scene) changes(before scene, now time.Time) []string {
	var lines []string
	if p := s.observed.Problem; p != nil && !alike(p, before.observed.Problem) {
		lines = append(lines, p.Message+leftText(p.HealBy, now))
	}
	was := map[string]slipway.Replica{}
	for _, r := range before.observed.Replicas {
		was[r.Name] = r
	}
	var ready []string
	coming, going := s.sorted()
	told := map[string]bool{} // one line for what several wait for
	for _, r := range before.observed.Replicas {
		told[about(r)] = true
	}
	for _, r := range coming {
		if r.State == slipway.Ready && was[r.Name].State != slipway.Ready && !before.observed.At.IsZero() {
			ready = append(ready, r.Name)
		}
		if r.Problem != nil && about(r) != about(was[r.Name]) && !told[about(r)] {
			told[about(r)] = true
			lines = append(lines, fmt.Sprintf("%s %s: %s%s", r.Name, verb(r), about(r), leftText(r.Problem.HealBy, now)))
		}
	}
	if len(ready) > 0 {
		lines = append([]string{fmt.Sprintf("%d of %d ready: %s", s.ready(), s.want(), names(ready))}, lines...)
	}
	if _, left := before.sorted(); receiving(left) > 0 && receiving(going) == 0 {
		lines = append(lines, "nothing else receives requests any more")
	}
	return lines
}

// about is the message of a replica's problem, without the replica's name.
func about(r slipway.Replica) string {
	if r.Problem == nil {
		return ""
	}
	if text, leads := strings.CutPrefix(r.Problem.Message, r.Name); leads {
		return strings.TrimLeft(text, ": ")
	}
	return strings.ReplaceAll(r.Problem.Message, " "+r.Name, " it")
}

// verb is what a replica with a problem does.
func verb(r slipway.Replica) string {
	if r.State == slipway.Failed || r.Problem != nil && !r.Problem.Heals {
		return "failed"
	}
	return "waits"
}

func receiving(replicas []slipway.Replica) int {
	n := 0
	for _, r := range replicas {
		if r.Serving {
			n++
		}
	}
	return n
}

// alike reports whether both problems say the same; until when does not count.
func alike(p, q *slipway.Problem) bool {
	return p != nil && q != nil && p.Kind == q.Kind && p.Message == q.Message
}

// namesShown is how many names a line has room for.
const namesShown = 5

func names(all []string) string {
	if len(all) <= namesShown {
		return strings.Join(all, ", ")
	}
	return strings.Join(all[:namesShown], ", ") + fmt.Sprintf(" and %d more", len(all)-namesShown)
}
