package dbtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
)

// guardScript reads process ids, the last one counts, until its standard input ends, which is when no process holds the
// other end of the pipe any more. Then it ends that process and removes the directory $1. The id is still the
// postmaster's: the owner of the server says "-" as soon as it has collected the process, and an orphan's id stays taken
// until it has ended. SIGQUIT is PostgreSQL's immediate shutdown; it takes at most about 5 s.
const guardScript = `
trap '' HUP INT TERM
pid=-
while read -r line; do pid=$line; done
if [ "$pid" != - ]; then
	kill -QUIT "$pid"
	tenths=0
	while kill -0 "$pid" && [ "$tenths" -lt 80 ]; do
		sleep 0.1
		tenths=$((tenths + 1))
	done
	kill -KILL "$pid"
fi 2>/dev/null
rm -rf -- "$1"
`

// guard is the process that clears up after a server whatever happens to us.
type guard struct {
	dir     string
	process *exec.Cmd
	pipe    *os.File // writing end; it closes with us
}

func newGuard(dir string) (*guard, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", guardScript, "sh", dir)
	cmd.Dir = "/"
	cmd.Stdin = r
	cmd.SysProcAttr = attributes(nil)
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return &guard{dir: dir, process: cmd, pipe: w}, nil
}

// tell names the process to end: its id, or "-" for none.
func (g *guard) tell(pid string) error {
	_, err := fmt.Fprintln(g.pipe, pid)
	return err
}

// close lets the guard do its work and waits for it.
func (g *guard) close() error {
	err := errors.Join(g.pipe.Close(), g.process.Wait())
	if _, missing := os.Stat(g.dir); !errors.Is(missing, fs.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("the directory %s of a stopped server could not be removed", g.dir))
	}
	return err
}
