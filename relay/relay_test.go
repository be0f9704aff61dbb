package relay_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/relay"
)

// bubble runs a test on a clock of its own.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, f)
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func stateOf(r *relay.Relay) relay.State { return r.Promotions()[0].State }

// A stage sends nothing, and neither does a delivery that is lost: the poll
// finds both.
func TestPollFindsWhatNobodySent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		r, _ := running(t, w.watching(t, "models:/iris/Production"))
		pass(time.Minute)
		w.promote("models:/iris/Production", "1")
		pass(31 * time.Second)
		if w.started() != "1" || stateOf(r) != relay.Started {
			t.Errorf("started %q, %s", w.started(), stateOf(r))
		}
		pass(time.Hour)
		w.set(func() { w.outlook["models:/iris/Production"] = relay.Outlook{Prospect: relay.Nothing} })
		pass(10 * time.Minute)
		if w.started() != "1" || stateOf(r) != relay.Live {
			t.Errorf("started %q, %s", w.started(), stateOf(r))
		}
	})
}

// MLflow may be away for an hour: the relay catches up by itself.
func TestMLflowDownForAnHour(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.down = slipway.Errorf(slipway.Unavailable, "resolving", "connection refused")
		r, _ := running(t, w.watching(t, iris))
		w.promote(iris, "1")
		pass(time.Hour)
		if page := ask(r, httptest.NewRequest(http.MethodGet, "/", nil)).Body.String(); w.started() != "" || !strings.Contains(page, "connection refused") {
			t.Errorf("started %q; the page: %s", w.started(), page)
		}
		w.set(func() { w.down = nil })
		pass(31 * time.Second)
		if w.started() != "1" {
			t.Errorf("started %q", w.started())
		}
	})
}

func TestHeldQuarantinedAndBehindStayQuiet(t *testing.T) {
	for _, tt := range []struct {
		prospect relay.Prospect
		then     string // started once the target lets releases through
	}{{relay.Frozen, "1"}, {relay.Behind, "1"}, {relay.Refused, ""}} {
		t.Run(string(tt.prospect), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld()
				w.outlook[iris] = relay.Outlook{Prospect: tt.prospect}
				w.promote(iris, "1")
				r, _ := running(t, w.watching(t, iris))
				for i := range 10 {
					ask(r, delivery(fmt.Sprint(i), secret, time.Now(), moved("iris", "champion", "1")))
					pass(time.Minute)
				}
				w.set(func() { w.outlook[iris] = relay.Outlook{Prospect: relay.Unknown} })
				pass(10 * time.Minute) // a blip
				if w.started() != "" {
					t.Errorf("started %q", w.started())
				}
				w.set(func() { delete(w.outlook, iris) })
				pass(time.Minute)
				if w.started() != tt.then {
					t.Errorf("then started %q, want %q", w.started(), tt.then)
				}
			})
		})
	}
}

// What is live stays so while somebody holds its target, whatever else befalls it.
func TestLiveOnAHeldTarget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.promote(iris, "1")
		w.outlook[iris] = relay.Outlook{Prospect: relay.Nothing}
		r, _ := running(t, w.watching(t, iris))
		for _, p := range []relay.Prospect{relay.Nothing, relay.Frozen, relay.Unknown} {
			w.set(func() { w.outlook[iris] = relay.Outlook{Prospect: p} })
			pass(10 * time.Minute)
		}
		if w.started() != "" || stateOf(r) != relay.Live {
			t.Errorf("started %q, %s", w.started(), stateOf(r))
		}
	})
}

// That a target cannot be asked is told once, and is on the page as long as it is so.
func TestTargetThatCannotBeAskedIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const why = "the target cannot be asked: no kubeconfig; set KUBECONFIG"
		w := newWorld()
		w.promote(iris, "1")
		w.outlook[iris] = relay.Outlook{Prospect: relay.Unknown, Why: why}
		var log bytes.Buffer
		c := w.watching(t, iris)
		c.Log = slog.New(slog.NewJSONHandler(&log, nil))
		r, stop := running(t, c)
		pass(30 * time.Minute)
		page := func() string { return ask(r, httptest.NewRequest(http.MethodGet, "/", nil)).Body.String() }
		if !strings.Contains(page(), why) {
			t.Errorf("it is not on the page:\n%s", page())
		}
		w.set(func() { delete(w.outlook, iris) })
		pass(10 * time.Minute)
		if strings.Contains(page(), why) {
			t.Errorf("it is still on the page:\n%s", page())
		}
		stop()
		if n := strings.Count(log.String(), why); n != 1 {
			t.Errorf("it is told %d times:\n%s", n, log.String())
		}
	})
}

// later is an error of a host that wants to be left alone.
type later time.Duration

func (l later) Error() string             { return "429" }
func (l later) RetryAfter() time.Duration { return time.Duration(l) }

func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name      string
		err       error
		taken     bool // although it said so
		tries     int  // within ten minutes
		nextAfter time.Duration
	}{
		{"401 backs off", &slipway.Error{Code: slipway.Unauthorized}, false, 7, 5 * time.Second},
		{"5xx asks first", &slipway.Error{Code: slipway.Unavailable}, false, 7, 20 * time.Second},
		{"taken, but the answer was lost", &slipway.Error{Code: slipway.Unavailable}, true, 1, 0},
		{"429 is left alone", &slipway.Error{Code: slipway.Unavailable, Err: later(4 * time.Minute)}, false, 3, 4 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld()
				var tried []time.Time
				w.answer = func(relay.Start) (bool, error) { tried = append(tried, time.Now()); return tt.taken, tt.err }
				w.promote(iris, "1")
				r, stop := running(t, w.watching(t, iris))
				pass(10*time.Minute - time.Second)
				stop()
				if len(tried) != tt.tries {
					t.Fatalf("tried %d times, want %d: %v; %+v", len(tried), tt.tries, tried, r.Promotions())
				}
				if tt.tries > 1 {
					if got := tried[1].Sub(tried[0]); got < tt.nextAfter || got > tt.nextAfter+30*time.Second {
						t.Errorf("tried again after %v, want %v", got, tt.nextAfter)
					}
				} else if stateOf(r) != relay.Started {
					t.Errorf("it is %s", stateOf(r))
				}
			})
		})
	}
}

// A person who looks at the page reads what mends a start that fails.
func TestPageSaysWhatMends(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.answer = func(relay.Start) (bool, error) {
			return false, (&slipway.Error{Code: slipway.Unauthorized, Message: "no right"}).WithHint("give the token Contents: write")
		}
		w.promote(iris, "1")
		r, _ := running(t, w.watching(t, iris))
		pass(time.Second)
		page := ask(r, httptest.NewRequest(http.MethodGet, "/", nil)).Body.String()
		if n := strings.Count(page, "no right; give the token Contents: write"); n != 2 { // what is promoted, and what was started
			t.Errorf("it is there %d times:\n%s", n, page)
		}
	})
}

// What waits for others after a start that failed is not asked about without end.
func TestFailedThenHeld(t *testing.T) {
	for _, prospect := range []relay.Prospect{relay.Frozen, relay.Behind, relay.Nothing, relay.Refused, relay.Unknown} {
		t.Run(string(prospect), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld()
				w.answer = func(relay.Start) (bool, error) {
					return false, &slipway.Error{Code: slipway.Unauthorized, Message: "401"}
				}
				w.promote(iris, "1")
				running(t, w.watching(t, iris))
				synctest.Wait()
				w.set(func() { w.outlook[iris] = relay.Outlook{Prospect: prospect} })
				pass(10 * time.Minute)
				w.set(func() {
					if w.looks > 40 { // 20 polls, and a few tries
						t.Errorf("%d looks", w.looks)
					}
				})
			})
		})
	}
}

// A host has its time to list a run from when it may have taken it, however long
// the call was.
func TestAsksOnlyAfterTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		var answered time.Time
		w.answer = func(relay.Start) (bool, error) {
			<-time.After(25 * time.Second)
			answered = time.Now()
			return true, &slipway.Error{Code: slipway.Unavailable}
		}
		w.promote(iris, "1")
		r, _ := running(t, w.watching(t, iris))
		pass(5 * time.Minute)
		if len(w.finds) != 1 || w.finds[0].Sub(answered) < 20*time.Second || stateOf(r) != relay.Started {
			t.Errorf("answered %v, asked %v, %s", answered, w.finds, stateOf(r))
		}
	})
}

// What cannot be told is started again, under the same identifier.
func TestStartsAgainWhatCannotBeTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.answer = func(relay.Start) (bool, error) {
			w.set(func() { w.answer = nil })
			return true, &slipway.Error{Code: slipway.Unavailable}
		}
		w.blind = &slipway.Error{Code: slipway.Unauthorized, Message: "no right to read"}
		w.promote(iris, "1")
		r, _ := running(t, w.watching(t, iris))
		pass(5 * time.Minute)
		if w.started() != "1 1" || w.runs[0].ID != w.runs[1].ID || stateOf(r) != relay.Started {
			t.Errorf("started %q: %v, %s", w.started(), w.runs, stateOf(r))
		}
	})
}

// A host that limits requests is not asked for runs either.
func TestLimitIsForQuestionsToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.answer = func(s relay.Start) (bool, error) {
			<-time.After(map[slipway.ModelName]time.Duration{"wine": 5 * time.Second}[s.Model.Name])
			return true, &slipway.Error{Code: slipway.Unavailable}
		}
		w.blind = &slipway.Error{Code: slipway.Unavailable, Err: later(10 * time.Minute)}
		w.promote(iris, "1")
		w.promote("models:/wine@champion", "1")
		running(t, w.watching(t, iris, "models:/wine@champion"))
		pass(9 * time.Minute)
		if len(w.finds) != 1 {
			t.Errorf("the host was asked %v", w.finds)
		}
		w.set(func() { w.blind = nil })
		pass(5 * time.Minute)
		if len(w.finds) != 3 {
			t.Errorf("then it was asked %v", w.finds)
		}
	})
}

// One model's 429 keeps the others of its repository waiting, too.
func TestLimitIsTheHosts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		tries := 0
		w.answer = func(relay.Start) (bool, error) {
			tries++
			return false, &slipway.Error{Code: slipway.Unavailable, Err: later(5 * time.Minute)}
		}
		w.promote(iris, "1")
		r, _ := running(t, w.watching(t, iris, "models:/wine@champion"))
		pass(time.Minute)
		w.promote("models:/wine@champion", "1")
		ask(r, delivery("a", secret, time.Now(), moved("wine", "champion", "1")))
		pass(time.Minute)
		if tries != 1 {
			t.Errorf("the host was asked %d times", tries)
		}
		w.set(func() { w.answer = nil })
		pass(5 * time.Minute)
		if got := w.started(); got != "1 1" {
			t.Errorf("then started %q", got)
		}
	})
}

// A relay that ended between storing and hearing asks before it starts again.
func TestRestartAsksWhatWasTaken(t *testing.T) {
	for _, taken := range []bool{true, false} {
		t.Run(fmt.Sprint(taken), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld()
				c := w.watching(t, iris)
				r := open(t, c)
				w.answer = func(relay.Start) (bool, error) {
					return taken, r.Close() // as if killed
				}
				w.promote(iris, "1")
				ctx, cancel := contextOf(t)
				done := make(chan struct{})
				go func() { r.Run(ctx); close(done) }()
				synctest.Wait()
				cancel()
				<-done
				w.set(func() { w.answer = nil })
				again, _ := running(t, c)
				if s := stateOf(again); s != relay.Starting {
					t.Fatalf("what is stored is %s", s)
				}
				pass(2 * time.Minute)
				if w.started() != "1" || stateOf(again) != relay.Started {
					t.Errorf("started %q, %s", w.started(), stateOf(again))
				}
			})
		})
	}
}

// The page of a relay shows what it has found, and what the one before it has received and tried.
func TestPageRemembers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.answer = func(s relay.Start) (bool, error) {
			if s.Model.Name == "wine" {
				return false, (&slipway.Error{Code: slipway.Unauthorized, Message: "no right"})
			}
			return true, &slipway.Error{Code: slipway.Unavailable, Message: "no answer"}
		}
		c := w.watching(t, iris, "models:/wine@champion")
		w.promote(iris, "1")
		w.promote("models:/wine@champion", "7")
		r, stop := running(t, c)
		ask(r, delivery("a", secret, time.Now(), moved("wine", "champion", "7")))
		pass(time.Minute)
		began := func(r *relay.Relay) string {
			_, page, _ := strings.Cut(ask(r, httptest.NewRequest(http.MethodGet, "/", nil)).Body.String(), "What was started")
			return page
		}
		check := func(name, page string) {
			if !strings.Contains(page, `href="https://ci.example/`) || strings.Contains(page, "no answer") || !strings.Contains(page, "no right") ||
				!strings.Contains(page, "wine@champion → 7") {
				t.Errorf("%s:\n%s", name, page)
			}
		}
		check("found", began(r))
		stop()
		again := open(t, c)
		defer shut(t, again)
		check("after a restart", began(again))
	})
}

// What was started, or is live, is remembered over a restart.
func TestRestartStartsNothingAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		c := w.watching(t, iris)
		w.promote(iris, "1")
		for range 3 {
			_, stop := running(t, c)
			pass(5 * time.Minute)
			stop()
		}
		if w.started() != "1" {
			t.Errorf("started %q", w.started())
		}
	})
}
