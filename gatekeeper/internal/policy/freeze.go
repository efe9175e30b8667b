package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// maxFreeze bounds the search for the end of windows that follow one another without a gap: what is frozen for longer
// opens at a time that nobody plans for.
const maxFreeze = 400 * day

// moment is one end of a freeze as it stands in the document, by a wall clock. clock holds the wall clock's numbers in
// UTC, where every day has 24 hours; of a weekly one it is in the week that begins at reference.
type moment struct {
	clock  time.Time
	weekly bool
}

// reference is the Monday, 00:00, from which times of the week are counted.
func reference() time.Time { return time.Date(2001, time.January, 1, 0, 0, 0, 0, time.UTC) }

func parseMoment(text string) (moment, error) {
	if clock, err := time.Parse("2006-01-02 15:04", text); err == nil {
		return moment{clock: clock}, nil
	}
	name, hour, _ := strings.Cut(text, " ")
	at, err := time.Parse("15:04", hour)
	weekday := slices.Index([]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}, name)
	if err != nil || weekday < 0 {
		return moment{}, fmt.Errorf("%q is no moment", text)
	}
	since := time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute
	return moment{clock: reference().Add(time.Duration(weekday)*day + since), weekly: true}, nil
}

// excepts reports whether the freeze does not hold this revision.
func (f Freeze) excepts(r rollout.Revision) bool {
	return r.Change != "" && slices.Contains(f.Except, r.Change)
}

// until is the end of the window that t falls in; ok is false when t is in none. The begin is the first and the end the
// last instant at which the zone's clocks show that time: a freeze is rather too long by the doubled hour than too short.
func (f Freeze) until(t time.Time) (end time.Time, ok bool, err error) {
	zone, err := time.LoadLocation(f.Zone)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("load the zone of a freeze: %w", err)
	}
	from, err := parseMoment(f.From)
	if err != nil {
		return time.Time{}, false, err
	}
	to, err := parseMoment(f.To)
	if err != nil {
		return time.Time{}, false, err
	}
	if !from.weekly {
		end, ok = inside(t, from.clock, to.clock, zone)
		return end, ok, nil
	}
	length := to.clock.Sub(from.clock)
	if length <= 0 {
		length += 7 * day
	}
	// The window under way began in this week or in the one before.
	for _, week := range []int{0, -7} {
		begin := monday(t.In(zone)).AddDate(0, 0, week).Add(from.clock.Sub(reference()))
		if end, ok = inside(t, begin, begin.Add(length), zone); ok {
			return end, true, nil
		}
	}
	return time.Time{}, false, nil
}

// monday is the wall clock's Monday, 00:00, of t's week.
func monday(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d-(int(t.Weekday())+6)%7, 0, 0, 0, 0, time.UTC)
}

// inside reports whether t falls between two times of the wall clock, the latter not included, and when that ends.
func inside(t, from, to time.Time, zone *time.Location) (end time.Time, ok bool) {
	begin, _ := instants(from, zone)
	_, end = instants(to, zone)
	return end, !t.Before(begin) && t.Before(end)
}

// instants are the first and the last at which the clocks of a zone show this time; both are the moment of the change
// when they skip it. time.Date would do for all other times, but picks one of two without saying which.
func instants(wall time.Time, zone *time.Location) (first, last time.Time) {
	var shown []time.Time
	for _, near := range []time.Time{wall.Add(-day), wall.Add(day)} {
		_, offset := near.In(zone).Zone()
		t := wall.Add(-time.Duration(offset) * time.Second).In(zone)
		y, m, d := t.Date()
		if time.Date(y, m, d, t.Hour(), t.Minute(), 0, 0, time.UTC).Equal(wall) {
			shown = append(shown, t)
		}
	}
	if len(shown) == 0 {
		_, before := wall.Add(-day).In(zone).Zone()
		t := wall.Add(-time.Duration(before) * time.Second).In(zone)
		if change, _ := t.ZoneBounds(); !change.IsZero() {
			t = change
		}
		return t, t
	}
	return slices.MinFunc(shown, time.Time.Compare), slices.MaxFunc(shown, time.Time.Compare)
}

// thaw is when none of the windows that hold revision is under way any more; zero when that is over a year away.
func thaw(windows []Freeze, revision rollout.Revision, now time.Time) (at time.Time, by Freeze, frozen bool, err error) {
	at = now
	for at.Sub(now) < maxFreeze {
		found := false
		for _, f := range windows {
			if f.excepts(revision) {
				continue
			}
			end, ok, err := f.until(at)
			if err != nil {
				return time.Time{}, f, true, err
			}
			if ok {
				if !frozen {
					by = f
				}
				at, found, frozen = end, true, true
			}
		}
		if !found {
			return at, by, frozen, nil
		}
	}
	return time.Time{}, by, true, nil
}
