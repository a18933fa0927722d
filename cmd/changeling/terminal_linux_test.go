package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// terminalPair opens a pseudo terminal: what a person sees and types on, and what a command has for its streams.
func terminalPair(t *testing.T) (person, command *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	var number, unlock uint32
	for request, value := range map[uintptr]*uint32{syscall.TIOCGPTN: &number, syscall.TIOCSPTLCK: &unlock} {
		if _, _, code := syscall.Syscall(syscall.SYS_IOCTL, person.Fd(), request, uintptr(unsafe.Pointer(value))); code != 0 {
			t.Fatal(code)
		}
	}
	command, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Close() })
	return person, command
}

// interrupt is an answer that is a signal.
const interrupt = "\x03"

// atTerminal runs a command on a terminal, answers its question, and returns all that was seen.
func (s *shell) atTerminal(code int, question, answer string, args ...string) string {
	s.t.Helper()
	person, command := terminalPair(s.t)
	var seen output
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			n, err := person.Read(buffer)
			_, _ = seen.Write(buffer[:n])
			if err != nil {
				return // EIO: nobody holds the other end any more
			}
		}
	}()
	p := s.startWith(func(c *exec.Cmd) { c.Stdin, c.Stdout, c.Stderr = command, command, command }, args...)
	command.Close()
	if question != "" {
		poll(s.t, func() bool { return strings.Contains(seen.String(), question) }, func() string { return question + ":\n" + seen.String() })
		if answer == interrupt {
			p.signal(syscall.SIGINT)
		} else if _, err := person.WriteString(answer + "\n"); err != nil {
			s.t.Fatal(err)
		}
	}
	r := p.wait()
	select {
	case <-done:
	case <-time.After(patience):
		s.t.Error("the terminal stays open")
	}
	if r.code != code {
		s.t.Errorf("%s: exit code %d, want %d:\n%s", p.line, r.code, code, seen.String())
	}
	return seen.String()
}

func TestAPersonIsAsked(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	no := s.atTerminal(2, "Type yes to go on: ", "no", "run", statementText)
	contains(t, "the terminal", no, "route      shadow-table", "not confirmed", "nothing was changed")
	if list := s.list(); len(list) != 0 {
		t.Fatalf("a change that was not confirmed was saved: %v", list)
	}
	yes := s.atTerminal(0, "Type yes to go on: ", "yes", "run", "--drop", "never", statementText)
	contains(t, "the terminal", yes, "swapped", "done")
	if !s.changed() {
		t.Error("the table was not changed")
	}
	id := s.newest().ID
	// What is done is not asked for, nor is what --yes has answered.
	contains(t, "the terminal", s.atTerminal(0, "", "", "run", statementText), "nothing to do")
	s.atTerminal(0, "", "", "run", "--yes", "ALTER TABLE orders ADD COLUMN note text")
	s.atTerminal(2, "Type public.orders to go on: ", "yes", "cleanup", "--now", id)
	contains(t, "the terminal", s.atTerminal(0, "Type public.orders to go on: ", "public.orders", "cleanup", "--now", id), "dropped")
	// An error is said once.
	refused := s.atTerminal(5, "Type yes", "yes", "run", "ALTER TABLE orders ADD CHECK (amount < 500)")
	if n := strings.Count(refused, "Mend "); n != 1 {
		t.Errorf("the error is said %d times:\n%s", n, refused)
	}
	id = s.newest().ID
	s.atTerminal(2, "Type public.orders to go on: ", "", "abort", id)
	contains(t, "the terminal", s.atTerminal(0, "Type public.orders to go on: ", "public.orders", "abort", id), "is aborted")
}

// A question can be left by Ctrl-C.
func TestASignalEndsAQuestion(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	contains(t, "the terminal", s.atTerminal(75, "Type yes to go on: ", interrupt, "run", statementText), "nothing is lost")
	if list := s.list(); len(list) != 0 {
		t.Errorf("a change that was not confirmed was saved: %v", list)
	}
}
