package topology

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Flavor is the family of a server: which words it speaks.
type Flavor string

const (
	MySQL   Flavor = "mysql" // Percona Server too
	MariaDB Flavor = "mariadb"
)

// Version is a parsed server version. As text, "10.11" sorts before "8.4", which is why nothing compares the text.
type Version struct {
	Major, Minor, Patch int
}

// ParseVersion reads @@version ("8.0.36-28", "10.11.19-MariaDB-0+deb12u1-log", "5.5.5-10.11.19-MariaDB") and tells the
// flavour.
func ParseVersion(text string) (Flavor, Version, error) {
	flavor := MySQL
	number := text
	if strings.Contains(strings.ToLower(text), "mariadb") {
		flavor = MariaDB
		number = strings.TrimPrefix(number, "5.5.5-") // the prefix that old replicas are told
	}
	number, _, _ = strings.Cut(number, "-")
	var v Version
	parts := strings.Split(number, ".")
	for i, p := range []*int{&v.Major, &v.Minor, &v.Patch} {
		if i >= len(parts) {
			break
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil || n < 0 {
			return "", Version{}, fmt.Errorf("parse server version %q: want major.minor.patch", text)
		}
		*p = n
	}
	if len(parts) < 2 {
		return "", Version{}, fmt.Errorf("parse server version %q: want major.minor.patch", text)
	}
	return flavor, v, nil
}

// AtLeast reports whether v is that version or later.
func (v Version) AtLeast(major, minor, patch int) bool {
	return v.Compare(Version{major, minor, patch}) >= 0
}

// Compare orders versions.
func (v Version) Compare(o Version) int {
	return cmp.Or(cmp.Compare(v.Major, o.Major), cmp.Compare(v.Minor, o.Minor), cmp.Compare(v.Patch, o.Patch))
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// MarshalText makes versions readable in JSON.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Version) UnmarshalText(text []byte) error {
	_, parsed, err := ParseVersion(string(text))
	*v = parsed
	return err
}
