package mlflowtest

// ParseToken reads a page token.
var ParseToken = parseToken

// SafePath unquotes and checks a path as the proxy does.
var SafePath = safePath

// ParseVersionFilter parses a filter as model-versions/search does and returns
// how many clauses there are.
func ParseVersionFilter(filter string) (int, error) {
	clauses, err := parseFilter(filter, versionKeys)
	for _, c := range clauses {
		c.holds("value", true)
	}
	return len(clauses), err
}
