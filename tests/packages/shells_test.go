package packages

import (
	"fmt"
	"path"
	"strings"
	"testing"
)

// What is completed in each shell, and by what.
var completed = []struct{ line, word string }{
	{"orchestrator backend do", "doctor"},
	{"orchestrator-client topol", "topology"},
}

// How each shell is asked what comes after the line "$1", as the shell of somebody who has logged in: it finds our file
// by itself.
var asks = map[string]string{
	"bash": `. /usr/share/bash-completion/bash_completion
read -ra COMP_WORDS <<<"$1"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
_completion_loader "${COMP_WORDS[0]}"
complete=$(complete -p "${COMP_WORDS[0]}")
[[ $complete =~ -F\ ([^ ]+) ]]
compopt() { :; } # it is for a terminal
"${BASH_REMATCH[1]}" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"`,
	"fish": `complete --do-complete "$argv[1]"`,
	// It completes at a terminal only: one is made, the key is pressed, and the line is to come back whole.
	"zsh": `zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; unsetopt zle_bracketed_paste; autoload -Uz compinit && compinit -u; print rea''dy"
zpty -r -m shell line "*ready*" || exit 1
zpty -w -n shell "$1"$'\t'
until [[ $all == *"$2"* ]]; do
	zpty -r -t shell part && all+=$part
	sleep 0.1
	((++n < 200)) || break
done
print -r -- $all
zpty -d shell`,
}

// The shells of Debian read the completions where the package has put them, and complete by them; its manual pages are
// well formed, and found.
func TestShellsAndManualPagesOnAHost(t *testing.T) {
	h := boot(t, "shells1", "bash-completion", "zsh", "fish", "man-db", "mandoc")
	h.do("dpkg", "-i", h.copy(pathOf(t, deb, older)))
	files := strings.Fields(h.do("dpkg", "--listfiles", "orchestrator"))

	read := 0
	for _, file := range files {
		for part, shell := range map[string]string{"/bash-completion/completions/": "bash",
			"/zsh/vendor-completions/": "zsh", "/fish/vendor_completions.d/": "fish"} {
			if strings.Contains(file, part) {
				h.do(shell, "-n", file)
				read++
			}
		}
	}
	h.want("files of completions", fmt.Sprint(read), "6")
	for shell, script := range asks {
		t.Run(shell, func(t *testing.T) {
			h := h.in(t)
			h.write("/root/ask."+shell, script, 0o644)
			for _, c := range completed {
				if out := h.do(shell, "/root/ask."+shell, c.line, c.word); !strings.Contains(out, c.word) {
					t.Errorf("%s completes %q by\n%s", shell, c.line, out)
				}
			}
		})
	}

	pages := 0
	for _, file := range files {
		if path.Ext(file) != ".gz" || !strings.HasPrefix(file, "/usr/share/man/man1/") {
			continue
		}
		pages++
		h.want("what man says of "+file, h.do("sh", "-c", "man --warnings --encoding=UTF-8 --local-file "+file+
			" 2>&1 >/dev/null"), "")
		h.want("what mandoc says of "+file, h.do("sh", "-c", "zcat "+file+" | mandoc -T lint -W error"), "")
		name := strings.TrimSuffix(path.Base(file), ".1.gz")
		h.want("where man finds "+name, h.do("man", "--where", name), file)
	}
	if pages < 20 {
		t.Errorf("only %d manual pages", pages)
	}
}
