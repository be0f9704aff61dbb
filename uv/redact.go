package uv

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var (
	userInfo = regexp.MustCompile(`://[^/\s"'` + "`" + `]*@`)
	query    = regexp.MustCompile(`(://[^\s?"'` + "`" + `)]*)\?[^\s"'` + "`" + `)]*`)
	anyURL   = regexp.MustCompile(`[a-z][a-z0-9+.-]*://\S+`)
)

// secretsOf returns what must never be told of the variables: the passwords,
// users and query values of their URLs, and the passwords of named indexes.
func secretsOf(vars map[string]string) []string {
	var secrets []string
	for name, value := range vars {
		if indexCredentials.MatchString(name) {
			secrets = append(secrets, value)
		}
		for _, text := range anyURL.FindAllString(value, -1) {
			u, err := url.Parse(text)
			if err != nil || u.User == nil {
				continue
			}
			if password, ok := u.User.Password(); ok {
				secrets = append(secrets, password, url.QueryEscape(password))
			} else {
				secrets = append(secrets, u.User.Username()) // a token as the user
			}
		}
	}
	secrets = slices.DeleteFunc(secrets, func(s string) bool { return len(s) < 4 })
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(secrets)
}

// redact takes users, passwords and queries out of a text, whether they stand
// in a URL or alone.
func (e environment) redact(text string) string {
	text = userInfo.ReplaceAllString(text, "://")
	text = query.ReplaceAllString(text, "$1")
	for _, secret := range e.secrets {
		text = strings.ReplaceAll(text, secret, "****")
	}
	return text
}
