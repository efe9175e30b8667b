package policy

import (
	"testing"
	"time"
	_ "time/tzdata" // the machine that runs the tests may have no zones

	"pgregory.net/rapid"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestFreeze(t *testing.T) {
	weekend := Freeze{From: "Fri 16:00", To: "Mon 08:00", Zone: "Europe/Berlin"}
	nights := Freeze{From: "Sat 23:00", To: "Sun 02:30", Zone: "Europe/Berlin"}
	christmas := Freeze{From: "2026-12-24 00:00", To: "2027-01-02 00:00", Zone: "Europe/Berlin"}
	for name, c := range map[string]struct {
		windows []Freeze
		change  string
		now     string // RFC 3339
		opensAt string // "" when it is open
	}{
		"the minute before a weekend":                      {[]Freeze{weekend}, "", "2026-11-27T15:59:59+01:00", ""},
		"its first instant":                                {[]Freeze{weekend}, "", "2026-11-27T16:00:00+01:00", "2026-11-30T08:00:00+01:00"},
		"over the week's end":                              {[]Freeze{weekend}, "", "2026-11-30T00:00:00+01:00", "2026-11-30T08:00:00+01:00"},
		"its last instant":                                 {[]Freeze{weekend}, "", "2026-11-30T07:59:59+01:00", "2026-11-30T08:00:00+01:00"},
		"its end is not in it":                             {[]Freeze{weekend}, "", "2026-11-30T08:00:00+01:00", ""},
		"by the zone's clocks, not by UTC's":               {[]Freeze{weekend}, "", "2026-11-27T15:00:00Z", "2026-11-30T08:00:00+01:00"},
		"summer time begins in the weekend":                {[]Freeze{weekend}, "", "2026-03-28T12:00:00+01:00", "2026-03-30T08:00:00+02:00"},
		"an hour before it ends, by the new clocks":        {[]Freeze{weekend}, "", "2026-03-30T05:30:00Z", "2026-03-30T06:00:00Z"},
		"winter time begins in the weekend":                {[]Freeze{weekend}, "", "2026-10-24T12:00:00+02:00", "2026-10-26T08:00:00+01:00"},
		"the end is skipped: the change ends it":           {[]Freeze{nights}, "", "2026-03-29T01:59:00+01:00", "2026-03-29T03:00:00+02:00"},
		"after the change there is no half past two":       {[]Freeze{nights}, "", "2026-03-29T03:00:00+02:00", ""},
		"the end comes twice: between them it holds":       {[]Freeze{nights}, "", "2026-10-25T02:45:00+02:00", "2026-10-25T02:30:00+01:00"},
		"the end comes twice: the second ends it":          {[]Freeze{nights}, "", "2026-10-25T02:30:00+01:00", ""},
		"the begin comes twice: the first begins it":       {[]Freeze{{From: "Sun 02:30", To: "Sun 04:00", Zone: "Europe/Berlin"}}, "", "2026-10-25T02:45:00+02:00", "2026-10-25T04:00:00+01:00"},
		"the begin is skipped: the change begins it":       {[]Freeze{{From: "Sun 02:30", To: "Sun 04:00", Zone: "Europe/Berlin"}}, "", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"},
		"all of it is skipped":                             {[]Freeze{{From: "Sun 02:10", To: "Sun 02:50", Zone: "Europe/Berlin"}}, "", "2026-03-29T03:00:00+02:00", ""},
		"half an hour is doubled":                          {[]Freeze{{From: "Sun 00:00", To: "Sun 01:45", Zone: "Australia/Lord_Howe"}}, "", "2026-04-05T01:50:00+11:00", "2026-04-05T01:45:00+10:30"},
		"dates":                                            {[]Freeze{christmas}, "", "2026-12-31T12:00:00+01:00", "2027-01-02T00:00:00+01:00"},
		"before the dates":                                 {[]Freeze{christmas}, "", "2026-12-23T23:59:59+01:00", ""},
		"dates are once":                                   {[]Freeze{christmas}, "", "2027-12-25T12:00:00+01:00", ""},
		"windows that touch are one":                       {[]Freeze{{From: "Mon 00:00", To: "Tue 12:00", Zone: "UTC"}, {From: "Tue 12:00", To: "Wed 06:00", Zone: "UTC"}}, "", "2026-11-23T01:00:00Z", "2026-11-25T06:00:00Z"},
		"windows that overlap are one, in any order":       {[]Freeze{christmas, weekend}, "", "2026-12-18T17:00:00+01:00", "2026-12-21T08:00:00+01:00"},
		"a weekend that the dates run into":                {[]Freeze{weekend, christmas}, "", "2027-01-01T12:00:00+01:00", "2027-01-04T08:00:00+01:00"},
		"over the turn of the week, from Sunday to Monday": {[]Freeze{{From: "Sun 22:00", To: "Mon 02:00", Zone: "UTC"}}, "", "2026-11-30T01:00:00Z", "2026-11-30T02:00:00Z"},
		"nearly the whole week":                            {[]Freeze{{From: "Wed 10:00", To: "Wed 09:00", Zone: "UTC"}}, "", "2026-11-24T12:00:00Z", "2026-11-25T09:00:00Z"},
		"the hour that is left of it":                      {[]Freeze{{From: "Wed 10:00", To: "Wed 09:00", Zone: "UTC"}}, "", "2026-11-25T09:30:00Z", ""},
		"a hotfix goes through":                            {[]Freeze{{From: "Fri 16:00", To: "Mon 08:00", Zone: "UTC", Except: []string{"hotfix"}}}, "hotfix", "2026-11-28T12:00:00Z", ""},
		"but not through a window that does not say so":    {[]Freeze{{From: "Fri 16:00", To: "Mon 08:00", Zone: "UTC", Except: []string{"hotfix"}}, {From: "Sat 00:00", To: "Sun 00:00", Zone: "UTC"}}, "hotfix", "2026-11-28T12:00:00Z", "2026-11-29T00:00:00Z"},
		"a change without a name is no exception":          {[]Freeze{{From: "Fri 16:00", To: "Mon 08:00", Zone: "UTC", Except: []string{""}}}, "", "2026-11-28T12:00:00Z", "2026-11-30T08:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			now := instant(t, c.now)
			rules := Rules{Gates: GateRules{Freeze: c.windows}}
			got := Gates(rules, rollout.Rollout{Revision: rollout.Revision{Change: c.change}}, Surroundings{}, now)
			if len(got) != 1 || got[0].Kind != GateFreeze {
				t.Fatalf("got %+v, want one freeze", got)
			}
			if got[0].Open != (c.opensAt == "") {
				t.Fatalf("open is %v: %s", got[0].Open, got[0].Why)
			}
			if c.opensAt != "" && !got[0].OpensAt.Equal(instant(t, c.opensAt)) {
				t.Errorf("opens at %s, want %s", got[0].OpensAt, c.opensAt)
			}
		})
	}
}

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// Two windows that leave no time open: there is no opening to tell of, and the search for it ends.
func TestAFreezeForEver(t *testing.T) {
	always := []Freeze{{From: "Mon 00:00", To: "Thu 00:00", Zone: "UTC"}, {From: "Thu 00:00", To: "Mon 00:00", Zone: "UTC"}}
	got := freeze(always, rollout.Revision{}, time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC))
	if got.Open || !got.OpensAt.IsZero() {
		t.Errorf("got %+v, want closed without an opening", got)
	}
}

// What Validate would have refused holds, and says why.
func TestAFreezeThatCanNotBeReadHolds(t *testing.T) {
	for _, f := range []Freeze{{From: "Fri 16:00", To: "Mon 08:00", Zone: "Europe/Bonn"}, {From: "late", To: "Mon 08:00"}, {From: "Fri 16:00", To: ""}} {
		got := freeze([]Freeze{f}, rollout.Revision{}, time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC))
		if got.Open || got.Why == "" {
			t.Errorf("%+v: got %+v, want closed with a reason", f, got)
		}
	}
}

func windows() *rapid.Generator[Freeze] {
	return rapid.Custom(func(t *rapid.T) Freeze {
		zone := rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"}).Draw(t, "zone")
		if rapid.Bool().Draw(t, "weekly") {
			day := rapid.SampledFrom([]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"})
			hour := rapid.SampledFrom([]string{"00:00", "01:30", "02:00", "02:30", "03:00", "23:59"})
			return Freeze{From: day.Draw(t, "from") + " " + hour.Draw(t, "at"), To: day.Draw(t, "to") + " " + hour.Draw(t, "until"), Zone: zone}
		}
		minutes := rapid.IntRange(0, 3*365*24*60)
		from := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(minutes.Draw(t, "from")) * time.Minute)
		to := from.Add(time.Duration(rapid.IntRange(1, 30*24*60).Draw(t, "length")) * time.Minute)
		return Freeze{From: from.Format("2006-01-02 15:04"), To: to.Format("2006-01-02 15:04"), Zone: zone}
	})
}

// When a freeze says that it opens, it is open then, and closed until then.
func TestAFreezeOpensWhenItSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(windows(), 1, 4).Draw(t, "windows")
		now := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 3*365*24*60*60).Draw(t, "now")) * time.Second)
		got := freeze(all, rollout.Revision{}, now)
		if got.Open || got.OpensAt.IsZero() {
			return
		}
		if !got.OpensAt.After(now) || got.OpensAt.Second() != 0 {
			t.Fatalf("opens at %s, asked at %s", got.OpensAt, now)
		}
		if later := freeze(all, rollout.Revision{}, got.OpensAt); !later.Open {
			t.Fatalf("said that it opens at %s, but then: %+v", got.OpensAt, later)
		}
		between := now.Add(time.Duration(rapid.Float64Range(0, 0.999).Draw(t, "between") * float64(got.OpensAt.Sub(now))))
		if early := freeze(all, rollout.Revision{}, between); early.Open {
			t.Fatalf("said that it opens at %s, but is open at %s", got.OpensAt, between)
		}
	})
}
