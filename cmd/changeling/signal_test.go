package main

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/changeling-db/changeling"
)

// frozen is a way to a server on which nothing moves any more once it is told so.
type frozen struct {
	mu   sync.Mutex
	ice  chan struct{} // closed when it thaws; nil while it flows
	addr string
}

func freezer(t *testing.T, server string) *frozen {
	t.Helper()
	f := &frozen{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", server)
			if err != nil {
				in.Close()
				continue
			}
			go f.pass(in, out)
			go f.pass(out, in)
		}
	}()
	return f
}

func (f *frozen) pass(from, to net.Conn) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		f.mu.Lock()
		ice := f.ice
		f.mu.Unlock()
		if ice != nil {
			<-ice
		}
		if _, failed := to.Write(buffer[:n]); failed != nil || err == io.EOF || err != nil {
			return
		}
	}
}

func (f *frozen) freeze(t *testing.T) (thaw func()) {
	ice := make(chan struct{})
	f.mu.Lock()
	f.ice = ice
	f.mu.Unlock()
	thaw = sync.OnceFunc(func() { close(ice) })
	t.Cleanup(thaw)
	return thaw
}

// TestSecondSignalEndsItAtOnce: a run that cannot stop in good order, because its database does not answer, is ended by a
// second signal; the change goes on from there.
func TestSecondSignalEndsItAtOnce(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	direct, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	way := freezer(t, direct.Host)
	through := *direct
	through.Host = way.addr
	far := &shell{t: t, dsn: through.String()}
	runner := far.start("run", "--hold", statementText)
	c := s.until("a held change", held)
	thaw := way.freeze(t)
	runner.signal(syscall.SIGTERM)
	poll(t, func() bool { return strings.Contains(runner.err.String(), "another signal exits at once") }, func() string { return "word of the first signal" })
	runner.signal(syscall.SIGTERM)
	if r := runner.wait(); r.code != -1 { // after a while the run gives up by itself, with another code
		t.Errorf("the second signal: exit code %d, want an end by the signal", r.code)
	}
	thaw() // the server hears that its client is gone
	s.until("a change without an owner", func(c changeling.Status) bool { return c.Owner == "" })
	s.run(0, "cutover", c.ID)
	if !s.changed() {
		t.Error("the table was not changed")
	}
}
