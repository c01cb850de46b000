package httpd

import (
	"context"
	"fmt"
)

// Proof is how somebody has shown who they are.
type Proof string

const (
	ByToken       Proof = "token"       // a token that is in a file of the daemon's
	ByProxy       Proof = "proxy"       // a proxy that is believed says so
	ByCertificate Proof = "certificate" // of TLS, by an authority that is trusted with names of users
	ByAccount     Proof = "account"     // the kernel says whose process sent it: see Owner
)

// SharedToken is the name of whoever sends a token of http.token_file. It is no name of a person: several may have it.
const SharedToken = "http.token_file"

// Identity is who sends a request, as it was proved. The zero value is somebody who has proved nothing. That is enough
// to read where nothing says otherwise, and to change where a Root has neither Credentials nor Options.Local.
type Identity struct {
	Name  string `json:"name"`
	Role  Role   `json:"role"`
	Proof Proof  `json:"proof"`
}

// Named says that this is one of Credentials.Users, and not whoever has the shared token, or an account of this host.
func (i Identity) Named() bool {
	return i.Proof == ByProxy || i.Proof == ByCertificate || i.Proof == ByToken && i.Name != SharedToken
}

// String is for logs.
func (i Identity) String() string {
	if i.Name == "" {
		return "nobody in particular"
	}
	return fmt.Sprintf("%s (%s)", i.Name, i.Proof)
}

type identityKey struct{}

// Who is who sends the request that has this context: what admission has proved, whatever the request says of itself.
func Who(ctx context.Context) Identity {
	i, _ := ctx.Value(identityKey{}).(Identity)
	return i
}

// As is a context of a request of somebody. Admission makes it; so may tests of handlers.
func As(ctx context.Context, i Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, i)
}
