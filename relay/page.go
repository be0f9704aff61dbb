package relay

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock": func(t time.Time) string {
		if t.IsZero() {
			return "–"
		}
		return t.UTC().Format("2 Jan 15:04:05")
	},
	"link": linkable,
}).Parse(pageText))

// linkable reports whether a run's address is one to click on.
func linkable(where string) bool {
	u, err := url.Parse(where)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http")
}

// page shows a person what was received, what was started, and what waits.
func (r *Relay) page(w http.ResponseWriter) {
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, map[string]any{
		"Now": time.Now(), "Promotions": r.Promotions(), "Starts": r.begun.list(), "Deliveries": r.seen.list(),
		"Storing": !r.store.broken.Load(), "Poll": r.config.Poll.String(),
	})
	if err != nil {
		r.config.Log.Error("writing the page", "error", err.Error())
		reply(w, http.StatusInternalServerError, "the page cannot be written")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // whoever left needs no page
}
