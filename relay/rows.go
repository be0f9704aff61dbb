package relay

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/slipway-dev/slipway"
)

// delivery is a webhook that was taken.
type delivery struct {
	ID       string
	Received time.Time
	Event    Event
	Result   string // "accepted", "ignored", "duplicate"; not stored
}

// keptFor is how long a delivery is remembered: one may be replayed while its
// timestamp is within the window, which reaches as far ahead as back.
const keptFor = 3 * replayWindow

// addDelivery stores the delivery; fresh is false where it was stored before.
func (s *store) addDelivery(ctx context.Context, d delivery) (fresh bool, err error) {
	err = s.update(ctx, func(tx *sql.Tx) error {
		done, err := tx.Exec("INSERT OR IGNORE INTO deliveries VALUES (?, ?, ?, ?, ?, ?)",
			d.ID, millis(d.Received), d.Event.Kind, string(d.Event.Name), d.Event.Alias, string(d.Event.Version))
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		fresh = n > 0
		return err
	})
	return fresh, err
}

// deliveries returns the last that were acted on, newest first.
func (s *store) deliveries(ctx context.Context) (all []delivery, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, received, kind, model, alias, version FROM deliveries ORDER BY received DESC LIMIT ?", shown)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		d := delivery{Result: "accepted"}
		var received int64
		if err := rows.Scan(&d.ID, &received, &d.Event.Kind, &d.Event.Name, &d.Event.Alias, &d.Event.Version); err != nil {
			return nil, err
		}
		d.Received = fromMillis(received)
		all = append(all, d)
	}
	return all, rows.Err()
}

// prune forgets what nobody asks for any more.
func (s *store) prune(ctx context.Context, now time.Time) error {
	return s.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM deliveries WHERE received < ?", millis(now.Add(-keptFor)))
		if err != nil {
			return err
		}
		_, err = tx.Exec("DELETE FROM starts WHERE id NOT IN (SELECT id FROM starts ORDER BY id DESC LIMIT ?)", shown)
		return err
	})
}

// putPromotion stores the promotion, and with it the start that it is at.
func (s *store) putPromotion(ctx context.Context, p Promotion) error {
	return s.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT OR REPLACE INTO promotions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", p.Model, p.Environment, string(p.Version),
			string(p.State), p.Start, millis(p.Tried), p.Attempts, millis(p.Since), millis(p.Changed), millis(p.Next), p.Where, p.Why)
		if err != nil || !p.tried() {
			return err
		}
		_, err = tx.Exec("INSERT INTO starts VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET place = excluded.place, why = excluded.why",
			p.Start, millis(p.Tried), p.Model, p.Environment, string(p.Version), p.Where, p.Why)
		return err
	})
}

// promotion returns what is stored of the model in the environment; nothing
// gives one without a state.
func (s *store) promotion(model, environment string) (Promotion, error) {
	p := Promotion{Model: model, Environment: environment}
	var tried, since, changed, next int64
	err := s.db.QueryRow("SELECT version, state, start, tried, attempts, since, changed, next, place, why FROM promotions WHERE model = ? AND environment = ?",
		model, environment).Scan(&p.Version, &p.State, &p.Start, &tried, &p.Attempts, &since, &changed, &next, &p.Where, &p.Why)
	if errors.Is(err, sql.ErrNoRows) {
		return p, nil
	}
	p.Tried = fromMillis(tried)
	p.Since, p.Changed, p.Next = fromMillis(since), fromMillis(changed), fromMillis(next)
	return p, err
}

// begun is a start as the page shows it.
type begun struct {
	ID, Model, Environment string
	Version                slipway.Version
	At                     time.Time
	Where, Why             string
}

// starts returns the last starts, newest first.
func (s *store) starts(ctx context.Context) (all []begun, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, at, model, environment, version, place, why FROM starts ORDER BY id DESC LIMIT ?", shown)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var b begun
		var at int64
		if err := rows.Scan(&b.ID, &at, &b.Model, &b.Environment, &b.Version, &b.Where, &b.Why); err != nil {
			return nil, err
		}
		b.At = fromMillis(at)
		all = append(all, b)
	}
	return all, rows.Err()
}
