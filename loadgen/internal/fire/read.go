package fire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxFile is how large a list of targets may be, in bytes.
const maxFile = 10 << 20

// ReadTargets reads a JSON array of targets, or one JSON object after the other.
// Strict: a field that nobody reads is refused, since "headers" for "header" would
// ask for the wrong host. Errors name the target by its number, from 1.
func ReadTargets(r io.Reader) ([]Target, error) {
	limited := &io.LimitedReader{R: r, N: maxFile + 1}
	text := bufio.NewReader(limited)
	var first byte
	for first == 0 || first == ' ' || first == '\t' || first == '\r' || first == '\n' {
		var err error
		if first, err = text.ReadByte(); err != nil {
			return nil, fmt.Errorf("read targets: %w", none(err))
		}
	}
	_ = text.UnreadByte() // a byte has just been read

	d := json.NewDecoder(text)
	d.DisallowUnknownFields()
	list := first == '['
	if list {
		_, _ = d.Token() // the bracket
	}
	var targets []Target
	for d.More() {
		var t Target
		if err := d.Decode(&t); err != nil {
			return nil, fmt.Errorf("target %d: %w", len(targets)+1, tooLong(limited, err))
		}
		if targets = append(targets, t); len(targets) > maxTargets {
			return nil, fmt.Errorf("targets: at most %d are allowed", maxTargets)
		}
	}
	if list {
		if _, err := d.Token(); err != nil {
			return nil, fmt.Errorf("after target %d: %w", len(targets), tooLong(limited, err))
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("after target %d: more text than the list of targets", len(targets))
	}
	return targets, nil
}

func none(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("there are none")
	}
	return err
}

// tooLong says so when the text was cut off.
func tooLong(limited *io.LimitedReader, err error) error {
	if limited.N == 0 {
		return fmt.Errorf("the text is over %d bytes", maxFile)
	}
	return err
}
