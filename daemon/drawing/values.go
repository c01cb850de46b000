package drawing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/printable"
	"orchestrator/daemon/topology"
)

// codec reads a value into what a line is about, and shows the value that it has. A line is printed by showing what
// differs from what is expected, and reading that back at once: so printing can't drift from parsing.
type codec[T any] struct {
	read func(p *picture, to *T, value string) error
	show func(p *picture, of *T) string // "" for none; of one that repeats, values joined by between
	// repeats says that a line may say it several times.
	repeats bool
}

// between stands between the values of what repeats.
const between = "\x00"

// then does something more once a value was read, such as changing what else is expected.
func (c codec[T]) then(after func(p *picture, to *T)) codec[T] {
	read := c.read
	c.read = func(p *picture, to *T, value string) error {
		err := read(p, to, value)
		if err == nil {
			after(p, to)
		}
		return err
	}
	return c
}

// Codecs of values that stand in one place:

func truth[T any](at func(*T) *bool) codec[T] {
	return codec[T]{
		read: func(_ *picture, to *T, v string) error { return yes(v, at(to)) },
		show: func(_ *picture, of *T) string { return yesNo(*at(of)) },
	}
}

func text[T any](at func(*T) *string) codec[T] {
	return codec[T]{read: func(_ *picture, to *T, v string) error {
		*at(to) = none(v)
		return nil
	}, show: func(_ *picture, of *T) string { return orNone(*at(of)) }}
}

func number[T any, N int | uint32 | uint64 | int64](bits int, at func(*T) *N) codec[T] {
	return codec[T]{
		read: func(_ *picture, to *T, v string) error { return readNumber(v, bits, at(to)) },
		show: func(_ *picture, of *T) string { return fmt.Sprint(*at(of)) },
	}
}

func moment[T any](at func(*T) *time.Time) codec[T] {
	return codec[T]{
		read: func(p *picture, to *T, v string) error { return p.readAgo(v, at(to)) },
		show: func(p *picture, of *T) string { return p.ago(*at(of)) },
	}
}

func keys[T any](at func(*T) *[]topology.Key) codec[T] {
	return codec[T]{
		read: func(_ *picture, to *T, v string) error { return readKeys(v, at(to)) },
		show: func(_ *picture, of *T) string { return showKeys(*at(of)) },
	}
}

// words is text that may be empty, unlike that of text, which writes the empty text as none.
func words[T any](at func(*T) *string) codec[T] {
	return codec[T]{read: func(_ *picture, to *T, v string) error {
		*at(to) = v
		return nil
	}, show: func(_ *picture, of *T) string { return *at(of) }}
}

func list[T any](at func(*T) *[]string) codec[T] {
	return codec[T]{read: func(_ *picture, to *T, v string) error {
		*at(to) = append(*at(to), v)
		return nil
	}, show: func(_ *picture, of *T) string { return strings.Join(*at(of), between) }, repeats: true}
}

func key[T any](at func(*T) *topology.Key) codec[T] {
	return codec[T]{read: func(_ *picture, to *T, v string) (err error) {
		if *at(to) = (topology.Key{}); v != "none" {
			*at(to), err = parseSource(v)
		}
		return err
	}, show: func(_ *picture, of *T) string {
		if at(of).IsZero() {
			return "none"
		}
		return brief(*at(of))
	}}
}

func interval[T any](at func(*T) *time.Duration) codec[T] {
	return codec[T]{read: func(_ *picture, to *T, v string) (err error) {
		*at(to), err = duration(v)
		return err
	}, show: func(_ *picture, of *T) string { return durationText(*at(of)) }}
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
	return durationText(p.at.Sub(t).Round(time.Millisecond))
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

func readNumber[N int | uint32 | uint64 | int64](text string, bits int, to *N) error {
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return fmt.Errorf("%q is no such number", clip(text))
	}
	*to = N(n)
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
func clip(text string) string { return printable.Clip(text, 60) }
