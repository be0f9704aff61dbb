package serving

import (
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// bodyKind is the media type of a body.
type bodyKind uint8

const (
	jsonBody bodyKind = iota
	csvBody
)

// contentType reads the Content-Type header. The refusals are plain text with
// status 415, as from MLflow. A missing header, on which MLflow fails, is read
// as JSON, and on /predict so is what curl -d says by default.
func contentType(h http.Header, door door) (bodyKind, *refusal) {
	if encoding := h["Content-Encoding"]; len(encoding) > 0 && encoding[0] != "identity" {
		return 0, unsupported("The scoring server takes bodies that are not compressed.")
	}
	values := h["Content-Type"]
	if len(values) == 0 || values[0] == "application/json" || door == predict && values[0] == "application/x-www-form-urlencoded" {
		return jsonBody, nil
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil {
		media, _, _ = strings.Cut(values[0], ";")
		params = nil
	}
	for name, value := range params {
		if name != "charset" {
			return 0, unsupported(fmt.Sprintf("Unrecognized content type parameters: %s.", short(name, 40)))
		}
		if !strings.EqualFold(value, "utf-8") {
			return 0, unsupported("The scoring server only supports UTF-8")
		}
	}
	switch media {
	case "application/json":
		return jsonBody, nil
	case "text/csv":
		return csvBody, nil
	}
	return 0, unsupported(fmt.Sprintf("This predictor only supports the following content types: Types: ['text/csv', 'application/json']. Got '%s'.", short(media, 80)))
}

func unsupported(message string) *refusal {
	return &refusal{status: http.StatusUnsupportedMediaType, code: badRequest, class: classInvalid, message: message, plain: true}
}
