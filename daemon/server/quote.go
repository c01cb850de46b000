package server

import (
	"database/sql/driver"
	"fmt"
	"strconv"
	"strings"
)

// Quote writes a text as a server takes it in a statement.
func Quote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// QuoteName writes the name of a database, table or column as a server takes it in a statement.
func QuoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// QuoteAccount turns user@host, as CURRENT_USER() prints it, into what GRANT takes. Without a host it is every host.
func QuoteAccount(account string) string {
	user, host := account, "%"
	if i := strings.LastIndexByte(account, '@'); i >= 0 {
		user, host = account[:i], account[i+1:]
	}
	return Quote(user) + "@" + Quote(host)
}

// fill puts values, quoted as this session takes them, in place of the question marks. A statement has no others.
func (f *packets) fill(text string, values []any) (string, error) {
	parts := strings.Split(text, "?")
	if len(parts) != len(values)+1 {
		return "", fmt.Errorf("the statement has places for %d values, and there are %d", len(parts)-1, len(values))
	}
	var out strings.Builder
	out.WriteString(parts[0])
	for n, v := range values {
		v, err := driver.DefaultParameterConverter.ConvertValue(v)
		if err != nil {
			return "", err
		}
		switch v := v.(type) {
		case int64:
			out.WriteString(strconv.FormatInt(v, 10))
		case string:
			quoted, err := f.quote(v)
			if err != nil {
				return "", err
			}
			out.WriteString(quoted)
		default:
			return "", fmt.Errorf("a value of type %T can't be sent", v)
		}
		out.WriteString(parts[n+1])
	}
	return out.String(), nil
}

// quote is Quote in a session that may take a backslash for one.
func (f *packets) quote(text string) (string, error) {
	switch {
	case !strings.Contains(text, `\`): // every session takes two quotes for one
		return "'" + strings.ReplaceAll(text, "'", "''") + "'", nil
	case !f.answered:
		return "", fmt.Errorf("how the server takes the backslash in %q is not known before its first answer", text)
	case f.literal:
		return "'" + strings.ReplaceAll(text, "'", "''") + "'", nil
	}
	return Quote(text), nil
}
