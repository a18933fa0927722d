package backfill

import (
	"testing"
	"time"
)

// B11: windows that cross midnight, and their edges.
func TestB11Windows(t *testing.T) {
	t.Parallel()
	clock := func(text string) time.Time {
		c, err := time.Parse("15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, test := range []struct {
		now, from, to string
		in            bool
		until         time.Duration
	}{
		{"23:00", "22:00", "06:00", true, 7 * time.Hour},
		{"05:59", "22:00", "06:00", true, time.Minute},
		{"06:00", "22:00", "06:00", false, 16 * time.Hour},
		{"22:00", "22:00", "06:00", true, 8 * time.Hour},
		{"12:00", "10:00", "14:00", true, 2 * time.Hour},
		{"14:00", "10:00", "14:00", false, 20 * time.Hour},
		{"09:00", "10:00", "14:00", false, time.Hour},
		{"10:00", "10:00", "14:00", true, 4 * time.Hour},
	} {
		if in, until := within(clock(test.now), clock(test.from), clock(test.to)); in != test.in || until != test.until {
			t.Errorf("%s in %s-%s: %v for %s, want %v for %s", test.now, test.from, test.to, in, until, test.in, test.until)
		}
	}
	for _, text := range []string{"22", "22:00", "22:00-25:00", "10:00-10:00"} {
		if _, _, err := window(text); err == nil {
			t.Errorf("the window %q is taken", text)
		}
	}
}
