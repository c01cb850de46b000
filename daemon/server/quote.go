package server

import "strings"

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
