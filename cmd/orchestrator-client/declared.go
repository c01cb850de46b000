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
	return &cobra.Command{Use: "export", Short: "Print all declarations, for a backup: always as JSON",
		Args: cobra.NoArgs,
		Long: `Prints all current declarations: downtimes, promotion rules, tags, aliases, forgotten servers, and
recoveries switched off. The output is sorted, so you can compare two of them. "import" makes the
declarations again.`,
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
	return &cobra.Command{Use: "import FILE",
		Short: `Make all declarations in a file of "export" again; - means standard input`, Args: cobra.ExactArgs(1),
		Long: `Makes the declarations in the file, even for servers that are not known yet. Other declarations stay. It
never switches recoveries on, and skips downtimes that have expired. You can run it again at any time.`,
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
				line(w, "%d declared, %d unchanged, %d downtimes expired meanwhile", r.Changed, r.Same, r.Over)
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
			return d, fmt.Errorf("read the declarations: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxDeclared))
	if err != nil {
		return d, fmt.Errorf("read the declarations: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return d, fmt.Errorf("read the declarations: %s: %w", file, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return d, fmt.Errorf("read the declarations: %s contains more than one JSON value", file)
	}
	return d, nil
}
