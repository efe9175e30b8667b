// Package ledger checks the ledger: every hash, every verdict by the recorded ticks, and files that were made of it. It also
// knows the file format in which a ledger travels.
package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Format is the version of the file format that this package writes and reads.
const Format = 1

// Line is one line of a ledger's file: a JSON object with one of these. A file begins with Head and ends with End. The ticks
// of a rollout stand before the entry that closes it, in the order of its tape, each as it was recorded to the byte. Whole
// files, which backups are, have what the gatekeeper works with beside the ledger.
type Line struct {
	Head    *Head    `json:"ledger,omitempty"`
	Entry   *Entry   `json:"entry,omitempty"`
	Rollout *Rollout `json:"rollout,omitempty"`
	Policy  *Policy  `json:"policy,omitempty"`
	Memo    *Memo    `json:"memo,omitempty"`
	Message *Message `json:"message,omitempty"`
	Thread  *Thread  `json:"thread,omitempty"`
	End     *End     `json:"end,omitempty"`
	// Tick is the whole line when it is a rollout.JudgedTick.
	Tick json.RawMessage `json:"-"`
}

// Head says what the file is.
type Head struct {
	Format int  `json:"format"`
	Whole  bool `json:"whole"`
}

// Entry is a rollout.Entry whose body is a string, so that it stays as it is to the byte.
type Entry struct {
	Seq      int64             `json:"seq"`
	At       time.Time         `json:"at"`
	Kind     rollout.EntryKind `json:"kind"`
	Rollout  string            `json:"rollout,omitempty"`
	Body     string            `json:"body"`
	Previous string            `json:"previous"`
	Hash     string            `json:"hash"`
	// Record is the SHA-256, in hex, of the document of the rollout that the entry closes, as the database has it for lists
	// and pages; "" for other entries.
	Record string `json:"record,omitempty"`
	// Damage says that the ticks can not be read, and why.
	Damage string `json:"damage,omitempty"`
}

// EntryOf is e as it stands in a file.
func EntryOf(e rollout.Entry) Entry {
	return Entry{Seq: e.Seq, At: e.At, Kind: e.Kind, Rollout: e.Rollout, Body: string(e.Body), Previous: e.Previous, Hash: e.Hash}
}

// Entry is e as the gatekeeper knows it.
func (e Entry) Entry() rollout.Entry {
	return rollout.Entry{Seq: e.Seq, At: e.At.UTC(), Kind: e.Kind, Rollout: e.Rollout, Body: json.RawMessage(e.Body), Previous: e.Previous, Hash: e.Hash}
}

// Rollout is one that no entry closes: it is under way, or from before there was a ledger. Its ticks stand before it.
type Rollout struct {
	Record   string `json:"record"`   // rollout.Rollout
	Counters string `json:"counters"` // rollout.Book
	Adopted  bool   `json:"adopted"`  // from before there was a ledger
}

// Policy is a policy's document by its digest.
type Policy struct {
	Digest   string `json:"digest"`
	Document string `json:"document"`
}

// Memo is a small document by its name.
type Memo struct {
	Name     string `json:"name"`
	Document string `json:"document"`
}

// Message is one of the outbox. At and DueAt are Unix milliseconds.
type Message struct {
	Key       string `json:"key"`
	Sink      string `json:"sink"`
	Rollout   string `json:"rollout"`
	News      string `json:"news"`
	At        int64  `json:"at"`
	DueAt     int64  `json:"dueAt"`
	Attempts  int64  `json:"attempts"`
	State     string `json:"state"`
	LastError string `json:"lastError"`
}

// Thread is what a sink gave back for a rollout's last message.
type Thread struct {
	Rollout string `json:"rollout"`
	Sink    string `json:"sink"`
	Thread  string `json:"thread"`
}

// End closes a file: one without it was cut off.
type End struct {
	Entries int64  `json:"entries"` // how many there are; the last one's sequence number
	Hash    string `json:"hash"`    // of the last one
	Closed  int    `json:"closed"`  // how many rollouts are closed, by the database's list of rollouts
}

// Write writes one line.
func Write(w io.Writer, l Line) error {
	text := []byte(l.Tick)
	if text == nil {
		var err error
		if text, err = json.Marshal(l); err != nil {
			return fmt.Errorf("encode line of the ledger: %w", err)
		}
	}
	_, err := w.Write(append(text, '\n'))
	return err
}

// Tick is a tick's line as it was recorded. text is the tick itself; false: it can not be one.
func Tick(text []byte, outcome, reason, digest string) (line json.RawMessage, ok bool) {
	if !json.Valid(text) || bytes.ContainsAny(text, "\r\n") {
		return nil, false
	}
	rest, _ := json.Marshal(struct { // strings can be encoded
		Outcome string `json:"outcome"`
		Reason  string `json:"reason"`
		Digest  string `json:"digest"`
	}{outcome, reason, digest})
	return slices.Concat([]byte(`{"tick":`), text, []byte(`,`), rest[1:]), true
}

// Read gives the lines of a file until its end, or until an error.
func Read(r io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		lines := bufio.NewReaderSize(r, 1<<16)
		for number := 1; ; number++ {
			text, err := lines.ReadBytes('\n')
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("line %d: the file is cut off, its last line is missing", number)
			}
			var l Line
			if err == nil {
				l, err = parse(number, bytes.TrimSuffix(text, []byte("\n")))
			}
			if !yield(l, err) || err != nil || l.End != nil {
				return
			}
		}
	}
}

func parse(number int, text []byte) (Line, error) {
	var l struct {
		Line
		Tick json.RawMessage `json:"tick"`
	}
	err := json.Unmarshal(text, &l)
	switch {
	case number > 1 && err != nil:
		return Line{}, fmt.Errorf("line %d: %w", number, err)
	case number == 1 && (err != nil || l.Head == nil || l.Head.Format < 1):
		return Line{}, errors.New("line 1: this is no ledger's file")
	case number == 1 && l.Head.Format > Format:
		return Line{}, fmt.Errorf("line 1: the file has format %d, this gatekeeper reads %d: use a newer one", l.Head.Format, Format)
	case l.Tick != nil:
		l.Line.Tick = text
	}
	return l.Line, nil
}
