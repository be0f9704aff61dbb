package mlflowtest

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// clause is one comparison of a filter.
type clause struct {
	key, op, value string
}

var (
	clausePattern = regexp.MustCompile("(?is)^\\s*(tags?\\.(?:`[^`]+`|[^\\s=!<>]+)|\\w+)\\s*(=|!=|>=|<=|>|<|LIKE\\b|ILIKE\\b)\\s*(.+?)\\s*$")
	andPattern    = regexp.MustCompile(`(?i)\s+and\s+`)
	wordPattern   = regexp.MustCompile(`(?i)^[^'"]*?'?[^'"]*'?\s+(or|not|xor)\s`)
)

// parseFilter reads comparisons joined by and.
func parseFilter(filter string, keys []string) ([]clause, error) {
	if strings.TrimSpace(filter) == "" {
		return nil, nil
	}
	if m := wordPattern.FindStringSubmatch(filter); m != nil {
		return nil, invalid("Invalid clause(s) in filter string: %s", m[1])
	}
	var clauses []clause
	for _, part := range andPattern.Split(filter, -1) {
		m := clausePattern.FindStringSubmatch(part)
		if m == nil {
			return nil, invalid("Invalid clause(s) in filter string: %s", strings.TrimSpace(part))
		}
		c := clause{key: m[1], op: strings.ToUpper(m[2]), value: m[3]}
		if err := c.check(keys); err != nil {
			return nil, err
		}
		clauses = append(clauses, c)
	}
	return clauses, nil
}

func (c *clause) check(keys []string) error {
	if tag, ok := cutAny(c.key, "tags.", "tag."); ok {
		c.key = "tags." + strings.Trim(tag, "`")
	} else if !slices.Contains(keys, c.key) {
		return invalid("Invalid attribute key '%s' specified. Valid keys are '{'%s'}'", c.key, strings.Join(keys, "', '"))
	}
	if c.key == "version_number" {
		c.value = strings.Trim(c.value, `'"`)
		return nil
	}
	if n := len(c.value); n >= 2 && (c.value[0] == '\'' || c.value[0] == '"') && c.value[n-1] == c.value[0] {
		c.value = c.value[1 : n-1]
		return nil
	}
	return invalid("Parameter value is either not quoted or unidentified quote types used for string value %s. Use either single or double quotes.", c.value)
}

// holds compares the value of the clause's key; present is false for a tag
// that is not set, which then matches nothing.
func (c clause) holds(value string, present bool) bool {
	if !present {
		return false
	}
	switch c.op {
	case "=":
		return value == c.value
	case "!=":
		return value != c.value
	case "LIKE":
		return like(c.value, value)
	case "ILIKE":
		return like(strings.ToLower(c.value), strings.ToLower(value))
	}
	a, err1 := strconv.Atoi(value)
	b, err2 := strconv.Atoi(c.value)
	return err1 == nil && err2 == nil && ((c.op == "<" && a < b) || (c.op == ">" && a > b) || (c.op == "<=" && a <= b) || (c.op == ">=" && a >= b))
}

// like is SQL's: % for any characters, _ for one.
func like(pattern, value string) bool {
	expr := strings.NewReplacer("%", ".*", "_", ".").Replace(regexp.QuoteMeta(pattern))
	return regexp.MustCompile("(?s)^" + expr + "$").MatchString(value)
}

func tagValue(tags []keyValue, key string) (string, bool) {
	for _, t := range tags {
		if t.Key == key {
			return t.Value, true
		}
	}
	return "", false
}

var versionKeys = []string{"name", "run_id", "version_number", "source_path"}

func (s *Server) searchVersions(p params) (any, error) {
	clauses, err := parseFilter(p.query.Get("filter"), versionKeys)
	if err != nil {
		return nil, err
	}
	ascending, err := versionOrder(p.list("order_by"))
	if err != nil {
		return nil, err
	}
	var found []*wireVersion
	for _, name := range s.state.modelNames() {
		m := s.state.models[name]
		versions := slices.Clone(m.versions)
		if !ascending {
			slices.Reverse(versions)
		}
		for _, v := range versions {
			if !isPrompt(v) && matches(clauses, m, v) {
				found = append(found, m.wireVersion(v, false))
			}
		}
	}
	found, next, err := cutPage(found, p, 10_000, 200_000)
	if err != nil {
		return nil, err
	}
	return manyVersions{Versions: found, Next: next}, nil
}

func matches(clauses []clause, m *model, v *version) bool {
	values := map[string]string{"name": m.name, "run_id": v.runID, "version_number": strconv.Itoa(v.number), "source_path": v.source}
	for _, c := range clauses {
		value, present := values[c.key]
		if tag, ok := strings.CutPrefix(c.key, "tags."); ok {
			value, present = tagValue(v.tags, tag)
		}
		if !c.holds(value, present) {
			return false
		}
	}
	return true
}

// versionOrder knows the orders by number; names always ascend.
func versionOrder(order []string) (ascending bool, err error) {
	for _, o := range order {
		key, direction, _ := strings.Cut(strings.TrimSpace(o), " ")
		switch key {
		case "version_number":
			ascending = !strings.EqualFold(strings.TrimSpace(direction), "desc")
		case "name", "creation_timestamp", "last_updated_timestamp":
		default:
			return false, invalid("Invalid attribute key '%s' specified. Valid keys are '{'version_number', 'creation_timestamp', 'last_updated_timestamp', 'name'}'", key)
		}
	}
	return ascending, nil
}

func (s *state) modelNames() []string {
	var names []string
	for name := range s.models {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s *Server) searchModels(p params) (any, error) {
	clauses, err := parseFilter(p.query.Get("filter"), []string{"name"})
	if err != nil {
		return nil, err
	}
	var found []*wireModel
	for _, name := range s.state.modelNames() {
		m := s.state.models[name]
		prompt := slices.Contains(m.tags, keyValue{"mlflow.prompt.is_prompt", "true"})
		if !prompt && !slices.ContainsFunc(clauses, func(c clause) bool { return c.key == "name" && !c.holds(name, true) }) {
			found = append(found, m.wire())
		}
	}
	found, next, err := cutPage(found, p, 100, 1000)
	if err != nil {
		return nil, err
	}
	return struct {
		Models []*wireModel `json:"registered_models,omitempty"`
		Next   string       `json:"next_page_token,omitempty"`
	}{found, next}, nil
}

// cutPage returns the page that the token names and the next one's token:
// base64 of {"offset": N}, so what is added meanwhile shifts the pages.
func cutPage[T any](all []T, p params, size, limit int) ([]T, string, error) {
	size, err := p.number("max_results", size, limit)
	if err != nil {
		return nil, "", err
	}
	offset, err := parseToken(p.query.Get("page_token"))
	if err != nil {
		return nil, "", err
	}
	all = all[min(offset, len(all)):]
	if len(all) <= size {
		return all, "", nil
	}
	return all[:size], base64.StdEncoding.EncodeToString([]byte(`{"offset": ` + strconv.Itoa(offset+size) + `}`)), nil
}

func parseToken(token string) (int, error) {
	if token == "" {
		return 0, nil
	}
	data, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return 0, invalid("Invalid page token, could not base64-decode")
	}
	var t struct {
		Offset *int `json:"offset"`
	}
	if json.Unmarshal(data, &t) != nil || t.Offset == nil || *t.Offset < 0 {
		return 0, invalid("Invalid page token, parsed value=%q", data)
	}
	return *t.Offset, nil
}
