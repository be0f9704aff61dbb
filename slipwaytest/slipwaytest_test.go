package slipwaytest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/slipwaytest"
)

func TestMemoryJournal(t *testing.T) {
	t.Parallel()
	slipwaytest.Journal(t, func(*testing.T) slipwaytest.JournalFixture {
		j := slipwaytest.NewMemoryJournal()
		return slipwaytest.JournalFixture{
			Journal: j,
			Other:   j,
			Mortal: func(t *testing.T, holder string) func() {
				if _, err := j.Lock(t.Context(), slipway.Claim{Holder: holder}); err != nil {
					t.Fatal(err)
				}
				return j.Die
			},
			Plant: func(_ *testing.T, data []byte) { j.Plant(data) },
		}
	})
}

func TestMemoryTarget(t *testing.T) {
	t.Parallel()
	slipwaytest.Target(t, func(*testing.T) slipwaytest.TargetFixture {
		m := slipwaytest.NewMemoryTarget(2)
		bad := release(0)
		m.Behave(bad.Image.Digest, slipwaytest.GoldenDiffers())
		for n := 1; n <= 2; n++ {
			m.Behave(release(n).Image.Digest, slipwaytest.Behaviour{ReadyAfter: 10 * time.Millisecond, DrainFor: 10 * time.Millisecond})
		}
		return slipwaytest.TargetFixture{
			Target:  m,
			Other:   m,
			Good:    release,
			Bad:     func() slipway.Release { return release(0) },
			Restart: func(*testing.T) {}, // nothing but this test's memory runs it
		}
	})
}

func release(n int) slipway.Release {
	digit := string(rune('0' + n))
	return slipway.Release{
		SchemaVersion: slipway.RecordSchema,
		ID:            slipway.ReleaseID("01RELEASE" + digit),
		Model:         slipway.ModelVersion{Name: "iris", Version: slipway.Version(digit)},
		Image:         slipway.Image{Repository: "127.0.0.1:5000/iris", Digest: slipway.Digest("sha256:" + strings.Repeat(digit, 64))},
		Strategy:      slipway.Rolling(),
	}
}
