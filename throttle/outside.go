package throttle

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// File is a signal: as long as a file exists, nobody copies.
type File struct{ Path string }

// Read looks for the file.
func (f File) Read(context.Context) (Reading, error) {
	_, err := os.Stat(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Reading{}, nil
	case err != nil:
		return Reading{}, err
	}
	return Reading{Load: 1, Reason: "the file " + f.Path + " exists"}, nil
}

// HTTP is a signal: a server of the user's says whether to go on. An answer of class 2xx says so, any other one says no.
type HTTP struct {
	URL    string
	Client *http.Client // nil: http.DefaultClient
}

// Read asks once. The first line of a refusal is its reason.
func (h HTTP) Read(ctx context.Context) (Reading, error) {
	body, status, err := get(ctx, h.Client, h.URL)
	if err != nil {
		return Reading{}, err
	}
	defer body.Close()
	if status/100 == 2 {
		return Reading{}, nil
	}
	reason := fmt.Sprintf("%s answers %d", bare(h.URL), status)
	if line, _ := bufio.NewReader(io.LimitReader(body, 200)).ReadString('\n'); strings.TrimSpace(line) != "" {
		reason += ": " + strings.TrimSpace(line)
	}
	return Reading{Load: 1, Reason: reason}, nil
}

// Prometheus asks a Prometheus server for the value of a query now; see Gauge.
type Prometheus struct {
	URL    string // of the server, such as http://prometheus:9090
	Query  string
	Client *http.Client // nil: http.DefaultClient
}

// Ask answers the elements of an instant vector under their labels, or a scalar. No data is an error: a metric that is not
// there says nothing good.
func (p Prometheus) Ask(ctx context.Context) ([]Figure, error) {
	body, status, err := get(ctx, p.Client, strings.TrimSuffix(p.URL, "/")+"/api/v1/query?query="+url.QueryEscape(p.Query))
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.NewDecoder(io.LimitReader(body, 1<<20)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s answers %d, and no JSON: %w", bare(p.URL), status, err)
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s answers %d: %s", bare(p.URL), status, answer.Error)
	}
	switch answer.Data.ResultType {
	case "scalar":
		var v sample
		if err := json.Unmarshal(answer.Data.Result, &v); err != nil {
			return nil, err
		}
		return []Figure{{Value: float64(v)}}, nil
	case "vector":
		return vector(answer.Data.Result)
	}
	return nil, fmt.Errorf("the query answers a %s, expected a scalar or an instant vector", answer.Data.ResultType)
}

func vector(result json.RawMessage) ([]Figure, error) {
	var elements []struct {
		Metric map[string]string
		Value  sample
	}
	if err := json.Unmarshal(result, &elements); err != nil {
		return nil, err
	}
	if len(elements) == 0 {
		return nil, errors.New("the query answers no data")
	}
	var out []Figure
	for _, e := range elements {
		name := e.Metric["instance"]
		if name == "" {
			name = e.Metric["__name__"]
		}
		out = append(out, Figure{name, float64(e.Value)})
	}
	return out, nil
}

// sample is a value as the HTTP API of Prometheus writes it: [1435781451.781, "1"].
type sample float64

func (s *sample) UnmarshalJSON(text []byte) error {
	var pair [2]any
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	word, _ := pair[1].(string)
	v, err := strconv.ParseFloat(word, 64)
	*s = sample(v)
	return err
}

func get(ctx context.Context, client *http.Client, address string) (io.ReadCloser, int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, err
	}
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(request)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok { // its text has the whole address, and with it perhaps a password
			err = fmt.Errorf("%s: %w", bare(address), wrapped.Err)
		}
		return nil, 0, err
	}
	return answer.Body, answer.StatusCode, nil
}

// bare is an address without what may be secret in it.
func bare(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the address"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
