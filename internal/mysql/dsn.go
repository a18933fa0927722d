package mysql

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/driver"
)

// Target is where a connection string leads.
type Target struct {
	Addr, User, Password, Database string
	TLS                            *tls.Config // nil for none
	connector                      driver.Connector
}

// Connector opens connections, each within ten seconds. The driver's own retries are off: with them database/sql runs a statement again by
// itself whose connection broke.
func (t Target) Connector() Connector { return Connector{t.connector} }

// Connector is the driver's, with a bound for the whole of a connect: the driver's own ends with the dial, so that a server that accepts
// and says nothing would be waited for without end, and no signal heard.
type Connector struct{ driver.Connector }

const connectTime = 10 * time.Second

// Connect leaves a handshake that does not end behind, until the other side closes it.
func (c Connector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	type result struct {
		conn sqldriver.Conn
		err  error
	}
	made, bound := make(chan result), time.NewTimer(connectTime)
	defer bound.Stop()
	over := make(chan struct{})
	defer close(over)
	go func() {
		conn, err := c.Connector.Connect(ctx)
		select {
		case made <- result{conn, err}:
		case <-over:
			if err == nil {
				conn.Close() // nobody waits for it any more
			}
		}
	}()
	select {
	case r := <-made:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-bound.C:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s accepted the connection and did not finish its greeting within %s", c.Addr, connectTime)}
	}
}

// String names the database for a person, without the password.
func (t Target) String() string {
	return fmt.Sprintf("%s on %s as %s", cmp.Or(t.Database, "no database"), t.Addr, t.User)
}

var errForm = errors.New("expected mysql://user@host:port/database?ssl-mode=REQUIRED, or user:password@tcp(host:port)/database; " +
	"in the password of a URL write @ as %40, / as %2F, ? as %3F, # as %23, % as %25")

var tcp = regexp.MustCompile(`^(?:mysql://|mariadb://)?(?:([^:@/]*)(?::(.*))?@)?tcp\(([^)]*)\)/([^?]*)(?:\?(.*))?$`)

// ParseDSN reads a connection string: mysql:// or mariadb:// with user, password, host, port, database; or the form with
// tcp(…). What it leaves out comes from the group [client] of ~/.my.cnf (in the directory home), and then is root, 127.0.0.1
// and 3306.
//
// ssl-mode is one of DISABLED, REQUIRED, VERIFY_CA and VERIFY_IDENTITY, as the server's own clients have it; the last two
// need ssl-ca, a file of certificates, and ssl-ca alone means VERIFY_CA. Without it, or with PREFERRED, the connection is encrypted if the
// server offers it in its handshake only as far as the password goes: on a network that is not yours, say REQUIRED or more. Errors never
// quote the string.
func ParseDSN(dsn, home string) (Target, error) {
	var t Target
	var query string
	if m := tcp.FindStringSubmatch(dsn); m != nil {
		t.User, t.Password, t.Addr, t.Database, query = m[1], m[2], m[3], m[4], m[5]
	} else {
		u, err := url.Parse(dsn)
		if err != nil || u.Scheme != "mysql" && u.Scheme != "mariadb" || strings.Contains(u.Host+u.Path, "@") || u.Opaque != "" || u.Fragment != "" {
			return t, errForm
		}
		t.Addr, t.Database, query = u.Host, strings.TrimPrefix(u.Path, "/"), u.RawQuery
		t.User = u.User.Username()
		t.Password, _ = u.User.Password()
	}
	defaults, err := clientFile(home)
	if err != nil {
		return t, err
	}
	t.User = cmp.Or(t.User, defaults["user"], "root")
	t.Password = cmp.Or(t.Password, defaults["password"])
	t.Database = cmp.Or(t.Database, defaults["database"])
	host, port, err := net.SplitHostPort(t.Addr)
	if err != nil {
		host, port = strings.Trim(t.Addr, "[]"), ""
	}
	t.Addr = net.JoinHostPort(cmp.Or(host, defaults["host"], "127.0.0.1"), cmp.Or(port, defaults["port"], "3306"))
	t.connector = driver.Connector{Addr: t.Addr, User: t.User, Password: t.Password, DB: t.Database, Params: url.Values{"retries": {"off"}}}
	values, err := url.ParseQuery(query)
	if err != nil {
		return t, errForm
	}
	for _, name := range []string{"ssl-mode", "ssl-ca"} {
		if !values.Has(name) && defaults[name] != "" {
			values.Set(name, defaults[name])
		}
	}
	return t, t.options(values)
}

func (t *Target) options(values url.Values) error {
	host, _, err := net.SplitHostPort(t.Addr)
	if err != nil {
		return errForm
	}
	mode, ca := strings.ToUpper(values.Get("ssl-mode")), values.Get("ssl-ca")
	if mode == "" && ca != "" {
		mode = "VERIFY_CA" // as the server's own clients take it
	}
	switch mode {
	case "", "DISABLED", "PREFERRED":
	case "REQUIRED":
		t.TLS = &tls.Config{InsecureSkipVerify: true} // encrypted, by whomever: that is what REQUIRED means
		t.connector.Params.Set("ssl", "skip-verify")
	case "VERIFY_CA", "VERIFY_IDENTITY":
		if ca == "" {
			return fmt.Errorf("ssl-mode=%s needs ssl-ca=FILE, the certificates that the server's is signed with", mode)
		}
		pem, err := os.ReadFile(ca)
		if err != nil {
			return fmt.Errorf("ssl-ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ssl-ca: %s holds no certificate in PEM form", ca)
		}
		t.TLS = &tls.Config{RootCAs: roots, ServerName: host}
		if mode == "VERIFY_CA" {
			t.TLS = signedBy(roots)
		}
		t.connector.Params.Set(tlsOption, known(t.TLS))
	default:
		return fmt.Errorf("ssl-mode is unknown: expected DISABLED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY")
	}
	values.Del("ssl-mode")
	values.Del("ssl-ca")
	for name := range values {
		return fmt.Errorf("the option %s is unknown: expected ssl-mode or ssl-ca", name)
	}
	return nil
}

// signedBy accepts a server whose certificate one of the authorities has signed, whatever name it has: that is what VERIFY_CA means, and
// what goes with the certificates that a server makes for itself.
func signedBy(roots *x509.CertPool) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, c := range s.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		return err
	}}
}

// tlsOption is an option of the driver's that takes one of the settings known, by its number. The driver itself keeps one for
// an address, and none without a name to check.
const tlsOption = "changeling-tls"

var settingsOfTLS struct {
	mu   sync.Mutex
	list []*tls.Config
}

// known registers a setting. The first one gives the driver its option, which replaces options of the application's own, if it has any.
func known(c *tls.Config) string {
	s := &settingsOfTLS
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list = append(s.list, c); len(s.list) == 1 {
		driver.SetDSNOptions(map[string]driver.DriverOption{tlsOption: func(c *client.Conn, number string) error {
			n, err := strconv.Atoi(number)
			if err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			c.SetTLSConfig(s.list[n])
			return nil
		}})
	}
	return strconv.Itoa(len(s.list) - 1)
}

// clientFile is the group [client] of ~/.my.cnf, empty where there is no such file.
func clientFile(home string) (map[string]string, error) {
	out := map[string]string{}
	if home == "" {
		return out, nil
	}
	f, err := os.Open(filepath.Join(home, ".my.cnf"))
	if errors.Is(err, os.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	inside := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			inside = strings.EqualFold(line, "[client]")
		case inside:
			name, value, _ := strings.Cut(line, "=")
			value = strings.TrimSpace(value)
			if len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
				value = value[1 : len(value)-1]
			}
			out[strings.ReplaceAll(strings.TrimSpace(name), "_", "-")] = value
		}
	}
	return out, nil
}
