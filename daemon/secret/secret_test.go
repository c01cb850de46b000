package secret

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheFirstLineIsUsedAndAllAreValid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	for _, c := range []struct {
		text string
		want []string
	}{
		{"new", []string{"new"}},
		{"new\n", []string{"new"}},
		{"new\r\nold\r\n", []string{"new", "old"}},
		{"\n\n  new\t\n\n old \n\n", []string{"new", "old"}},
		{"with blanks\n", []string{"with blanks"}},
		{"", nil},
		{" \n\t\r\n\n", nil},
	} {
		if got := Lines(c.text); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := First(file)
		switch {
		case len(c.want) == 0 && (err == nil || first != "" || !strings.Contains(err.Error(), file+" is empty")):
			t.Errorf("%q: the first is %q, %v", c.text, first, err)
		case len(c.want) > 0 && (err != nil || first != c.want[0]):
			t.Errorf("%q: the first is %q, %v; want %q", c.text, first, err, c.want[0])
		}
	}
	if _, err := First(file + ".gone"); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}

func TestASecretThatOthersCanReadIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: false, 0o660: false,
		0o644: true, 0o604: true, 0o602: true, 0o777: true} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		got, err := Own(file)
		if refused && (err == nil || got != "" || !strings.Contains(err.Error(), "chmod o= "+file)) ||
			!refused && (err != nil || got != "new") {
			t.Errorf("%04o: %q, %v", mode, got, err)
		}
	}
	if _, err := Own(file + ".gone"); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Own(os.DevNull); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("no regular file: %v", err)
	}
}
