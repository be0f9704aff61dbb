// Command bare is the least a Go program can do with a prediction request: it
// decodes the JSON and encodes an answer of the same shape with encoding/json.
// The bench holds the model server against it.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
)

type request struct {
	Split struct {
		Columns []string `json:"columns"`
		Data    [][]any  `json:"data"`
	} `json:"dataframe_split"`
}

type reply struct {
	Predictions []string `json:"predictions"`
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	fmt.Fprintln(os.Stderr, http.Serve(l, http.HandlerFunc(answer)))
}

func answer(w http.ResponseWriter, r *http.Request) {
	var in request
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := reply{Predictions: make([]string, len(in.Split.Data))}
	for i := range out.Predictions {
		out.Predictions[i] = "setosa"
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(out); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
