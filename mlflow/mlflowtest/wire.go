package mlflowtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

const maxBody = 16 << 20 // bytes of a request to the API

// failure is an error in MLflow's JSON.
type failure struct {
	status int
	code   string
	text   string
}

func (f *failure) Error() string { return f.text }

func invalid(format string, args ...any) error {
	return &failure{http.StatusBadRequest, "INVALID_PARAMETER_VALUE", fmt.Sprintf(format, args...)}
}

func missing(format string, args ...any) error {
	return &failure{http.StatusNotFound, "RESOURCE_DOES_NOT_EXIST", fmt.Sprintf(format, args...)}
}

// errorClasses are the two fields beside code and message; 501 has none.
var errorClasses = map[string][2]string{
	"INVALID_PARAMETER_VALUE": {"KAM00", "INVALID_PARAMETER_VALUE"},
	"RESOURCE_ALREADY_EXISTS": {"KAM00", "RESOURCE_ALREADY_EXISTS"},
	"RESOURCE_DOES_NOT_EXIST": {"KAM00", "RESOURCE_NOT_FOUND"},
	"INTERNAL_ERROR":          {"XXM00", "CLIENT_INTERNAL_ERROR"},
}

// refuse answers with an error: in JSON if it is MLflow's own, else as the page
// of an unhandled exception.
func refuse(w http.ResponseWriter, err error) {
	var f *failure
	if !errors.As(err, &f) {
		brokenPage(w)
		return
	}
	body := struct {
		Code  string `json:"error_code"`
		Text  string `json:"message"`
		State string `json:"sqlstate,omitempty"`
		Class string `json:"error_class,omitempty"`
	}{Code: f.code, Text: f.text, State: errorClasses[f.code][0], Class: errorClasses[f.code][1]}
	respond(w, f.status, "application/json", string(ascii(encode(body, ""))))
}

// respond writes an answer with its length.
func respond(w http.ResponseWriter, status int, media, body string) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	io.WriteString(w, body) //nolint:errcheck // a client that went away is its own affair
}

func encode(v any, indent string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil { // only our own structs get here
		panic(err)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// ascii escapes what is not ASCII, as Python's json does.
func ascii(b []byte) []byte {
	var out []byte
	for _, r := range string(b) {
		if r < 0x80 {
			out = append(out, byte(r))
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			out = fmt.Appendf(out, "\\u%04x", u)
		}
	}
	return out
}

const pageHead = "<!doctype html>\n<html lang=en>\n"

func page(w http.ResponseWriter, status int, text string) {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	respond(w, status, "text/html; charset=utf-8",
		fmt.Sprintf("%s<title>%s</title>\n<h1>%s</h1>\n<p>%s</p>\n", pageHead, title, http.StatusText(status), text))
}

func notFoundPage(w http.ResponseWriter) {
	page(w, http.StatusNotFound, "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.")
}

func brokenPage(w http.ResponseWriter) {
	page(w, http.StatusInternalServerError, "The server encountered an internal error and was unable to complete your request. Either the server is overloaded or there is an error in the application.")
}

// params are a request's parameters: the query of a GET, else the JSON body.
type params struct {
	query url.Values
	body  map[string]json.RawMessage
}

func readParams(r *http.Request) (params, error) {
	if r.Method == http.MethodGet {
		return params{query: r.URL.Query()}, nil
	}
	if t := r.Header.Get("Content-Type"); t != "" {
		if media, _, err := mime.ParseMediaType(t); err != nil || media != "application/json" {
			return params{}, invalid("Bad Request. Content-Type must be one of ['application/json'].")
		}
	}
	var p params
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return p, invalid("%s", err)
	}
	if json.Unmarshal(data, &p.body) != nil {
		p.body = nil // MLflow takes a malformed body for an empty one
	}
	return p, nil
}

// text returns an optional string. A JSON value of another type is refused.
func (p params) text(key string) (string, error) {
	if p.query != nil {
		return p.query.Get(key), nil
	}
	raw, ok := p.body[key]
	var s string
	if !ok || json.Unmarshal(raw, &s) == nil {
		return s, nil
	}
	return "", invalid("Invalid value %s for parameter '%s' supplied:  Hint: Value was of type '%s'. "+
		"See the API docs for more information about request parameters.", raw, key, pythonType(raw))
}

func pythonType(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "dict"
	case '[':
		return "list"
	case 't', 'f':
		return "bool"
	case 'n':
		return "NoneType"
	}
	if bytes.ContainsAny(raw, ".eE") {
		return "float"
	}
	return "int"
}

// texts returns required strings.
func (p params) texts(keys ...string) ([]string, error) {
	var values []string
	for _, key := range keys {
		v, err := p.text(key)
		if err != nil {
			return nil, err
		}
		if v == "" {
			return nil, invalid("Missing value for required parameter '%s'. See the API docs for more information about request parameters.", key)
		}
		values = append(values, v)
	}
	return values, nil
}

func (p params) list(key string) []string {
	if p.query != nil {
		return p.query[key]
	}
	var values []string
	if json.Unmarshal(p.body[key], &values) != nil {
		return nil
	}
	return values
}

func (p params) bool(key string) bool {
	if p.query != nil {
		return strings.EqualFold(p.query.Get(key), "true")
	}
	return string(p.body[key]) == "true"
}

// number returns a whole number from 1 to limit.
func (p params) number(key string, otherwise, limit int) (int, error) {
	raw := p.query.Get(key)
	if p.query == nil {
		raw = string(p.body[key])
	}
	if raw == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(raw)
	if err != nil || n < 1 || n > limit {
		return 0, invalid("Invalid value \"%s\" for parameter '%s' supplied:  Hint: Value was of type 'str'. "+
			"See the API docs for more information about request parameters.", raw, key)
	}
	return n, nil
}

func (p params) tags(key string) []keyValue {
	var tags []keyValue
	if json.Unmarshal(p.body[key], &tags) != nil {
		return nil
	}
	return tags
}

type keyValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// set returns the tags with the key's value replaced, or added at the end.
func set(tags []keyValue, key, value string) []keyValue {
	if i := slices.IndexFunc(tags, func(t keyValue) bool { return t.Key == key }); i >= 0 {
		tags[i].Value = value
		return tags
	}
	return append(tags, keyValue{key, value})
}
