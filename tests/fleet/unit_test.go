package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Programs without a package get the same service: the same sandbox, the same limits.
func TestTheUnitOfTheRoleIsThatOfThePackage(t *testing.T) {
	shipped, err := os.ReadFile(filepath.Join(repo, "cmd", "package", "orchestrator.service"))
	must(t, err)
	template, err := os.ReadFile(filepath.Join(repo, "ansible", "roles", "orchestrator", "templates",
		"orchestrator.service.j2"))
	must(t, err)
	whole := strings.ReplaceAll(string(template), "{{\n  ", "{{ ") // where a line is broken
	ours := strings.NewReplacer("{{ orchestrator_program_directory }}", "/usr/bin", "{{ orchestrator_directory }}",
		"/etc/orchestrator", "{{ orchestrator_user }}", "orchestrator",
		"{{ orchestrator_group }}", "orchestrator", "{{ orchestrator_data_directory | basename }}",
		"orchestrator").Replace(whole)
	has := map[string]bool{}
	for line := range strings.Lines(ours) {
		has[line] = true
	}
	for line := range strings.Lines(string(shipped)) {
		// the role writes files
		if name, _, ok := strings.Cut(line, "="); !ok || strings.HasPrefix(line, "#") || name == "LoadCredential" {
			continue
		}
		if !has[line] {
			t.Errorf("the role's unit lacks %s", strings.TrimSpace(line))
		}
	}
}
