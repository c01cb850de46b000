package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"orchestrator/daemon/api"
)

func (p *program) declaredCommands() []*cobra.Command {
	return []*cobra.Command{p.export(), p.importing()}
}

func (p *program) export() *cobra.Command {
	return &cobra.Command{Use: "export", Short: "Print all that was declared, for a backup: always as JSON", Args: cobra.NoArgs,
		Long: `Prints all that people have declared and that holds: downtimes, promotion rules, tags, aliases, what is forgotten, and that
recoveries are switched off. It is sorted, so that two of them can be compared, and "import" declares it again.`,
		Example: `  orchestrator-client export > declared.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := p.client.Declared(cmd.Context())
			if err != nil {
				return err
			}
			e := json.NewEncoder(p.env.out)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(d); err != nil {
				return fmt.Errorf("write the answer: %w", err)
			}
			return nil
		}}
}

func (p *program) importing() *cobra.Command {
	return &cobra.Command{Use: "import FILE", Short: `Declare all that is in a file which "export" has written; - is standard input`, Args: cobra.ExactArgs(1),
		Long: `Declares what is in the file, also of servers that are not known yet. What the file does not name stays as it is, recoveries are never switched on, and
downtimes that have ended meanwhile are left out. It can be run again at any time.`,
		Example: `  orchestrator-client import declared.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := readDeclared(cmd.InOrStdin(), args[0])
			if err != nil {
				return misuse("%v", err)
			}
			r, err := p.client.Declare(cmd.Context(), d)
			if err != nil {
				return err
			}
			return p.print(r, func(w io.Writer) {
				line(w, "%d declared, %d were so already, %d downtimes have ended meanwhile", r.Changed, r.Same, r.Over)
			})
		}}
}

// maxDeclared is more than any fleet declares, in bytes.
const maxDeclared = 64 << 20

func readDeclared(stdin io.Reader, file string) (d api.Declared, err error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return d, fmt.Errorf("read what was declared: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxDeclared))
	if err != nil {
		return d, fmt.Errorf("read what was declared: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return d, fmt.Errorf("read what was declared: %s: %w", file, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return d, fmt.Errorf("read what was declared: %s holds more than one JSON value", file)
	}
	return d, nil
}
