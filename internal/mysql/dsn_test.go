package mysql

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
)

// TestSilentServer: a server that accepts and says nothing is not waited for longer than the caller says, or ten seconds.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	target, err := ParseDSN("mysql://root@"+silent.Addr().String()+"/app", "")
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(target.Connector())
	t.Cleanup(func() { db.Close() })
	for _, patience := range []time.Duration{200 * time.Millisecond, time.Minute} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		pinged := make(chan error, 1)
		go func() { pinged <- db.PingContext(ctx) }()
		select {
		case err := <-pinged:
			if errors.Is(err, context.DeadlineExceeded) != (patience < connectTime) || err == nil || fault.Lost(err) {
				t.Errorf("a ping with a patience of %s ends with %v", patience, err)
			}
		case <-time.After(2 * connectTime):
			t.Fatalf("a ping with a patience of %s does not end", patience)
		}
	}
}

func TestParseDSN(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".my.cnf"), []byte("[mysqld]\nuser=nobody\n[client]\n# mine\nuser = 'anna'\npassword=\"s 3\"\nhost=db.example\nport=3307\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dsn, home, want, password string
	}{
		{dsn: "mysql://root@127.0.0.1:3310/app", want: "app on 127.0.0.1:3310 as root"},
		{dsn: "mariadb://u:p%40w@db.example/app?ssl-mode=required", want: "app on db.example:3306 as u", password: "p@w"},
		{dsn: "u:p@w/x@tcp(10.0.0.1:3307)/app", want: "app on 10.0.0.1:3307 as u", password: "p@w/x"},
		{dsn: "mysql://u:p@w@host/app", want: "app on host:3306 as u", password: "p@w"},
		{dsn: "mysql://[::1]:3310/app", want: "app on [::1]:3310 as root"},
		{dsn: "mysql:///app", home: home, want: "app on db.example:3307 as anna", password: "s 3"},
		{dsn: "mysql://bert@other:1/app", home: home, want: "app on other:1 as bert", password: "s 3"},
	} {
		got, err := ParseDSN(c.dsn, c.home)
		if err != nil || got.String() != c.want || got.Password != c.password {
			t.Errorf("ParseDSN(%q) = %s with password %q, %v; want %s with %q", c.dsn, got, got.Password, err, c.want, c.password)
		}
		if r := got.Connector().Params.Get("retries"); r != "off" {
			t.Errorf("ParseDSN(%q): retries are %q, want off", c.dsn, r)
		}
	}
	encrypted := t.TempDir()
	if err := os.WriteFile(filepath.Join(encrypted, ".my.cnf"), []byte("[client]\nssl_mode=REQUIRED\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for dsn, want := range map[string]bool{"mysql://u@host/app": true, "mysql://u@host/app?ssl-mode=DISABLED": false, "mysql://u@host/app?ssl-mode=PREFERRED": false} {
		if got, err := ParseDSN(dsn, encrypted); err != nil || (got.TLS != nil) != want {
			t.Errorf("ParseDSN(%q) with ssl_mode=REQUIRED in ~/.my.cnf: encrypted %v, %v, want %v", dsn, got.TLS != nil, err, want)
		}
	}
	if _, err := ParseDSN("mysql://u@host/app?ssl-ca=/nowhere", ""); err == nil || !strings.Contains(err.Error(), "ssl-ca") {
		t.Errorf("an authority that cannot be read is passed over without ssl-mode: %v", err)
	}
	for dsn, want := range map[string]string{
		"mysql://u:secret/x@host/app":                   "expected mysql://",
		"oracle://u@host/app":                           "expected mysql://",
		"mysql://u:secret@host/app?ssl-mode=MAYBE":      "ssl-mode is unknown",
		"mysql://u:secret@host/app?parseTime=true":      "the option parseTime is unknown",
		"mysql://u@host/app?ssl-mode=VERIFY_IDENTITY":   "needs ssl-ca",
		"mysql://u@host/app?ssl-mode=VERIFY_CA&ssl-ca=": "needs ssl-ca",
	} {
		if _, err := ParseDSN(dsn, ""); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("ParseDSN(%q) = %v, want an error with %q and without the password", dsn, err, want)
		}
	}
}
