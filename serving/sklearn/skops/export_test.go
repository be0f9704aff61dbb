package skops

// ParseJSON and ParseLiteral are the readers of the two text formats inside a
// file, for their fuzz tests.
func ParseJSON(text string) error {
	_, err := parseJSON(text)
	return err
}

func ParseLiteral(text string) error {
	_, err := parseLiteral(text)
	return err
}
