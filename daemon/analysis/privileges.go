package analysis

import (
	"fmt"
	"strings"
)

func strangersSays(v *view) (string, []string) {
	if v.Instance == nil || !v.Up() || len(v.Instance.Strangers) == 0 {
		return "", nil
	}
	var out []string
	for _, text := range v.Instance.Strangers {
		out = append(out, fmt.Sprintf("%v: %s", v.Key, text))
	}
	return fmt.Sprintf("On %s somebody interferes with the daemons' locks: %s.", v.is(),
		strings.Join(v.Instance.Strangers, "; ")), out
}

// privilegesSays is silent on a server that is down: what was granted there is not known any more.
func privilegesSays(v *view) (string, []string) {
	if v.Instance == nil || !v.Up() || len(v.Instance.Ungranted) == 0 {
		return "", nil
	}
	var grants, out []string
	for _, u := range v.Instance.Ungranted {
		grants = append(grants, u.Grant)
		out = append(out, fmt.Sprintf("%v: %v", v.Key, u))
	}
	return fmt.Sprintf("%s does not give this daemon's account every privilege that it needs: %s.", v.is(),
		strings.Join(grants, "; ")), out
}
