package drawing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// Codecs of values that stand in one place.

func truth(at func(*drawn) *bool) codec {
	return codec{
		read: func(_ *picture, d *drawn, v string) error { return yes(v, at(d)) },
		show: func(_ *picture, d *drawn) string { return yesNo(*at(d)) },
	}
}

func text(at func(*drawn) *string) codec {
	return codec{read: func(_ *picture, d *drawn, v string) error {
		*at(d) = none(v)
		return nil
	}, show: func(_ *picture, d *drawn) string { return orNone(*at(d)) }}
}

func number[T int | uint32 | uint64](bits int, at func(*drawn) *T) codec {
	return codec{
		read: func(_ *picture, d *drawn, v string) error { return readNumber(v, bits, at(d)) },
		show: func(_ *picture, d *drawn) string { return fmt.Sprint(*at(d)) },
	}
}

func moment(at func(*drawn) *time.Time) codec {
	return codec{
		read: func(p *picture, d *drawn, v string) error { return p.readAgo(v, at(d)) },
		show: func(p *picture, d *drawn) string { return p.ago(*at(d)) },
	}
}

func keys(at func(*drawn) *[]topology.Key) codec {
	return codec{
		read: func(_ *picture, d *drawn, v string) error { return readKeys(v, at(d)) },
		show: func(_ *picture, d *drawn) string { return showKeys(*at(d)) },
	}
}

func readKeys(text string, to *[]topology.Key) error {
	*to = nil
	if text == "none" {
		return nil
	}
	for part := range strings.SplitSeq(text, "+") {
		k, err := parseSource(part)
		if err != nil {
			return err
		}
		*to = append(*to, k)
	}
	return nil
}

func showKeys(keys []topology.Key) string {
	var out []string
	for _, k := range keys {
		out = append(out, brief(k))
	}
	return orNone(strings.Join(out, "+"))
}

// readAgo reads a moment as how long it was before that of the snapshot.
func (p *picture) readAgo(text string, to *time.Time) error {
	if *to = (time.Time{}); text == "never" {
		return nil
	}
	ago, err := duration(text)
	*to = p.at.Add(-ago)
	return err
}

func (p *picture) ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return durationText(p.at.Sub(t))
}

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no time, such as 3s, 200ms or 1h30m", clip(text))
	}
	return d, nil
}

func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// readSeconds reads a time in whole seconds; a count of them may be longer than any time.Duration.
func readSeconds(text string, to *int64) error {
	if n, err := strconv.ParseInt(strings.TrimSuffix(text, "s"), 10, 64); err == nil {
		*to = n
		return nil
	}
	d, err := duration(text)
	*to = int64(d / time.Second)
	return err
}

func secondsText(n int64) string {
	const century = 100 * 365 * 24 * 3600
	if n < -century || n > century {
		return fmt.Sprintf("%ds", n)
	}
	return durationText(time.Duration(n) * time.Second)
}

func readNumber[T int | uint32 | uint64](text string, bits int, to *T) error {
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return fmt.Errorf("%q is no such number", clip(text))
	}
	*to = T(n)
	return nil
}

func oneOf(text string, values ...string) error {
	if !slices.Contains(values, text) {
		return fmt.Errorf("%q is not known here", clip(text))
	}
	return nil
}

func yes(text string, to *bool) error {
	*to = text == "yes"
	return oneOf(text, "yes", "no")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// none and orNone write the empty text as a word that can be seen.
func none(text string) string {
	if strings.EqualFold(text, "none") {
		return ""
	}
	return text
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// clip keeps an error readable whatever it quotes.
func clip(text string) string {
	if len(text) > 60 {
		return strings.ToValidUTF8(text[:60], "") + "…"
	}
	return text
}
