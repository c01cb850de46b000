package daemon

import (
	"orchestrator/daemon/config"
	"orchestrator/daemon/httpd"
)

// credentials are who may use the API, as the configuration has it.
func credentials(c config.Config) httpd.Credentials {
	out := httpd.Credentials{Token: string(c.HTTP.Token), IdentityHeader: c.HTTP.IdentityHeader,
		Authorities: c.HTTP.Pool()}
	for _, u := range c.Users {
		out.Users = append(out.Users, httpd.User{Name: u.Name, Role: httpd.Role(u.Role), Tokens: string(u.Token)})
	}
	for _, n := range c.HTTP.IdentityFrom {
		out.IdentityFrom = append(out.IdentityFrom, n.Prefix)
	}
	return out
}
