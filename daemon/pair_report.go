package daemon

import (
	"encoding/json"
	"fmt"

	"orchestrator/backend/pair"
	"orchestrator/daemon/api"
)

// Compared, Reported and Examined are what the pair tells in the words of the API.
func Compared(v pair.Verification) api.BackendComparison { return as[api.BackendComparison](v) }

func Reported(r pair.Report) api.BackendReport { return as[api.BackendReport](r) }

func Examined(fixed, found []pair.Complaint) api.BackendDoctor {
	return api.BackendDoctor{Mended: as[[]api.BackendComplaint](fixed),
		Complaints: append([]api.BackendComplaint{}, as[[]api.BackendComplaint](found)...)}
}

// as gives what package pair tells in the words of the API: the JSON is the same, which a test holds, so that this
// can't fail.
func as[Out any](v any) (out Out) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		panic(fmt.Sprintf("%T is not told as %T: %v", v, out, err))
	}
	return out
}
