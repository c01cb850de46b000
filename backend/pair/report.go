package pair

import (
	"context"

	"orchestrator/backend/report"
)

// What a pair tells is told in these words.
type (
	Verification = report.Comparison
	Kind         = report.Kind
	Difference   = report.Difference
	Held         = report.Held
	Report       = report.Report
	Step         = report.Step
	Complaint    = report.Complaint
	ProxyServer  = report.ProxyServer
)

// Doctor looks for what makes the pair fail, or will. With fix, it runs the statements that are always safe, and looks
// again.
func (p *Pair) Doctor(ctx context.Context, fix bool) (report.Examination, error) {
	found := Doctor(p.Examine(ctx))
	var out report.Examination
	var failed error
	if fix {
		out.Mended, failed = p.Fix(ctx, found)
		found = Doctor(p.Examine(ctx))
	}
	out.Complaints = append([]Complaint{}, found...)
	return out, failed
}
