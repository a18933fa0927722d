// Package proxy stands between a client and a server on loopback and cuts one of their connections.
//
// Its one idea: what a client cannot know is whether the server did what it was asked for when no answer came. So the
// proxy cuts before a request, right behind it, or before its answer, and the client that lives on has to find out. It knows
// no protocol: a request begins where the client speaks after the server did, an answer where the server speaks after the
// client. Other than package dying it leaves the client alive, with all its other connections.
package proxy

import (
	"bytes"
	"net"
	"strings"
	"sync"
)

// Moment says where a connection is cut.
type Moment int

// The moments.
const (
	Before Moment = iota // the server never hears the request
	Behind               // the server hears the request, and nobody is there when it answers
	After                // the server has answered, and nobody hears it
)

func (m Moment) String() string { return [...]string{"before", "behind", "after"}[m] }

// Cut says which request is the last of its connection, counted from 1 over all connections; handshakes count as well. Zero
// cuts none. With a Text only requests count that contain it.
type Cut struct {
	At     int
	Moment Moment
	Text   string
}

// Proxy takes connections to one server. Its methods may be called by several goroutines.
type Proxy struct {
	listener net.Listener
	target   string
	tasks    sync.WaitGroup

	mu    sync.Mutex
	cut   Cut
	count int
	done  bool
	text  string
	open  map[net.Conn]bool
	held  chan struct{} // nil: what is said is handed on; closed when it is again
}

// Listen begins to take connections, on a port of loopback, to the TCP address of a server. Close ends it.
func Listen(target string, c Cut) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, cut: c, open: map[net.Conn]bool{}}
	p.tasks.Go(p.serve)
	return p, nil
}

// Addr is where clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Count is the number of requests so far.
func (p *Proxy) Count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// Done is what can be read of the request at which the connection was cut, and of the one before it; false if none was.
func (p *Proxy) Done() (text string, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text, p.done
}

// Sever cuts all connections that are open now.
func (p *Proxy) Sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		reset(c)
	}
}

// Hold makes the network swallow everything: connections stay open, also new ones, and nothing that is said arrives. It answers how
// to end that; what was said meanwhile arrives then, as far as anybody is still there.
func (p *Proxy) Hold() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = make(chan struct{})
	}
	return p.release
}

func (p *Proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

// passes waits until what is said is handed on.
func (p *Proxy) passes() {
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	if held != nil {
		<-held
	}
}

// Close ends all connections and waits until they are gone.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.Sever()
	p.release()
	p.tasks.Wait()
	return err
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			reset(client)
			continue
		}
		c := &conn{proxy: p, client: client, server: server}
		p.mu.Lock()
		p.open[client], p.open[server] = true, true
		p.mu.Unlock()
		p.tasks.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { c.pump(client, server, c.request) })
			both.Go(func() { c.pump(server, client, c.answer) })
			both.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.open, client)
			delete(p.open, server)
		})
	}
}

// reset closes a connection as a network does that is cut: whatever is under way is gone.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // it may be closed already
	}
	_ = c.Close()
}

// conn is one connection through the proxy.
type conn struct {
	proxy          *Proxy
	client, server net.Conn

	// The rest is guarded by proxy.mu.
	asked  bool // the client spoke last
	number int
	last   string
	before string
}

// pump hands on what one side says until either side is gone.
func (c *conn) pump(from, to net.Conn, pass func([]byte) (cut, swallow bool)) {
	defer reset(c.client)
	defer reset(c.server)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			c.proxy.passes()
			cut, swallow := pass(buffer[:n])
			if cut && swallow {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
			if cut {
				// A reset takes away what the server has not read. The end of the stream behind the request does not.
				if t, ok := to.(*net.TCPConn); ok {
					_ = t.CloseWrite()
				}
				c.keep()
				reset(c.client)
				c.wait()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// keep takes the server's side out of what Close and Sever end: they wait for it, from before the client hears of the cut.
func (c *conn) keep() {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	delete(c.proxy.open, c.server)
}

// wait reads on until the server hangs up: closing earlier could take the request away from it.
func (c *conn) wait() {
	buffer := make([]byte, 4096)
	for {
		if _, err := c.server.Read(buffer); err != nil {
			return
		}
	}
}

// request notes what the client says, and answers whether the connection ends here, and without it.
func (c *conn) request(data []byte) (cut, swallow bool) {
	p := c.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.asked {
		c.asked, c.number = true, 0
		c.before, c.last = c.last, readable(data)
		if bytes.Contains(data, []byte(p.cut.Text)) {
			p.count++
			c.number = p.count
		}
	}
	if c.number == 0 || c.number != p.cut.At || p.done || p.cut.Moment == After {
		return false, false
	}
	p.done, p.text = true, strings.TrimSpace(c.last+" (behind: "+c.before+")")
	return true, p.cut.Moment == Before
}

func (c *conn) answer([]byte) (cut, swallow bool) {
	p := c.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	c.asked = false
	if c.number == 0 || c.number != p.cut.At || p.done {
		return false, false
	}
	p.done, p.text = true, strings.TrimSpace(c.last+" (behind: "+c.before+")")
	return true, true
}

// readable is what a person can read of a request.
func readable(data []byte) string {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, string(data[:min(len(data), 400)]))
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), 120)]
}
