package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Prometheus is one real Prometheus.
type Prometheus struct {
	process
	URL string
	dir string
}

// StartPrometheus starts one with a configuration, and files that stand beside it. It returns when it is ready. Close
// ends it.
func (l *Lab) StartPrometheus(ctx context.Context, config string, files map[string]string) (*Prometheus, error) {
	number, err := l.number()
	if err != nil {
		return nil, err
	}
	address := l.address(number) + ":9090"
	p := &Prometheus{URL: "http://" + address, dir: filepath.Join(l.dir, fmt.Sprintf("prometheus-%d", number)),
		process: process{lab: l, what: "Prometheus at " + address, number: uint32(number)}}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	file := filepath.Join(p.dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	output, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	if err := p.run("", output, "prometheus", "--config.file="+file, "--storage.tsdb.path="+
		filepath.Join(p.dir, "data"), "--web.listen-address="+address); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return p, p.await(ctx, func(ctx context.Context) error { return p.Get(ctx, "/-/ready", nil, nil) }, p.Log)
}

// Get asks its API, and decodes the data of the answer into data, which may be nil.
func (p *Prometheus) Get(ctx context.Context, path string, query url.Values, data any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, answer.Status, text)
	}
	if err != nil || data == nil {
		return err
	}
	return json.Unmarshal(text, &struct {
		Data any `json:"data"`
	}{data})
}

// Sample is one series of the answer to a query, at one moment.
type Sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

// Query asks for an expression as it is now; an error is Prometheus' own, if it can't read the expression.
func (p *Prometheus) Query(ctx context.Context, expression string) ([]Sample, error) {
	var data struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	}
	if err := p.Get(ctx, "/api/v1/query", url.Values{"query": {expression}}, &data); err != nil ||
		data.Type != "vector" {
		return nil, err
	}
	var out []Sample
	return out, json.Unmarshal(data.Result, &out)
}

// QueryRange asks for an expression over the last minutes, and says how many series there are.
func (p *Prometheus) QueryRange(ctx context.Context, expression string, over time.Duration) (int, error) {
	now := time.Now()
	at := func(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000) }
	var data struct {
		Result []json.RawMessage `json:"result"`
	}
	err := p.Get(ctx, "/api/v1/query_range", url.Values{"query": {expression}, "start": {at(now.Add(-over))},
		"end": {at(now)}, "step": {"5"}}, &data)
	return len(data.Result), err
}

// Log is all that it has said.
func (p *Prometheus) Log() string {
	text, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return tail(string(text))
}

// Close kills it.
func (p *Prometheus) Close() error { return p.end() }
