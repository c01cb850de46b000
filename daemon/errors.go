package daemon

import "errors"

// ErrBackend is in the error of New when the store can't be opened: whoever started the daemon looks elsewhere then
// than at its configuration.
var ErrBackend = errors.New("the backend can't be opened")
