package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"orchestrator/daemon/drawing"
	"orchestrator/daemon/secret"
)

func newSnapshot() *cobra.Command {
	var api, file, tokenFile string
	snapshot := &cobra.Command{
		Use:   "snapshot",
		Short: "Save what a running daemon knows about its fleet now",
		Long: `Asks a running daemon for a snapshot of its fleet, and writes it to standard output or to a file. If
anything fails, the file stays as it was. "orchestrator analyze" reads the snapshot.`,
		Example: `  orchestrator snapshot -o before.json`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := readToken(tokenFile)
			if err != nil {
				return coded(exitUsage, err)
			}
			data, err := fetch(cmd.Context(), api, token)
			if err != nil {
				return err
			}
			if file == "-" {
				_, err = cmd.OutOrStdout().Write(data)
				return err
			}
			return replace(file, data)
		},
	}
	f := snapshot.Flags()
	first, _, _ := strings.Cut(os.Getenv("ORCHESTRATOR_API"), ",")
	f.StringVar(&api, "api", cmp.Or(strings.TrimSpace(first), "http://127.0.0.1:3000"),
		"`URL` of the daemon; by default the first in ORCHESTRATOR_API")
	f.StringVarP(&file, "out", "o", "-", "write to this `FILE`; \"-\" means standard output")
	f.StringVar(&tokenFile, "token-file", "", "`FILE` whose first line is the token for the daemon; by default, the "+
		"token is in ORCHESTRATOR_TOKEN")
	return snapshot
}

func readToken(file string) (string, error) {
	if file == "" {
		return os.Getenv("ORCHESTRATOR_TOKEN"), nil
	}
	token, err := secret.Own(file)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	return token, nil
}

// fetch asks the daemon, and verifies that the answer is a snapshot before anything is written.
func fetch(ctx context.Context, api, token string) ([]byte, error) {
	base, err := url.Parse(api)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, coded(exitUsage, fmt.Errorf("--api %q is not the URL of a daemon; use one such as "+
			"http://127.0.0.1:3000", api))
	}
	if base.User != nil {
		return nil, coded(exitUsage, fmt.Errorf("--api: anyone who lists processes can read a URL: give the token "+
			"with --token-file"))
	}
	where := base.JoinPath("api/v1/snapshot").String()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return nil, coded(exitUsage, err)
	}
	req.Header.Set("Accept", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, coded(exitUnreachable, fmt.Errorf("ask for a snapshot: %w; check that the daemon runs and "+
			"listens there, or name it with --api", err))
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxSnapshot+1))
	if err != nil {
		return nil, coded(exitUnreachable, fmt.Errorf("ask for a snapshot: read the answer of %s: %w", where, err))
	}
	if resp.StatusCode != http.StatusOK {
		return nil, coded(exitUnreachable, fmt.Errorf("ask for a snapshot: %s answers %s: %s", where, resp.Status,
			firstLine(data)))
	}
	if len(data) > maxSnapshot {
		return nil, coded(exitSnapshot, fmt.Errorf("the answer of %s is longer than %d bytes", where, maxSnapshot))
	}
	if _, err := drawing.Decode(data); err != nil {
		return nil, coded(exitSnapshot, fmt.Errorf("the answer of %s is not a snapshot: %w", where, err))
	}
	return data, nil
}

func firstLine(data []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(data)), "\n")
	if len(line) > 300 {
		line = line[:300] + "…"
	}
	return line
}

// replace writes a temporary file first, then renames it, so that the file is never incomplete.
func replace(file string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("save snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
			err = fmt.Errorf("save snapshot as %s: %w", file, err)
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
